// SPDX-License-Identifier: GPL-2.0-only

//! The control nodes of devices, /dev/abctlN: who may call what, and what each call means.
//!
//! A call that changes anything needs a descriptor that is open for writing (EBADF), taking a
//! request included: it tells what others write. The calls of 2009 also accept a read-only one from
//! an administrator (EPERM), as their tool opens it. Asking for the state needs neither.

use crate::abi;
use crate::device::Device;
use crate::exchange::exchange;
use crate::ledger::{Held, Requeued, Who, Why};
use crate::sys::chrdev::Node;
use crate::sys::task::{self, NoIo, ProcessRef};
use crate::sys::user;
use crate::{legacy, shape, table};
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::poll::PollTable;
use kernel::sync::Arc;

/// An open control node.
pub(crate) struct Control {
    device: Arc<Device>,
    file: u64,
    writable: bool,
    /// Where the ledger keeps the worker that used this file last.
    holder: Atomic<u32>,
}

/// Bits of a command that name the call: all but the size of its struct, which the struct itself
/// tells.
pub(crate) const CALL: u32 = !(0x3fff << 16);

impl Node for Control {
    fn open(minor: u32, writable: bool) -> Result<KBox<Self>> {
        let device = table::find(minor).ok_or(ENODEV)?;
        if device.is_gone() {
            return Err(ENODEV);
        }
        let file = device.new_file();
        let control = Control {
            device,
            file,
            writable,
            holder: Atomic::new(u32::MAX),
        };
        Ok(KBox::new(control, GFP_KERNEL)?)
    }

    fn ioctl(&self, command: u32, argument: u64, compat: bool) -> Result<isize> {
        if self.device.is_gone() {
            return Err(ENODEV);
        }
        // A process that serves a disk must not wait for that disk.
        let _noio = NoIo::new();
        // The one that busy workers call.
        const EXCHANGE: u32 = abi::IOC_EXCHANGE & CALL;
        if command & CALL == EXCHANGE {
            self.may_change()?;
            return self.exchange(argument).map(|()| 0);
        }
        self.seldom(command, argument, compat).map(|()| 0)
    }

    fn poll(&self, file: &File, table: &PollTable<'_>) -> u32 {
        self.device.poll(file, table)
    }

    fn release(self: KBox<Self>) {
        self.device.close_file(self.file);
    }
}

impl Control {
    /// All calls but EXCHANGE.
    #[inline(never)]
    fn seldom(&self, command: u32, argument: u64, compat: bool) -> Result {
        match command {
            abi::GET_STATUS => legacy::get_status(&self.device, argument, compat),
            abi::SET_STATUS => self.legacy_may().and_then(|()| {
                let (cpus, page) = machine();
                let partitions = crate::partitions();
                legacy::set_status(&self.device, argument, compat, partitions, cpus, page)
            }),
            abi::RESET => self.legacy_may().and_then(|()| legacy::reset(&self.device)),
            abi::GET_BIO => self
                .legacy_may()
                .and_then(|()| legacy::get_bio(&self.device, argument)),
            abi::PUT_BIO => self
                .legacy_may()
                .and_then(|()| legacy::put_bio(&self.device, argument)),
            // v1 answered EINVAL to what it did not know; kept in its own range.
            0x4120..=0x412f => Err(EINVAL),
            _ => self.call(command & CALL, argument),
        }
    }

    /// The calls of v2.
    fn call(&self, call: u32, argument: u64) -> Result {
        const STATUS: u32 = abi::IOC_STATUS & CALL;
        const SETUP: u32 = abi::IOC_SETUP & CALL;
        const REQUEUE: u32 = abi::IOC_REQUEUE & CALL;
        const RECONNECT: u32 = abi::IOC_RECONNECT & CALL;
        const RESET: u32 = abi::IOC_RESET & CALL;
        const RESIZE: u32 = abi::IOC_RESIZE & CALL;
        match call {
            STATUS => self.status(argument),
            SETUP => self.may_change().and_then(|()| self.setup(argument)),
            REQUEUE => self.may_change().and_then(|()| self.requeue(argument)),
            RECONNECT => self.may_change().and_then(|()| self.reconnect(argument)),
            RESET => self.may_change().and_then(|()| self.reset(argument)),
            RESIZE => self.may_change().and_then(|()| self.resize(argument)),
            _ => Err(ENOTTY),
        }
    }

    fn may_change(&self) -> Result {
        if self.writable {
            Ok(())
        } else {
            Err(EBADF)
        }
    }

    fn legacy_may(&self) -> Result {
        if self.writable || task::may_administer() {
            Ok(())
        } else {
            Err(EPERM)
        }
    }

