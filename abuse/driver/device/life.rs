// SPDX-License-Identifier: GPL-2.0-only

//! The life cycle of a device: set-up, reset, removal, and what the world sees of them.

use super::{
    jiffies_left, state_name, terms, Device, Life, ResetBegun, REMOVAL, TEARDOWN, WELCOME,
};
use crate::abi::Setup;
use crate::ledger::{Slot, Wake};
use crate::sys::attributes::Variable;
use crate::sys::chrdev::Visible;
use crate::sys::disk::{Disk, TagSet};
use crate::sys::task;
use crate::sys::task::NoIo;
use crate::sys::work::ModuleRef;
use crate::{abi, Store};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::lock::mutex::MutexBackend;
use kernel::sync::lock::Guard;
use kernel::sync::{Arc, CondVarTimeoutResult};

impl Device {
    /// Makes a disk of a shape that was settled before; says in it if there could be only fewer
    /// tags. Waits, unless a signal comes, for a reset that is still being finished.
    pub(crate) fn setup(this: &Arc<Self>, shape: &mut Setup) -> Result {
        let mut life = this.life.lock();
        loop {
            if this.is_gone() {
                return Err(ENODEV);
            }
            match &*life {
                Life::Empty => break,
                Life::Ready { .. } => return Err(EBUSY),
                Life::Gone => return Err(ENODEV),
                Life::Resetting { .. } => {
                    if this.settled.wait_interruptible(&mut life) {
                        return Err(ERESTARTSYS);
                    }
                }
            }
        }
        let module = ModuleRef::new()?;
        let set = TagSet::new(shape)?;
        let (queues, depth) = set.size();
        if queues != shape.queues {
            shape.adjusted |= abi::ADJ_QUEUES;
        }
        if depth != shape.depth {
            shape.adjusted |= abi::ADJ_DEPTH;
        }
        (shape.queues, shape.depth) = (queues, depth);
        let tags = depth.wrapping_mul(queues) as usize;
        let mut slots = Store::with_capacity(tags, GFP_KERNEL)?;
        for _ in 0..tags {
            slots.push(Slot::idle(), GFP_KERNEL)?;
        }
        let policies = terms::policies(shape);
        this.live.store(0, Relaxed);
        let read_only = shape.features & abi::F_READ_ONLY != 0;
        this.read_only.store(read_only.into(), Relaxed);
        let write_through = shape.features & abi::F_WRITE_THROUGH != 0;
        this.write_through.store(write_through.into(), Relaxed);
        // Before the disk: it may be opened as soon as it is there.
        let old = this.ledger.lock().configure(slots, policies);
        drop(old);
        let (number, data) = (this.number, this.clone());
        let disk = Disk::new(number, shape, set, this.node.lock().as_ref(), data);
        match disk {
            Ok(disk) => {
                *life = Life::Ready {
                    disk,
                    shape: *shape,
                    _module: module,
                };
                this.keep_limits(shape);
                this.announce(&life);
                Ok(())
            }
            Err(error) => {
                this.ledger.lock().kill();
                // A worker may have come to a disk that never was.
                this.wake(Wake::everybody());
                this.workers.wake_all();
                this.end_condemned();
                this.retire();
                Err(error)
            }
        }
    }

    /// Ends everything pending and begins to remove the disk; `None` if there is none. Unforced, it
    /// is refused while the disk is open, is being opened, or has requests pending.
    pub(crate) fn reset(this: &Arc<Self>, force: bool) -> Result<Option<ResetBegun>> {
        let life = this.life.lock();
        if this.is_gone() {
            return Err(ENODEV);
        }
        match &*life {
            Life::Ready { .. } => Device::end(this, life, force, || ()).map(Some),
            Life::Resetting { .. } => Ok(Some(this.ending())),
            _ => Ok(None),
        }
    }

    /// Begins to remove the device, and its disk like [`Device::reset`]. From now on it is gone.
    pub(crate) fn remove(this: &Arc<Self>, force: bool) -> Result<ResetBegun> {
        let life = this.life.lock();
        if this.is_gone() {
            return Ok(this.ending());
        }
        let leave = || this.gone.store(1, Relaxed);
        match &*life {
            // What is left of the disk goes first, and whoever waits for that need not wait on.
            Life::Ready { .. } => return Device::end(this, life, force, leave),
            Life::Resetting { .. } => leave(),
            _ => {
                leave();
                this.bury();
            }
        }
        drop(life);
        this.settled.notify_all();
        this.wake(Wake::everybody());
        Ok(this.ending())
    }

    /// A disk that has been ended already, and may be in the middle of it.
    pub(super) fn ending(&self) -> ResetBegun {
        ResetBegun {
            failed: 0,
            draining: self.ledger.lock().busy(),
        }
    }

    /// The rest of a removal, for the work queue: there is no disk any more.
    pub(super) fn bury(self: &Arc<Self>) {
        let _ = self
            .work
            .queue()
            .enqueue::<Arc<Device>, REMOVAL>(self.clone());
    }

    /// Ends a disk that is there. `also` is done once it is certain, before anybody can see it.
    pub(super) fn end(
        this: &Arc<Self>,
        mut life: Guard<'_, Life, MutexBackend>,
        force: bool,
        also: impl Fn(),
    ) -> Result<ResetBegun> {
        let Life::Ready { disk, .. } = &*life else {
            return Err(ENXIO);
        };
        let kill = || {
            also();
            let mut ledger = this.ledger.lock();
            let failed = ledger.kill();
            ResetBegun {
                failed,
                draining: ledger.busy(),
            }
        };
        let begun = if force {
            kill()
        } else {
            let unused = || disk.openers() == 0 && this.ledger.lock().pending() == 0;
            // The mutex is held by whoever opens the disk, and by a partition scan.
            let begun = disk.try_exclude_openers(|| unused().then(kill)).flatten();
            begun.ok_or(EBUSY)?
        };
        let before = core::mem::replace(&mut *life, Life::Resetting { remains: None });
        if let Life::Ready { disk, _module, .. } = before {
            *life = Life::Resetting {
                remains: Some((disk, _module)),
            };
        }
        drop(life);
        this.settled.notify_all();
        this.wake(Wake::everybody());
        this.workers.wake_all();
        this.end_condemned();
        let _ = this
            .work
            .queue()
            .enqueue::<Arc<Device>, TEARDOWN>(this.clone());
        Ok(begun)
    }

    /// Waits until a removal is finished, as [`Device::wait_reset`].
    pub(crate) fn wait_removal(&self, timeout: u64) -> Result {
        self.wait_life(timeout, |life| matches!(life, Life::Gone))
    }

    /// Waits until a reset is finished, a signal comes, or `timeout` nanoseconds are over.
    pub(crate) fn wait_reset(&self, timeout: u64) -> Result {
        self.wait_life(timeout, |life| !matches!(life, Life::Resetting { .. }))
    }

    pub(super) fn wait_life(&self, timeout: u64, over: impl Fn(&Life) -> bool) -> Result {
        // After a signal too. The call must not be begun again: its second time there may be no
        // disk to reset.
        let unfinished = Error::from_errno(-(kernel::bindings::EINPROGRESS as i32));
        let deadline = task::now().saturating_add(timeout);
        let mut life = self.life.lock();
        while !over(&life) {
            let left = jiffies_left(deadline).ok_or(unfinished)?;
            let woken = self.settled.wait_interruptible_timeout(&mut life, left);
            if matches!(woken, CondVarTimeoutResult::Signal { .. }) {
                return Err(unfinished);
            }
        }
        Ok(())
    }

    /// Makes the disk larger or smaller; returns what it was. Unforced, it takes nothing from whoever
    /// has it open, nor from a partition. Waits for nobody: what is queued beyond a new end is
    /// answered by the workers like everything else.
    pub(crate) fn resize(&self, bytes: u64, force: bool) -> Result<u64> {
        let mut life = self.life.lock();
        let Life::Ready { disk, shape, .. } = &mut *life else {
            return Err(self.absence());
        };
        let old = shape.bytes;
        if bytes == 0 || bytes & u64::from(shape.logical_block.wrapping_sub(1)) != 0 {
            return Err(EINVAL);
        }
        if bytes > i64::MAX as u64 {
            return Err(EFBIG);
        }
        if bytes >= old || force {
            disk.set_bytes(bytes);
        } else {
            let unused = || disk.openers() == 0 && disk.partitions_end() <= bytes;
            let done = disk.try_exclude_openers(|| unused().then(|| disk.set_bytes(bytes)));
            done.flatten().ok_or(EBUSY)?;
        }
        shape.bytes = bytes;
        Ok(old)
    }

    /// Makes the node visible in /dev, unless the device is gone before anybody saw it.
    pub(crate) fn publish(&self, make: impl FnOnce() -> Result<Visible<Device>>) -> Result {
        let mut node = self.node.lock();
        if self.is_gone() {
            return Err(ENODEV);
        }
        *node = Some(make()?);
        Ok(())
    }

    /// Takes the node out of /dev; waits for whoever reads its files, which may take `life`. Must
    /// follow on every `publish`: the node keeps the device.
    pub(crate) fn withdraw(&self) {
        let node = self.node.lock().take();
        drop(node);
    }

    /// All is over: nothing of it can be found any more.
    pub(crate) fn depart(&self) {
        *self.life.lock() = Life::Gone;
        self.settled.notify_all();
        self.wake(Wake::everybody());
    }

    /// Whether it was removed, or is being removed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed) != 0
    }

    /// Why there is no disk: the device was not set up, or is gone.
    pub(crate) fn absence(&self) -> Error {
        if self.is_gone() {
            ENODEV
        } else {
            ENXIO
        }
    }

    /// The shape of the disk, and how often it is open, if there is one.
    pub(crate) fn shape(&self) -> Option<(Setup, u32)> {
        match &*self.life.lock() {
            Life::Ready { disk, shape, .. } => Some((*shape, disk.openers())),
            _ => None,
        }
    }

    /// A worker has come: the disk is live.
    pub(crate) fn mark_live(this: &Arc<Self>) {
        if this.live.load(Relaxed) == 0 && this.live.xchg(1, Relaxed) == 0 {
            let _ = this
                .work
                .queue()
                .enqueue::<Arc<Device>, WELCOME>(this.clone());
        }
    }

    /// Tells user space of the state. Under `life`, so that what is told comes in the order in
    /// which it happened.
    pub(super) fn announce(&self, life: &Life) {
        let state = state_name(self.state_of(life));
        let epoch = self.ledger.lock().epoch();
        // Whoever is told may serve the disk, or wait for it.
        let _noio = NoIo::new();
        if let Some(node) = &*self.node.lock() {
            node.announce(&[
                Variable::new(format_args!("ABUSE_STATE={state}")),
                Variable::new(format_args!("ABUSE_DISK=abuse{}", self.number)),
                Variable::new(format_args!("ABUSE_SEQUENCE={}", self.sequence)),
                Variable::new(format_args!("ABUSE_EPOCH={epoch}")),
            ]);
        }
    }

    pub(super) fn retire(&self) {
        let old = self.ledger.lock().retire(Store::new());
        drop(old);
    }
}