    fn status(&self, argument: u64) -> Result {
        let _: abi::Status = user::read_sized(argument)?;
        user::write(argument, &self.device.status())
    }

    fn setup(&self, argument: u64) -> Result {
        let asked: abi::Setup = user::read_sized(argument)?;
        let (cpus, page) = machine();
        let mut settled = shape::settle(&asked, cpus, page).map_err(legacy::errno)?;
        settled.size = core::mem::size_of::<abi::Setup>() as u32;
        Device::setup(&self.device, &mut settled)?;
        user::write(argument, &settled)
    }

    #[inline(always)]
    fn exchange(&self, argument: u64) -> Result {
        let mut call = abi::Exchange::default();
        user::read_sized_into(argument, &mut call)?;
        let token = if call.owner == 0 {
            task::current_token()
        } else {
            call.owner
        };
        let who = Who {
            file: self.file,
            token,
            process: task::current_key(),
        };
        exchange(&self.device, &who, &self.holder, &mut call)?;
        // The counts and what comes behind them is what the caller gets to see.
        const ANSWER: usize = core::mem::offset_of!(abi::Exchange, done_count);
        user::write_from::<_, ANSWER>(argument, &call)
    }

    fn requeue(&self, argument: u64) -> Result {
        let mut call: abi::Requeue = user::read_sized(argument)?;
        let selectors = abi::RQ_OWNER | abi::RQ_PID | abi::RQ_ID | abi::RQ_OLDER | abi::RQ_ALL;
        let known = selectors | abi::RQ_FORCE;
        let chosen = call.flags & selectors;
        if call.flags & !known != 0 || chosen == 0 || call.reserved != 0 || call.reserved1 != 0 {
            return Err(EINVAL);
        }
        self.must_be_set_up()?;
        let has = |flag: u32| call.flags & flag != 0;
        let why = if has(abi::RQ_FORCE) {
            Why::Forced
        } else {
            Why::Asked
        };
        let outcome = self.device.requeue(why, |held: &Held<'_, ProcessRef>| {
            let number = |process: &ProcessRef| call.pid != 0 && process.number() == call.pid;
            (!has(abi::RQ_OWNER) || held.holder.who().token == call.owner)
                && (!has(abi::RQ_PID) || held.holder.process().is_some_and(number))
                && (!has(abi::RQ_ID) || held.id == call.id)
                && (!has(abi::RQ_OLDER) || held.held_for >= call.older_than_ns)
        });
        call.requeued = outcome.requeued;
        call.refused = outcome.refused;
        user::write(argument, &call)?;
        if_something(&outcome)
    }

    fn reconnect(&self, argument: u64) -> Result {
        let mut call: abi::Reconnect = user::read_sized(argument)?;
        shape::check_change(&call).map_err(legacy::errno)?;
        let (outcome, old, new) = Device::reconnect(&self.device, &call)?;
        call.old_epoch = old;
        call.new_epoch = new;
        call.requeued = outcome.requeued;
        call.refused = outcome.refused;
        user::write(argument, &call)?;
        if_something(&outcome)
    }

    fn reset(&self, argument: u64) -> Result {
        let mut call: abi::Reset = user::read_sized(argument)?;
        if call.flags & !abi::RS_FORCE != 0 || call.reserved != 0 {
            return Err(EINVAL);
        }
        let force = call.flags & abi::RS_FORCE != 0;
        let begun = Device::reset(&self.device, force)?.ok_or(ENXIO)?;
        call.failed = begun.failed;
        call.draining = begun.draining;
        user::write(argument, &call)?;
        match call.timeout_ns {
            0 => Ok(()),
            timeout => self.device.wait_reset(timeout),
        }
    }

    fn resize(&self, argument: u64) -> Result {
        let mut call: abi::Resize = user::read_sized(argument)?;
        if call.flags & !abi::RZ_FORCE != 0 || call.reserved != [0; 2] {
            return Err(EINVAL);
        }
        let force = call.flags & abi::RZ_FORCE != 0;
        call.old_bytes = self.device.resize(call.bytes, force)?;
        user::write(argument, &call)
    }

    fn must_be_set_up(&self) -> Result {
        if self.device.ledger.lock().is_alive() {
            Ok(())
        } else {
            Err(self.device.absence())
        }
    }
}

/// EBUSY if living writers kept everything there was to offer again.
fn if_something(outcome: &Requeued) -> Result {
    if outcome.is_in_vain() {
        Err(EBUSY)
    } else {
        Ok(())
    }
}

/// Processors, and bytes of a page.
fn machine() -> (u32, u32) {
    (kernel::cpu::nr_cpu_ids(), kernel::page::PAGE_SIZE as u32)
}
