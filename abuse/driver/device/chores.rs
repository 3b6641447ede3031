// SPDX-License-Identifier: GPL-2.0-only

//! What a device has done on the module's work queue, since it may wait: removing a dead disk,
//! welcoming the first worker, keeping time limits.

use super::{jiffies_left, Device, Life, TEARDOWN, WATCH, WELCOME};
use crate::abi;
use crate::ledger::{Wake, Why};
use crate::sys::task;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;

impl WorkItem<TEARDOWN> for Device {
    type Pointer = Arc<Device>;

    /// Removes a dead disk; what was in the middle of a copy has been ended when this is over.
    fn run(this: Arc<Device>) {
        let mut life = this.life.lock();
        let Life::Resetting { remains } = &mut *life else {
            return;
        };
        let remains = remains.take();
        this.announce(&life);
        drop(life);
        let Some((disk, module)) = remains else {
            return;
        };
        // Not by whoever resets, and not under `life`: it waits for a filesystem that is being
        // mounted or unmounted, which is over once its requests have been ended.
        disk.mark_dead();
        drop(disk);
        this.retire();
        // Before it is said that all is over: the module's exit waits for this work.
        drop(module);
        let mut life = this.life.lock();
        *life = Life::Empty;
        if this.is_gone() {
            this.bury();
        } else {
            this.announce(&life);
        }
        drop(life);
        this.settled.notify_all();
        this.wake(Wake::everybody());
    }
}

impl WorkItem<WELCOME> for Device {
    type Pointer = Arc<Device>;

    /// The first worker has come: partitions may be looked for, and user space is told.
    fn run(this: Arc<Device>) {
        let life = this.life.lock();
        // Of a disk that is gone; the worker that comes to the next one says so again.
        if this.live.load(Relaxed) == 0 {
            return;
        }
        let (disk, look) = match &*life {
            Life::Ready { disk, shape, .. } => {
                (disk.reference(), shape.features & abi::F_PARTSCAN != 0)
            }
            _ => return,
        };
        this.announce(&life);
        drop(life);
        disk.announce(c"ABUSE_STATE=live");
        disk.scan(look);
    }
}

impl WorkItem<WATCH> for Device {
    type Pointer = Arc<Device>;

    /// Keeps the time limits of a disk for as long as it is there: offers again what was held too
    /// long, within the fencing rule, and fails what nobody has claimed for too long.
    fn run(this: Arc<Device>) {
        /// Looks per time limit: a limit is kept to a quarter of itself.
        const LOOKS: u64 = 4;
        /// Nanoseconds between two looks, at least.
        const SHORTEST: u64 = 1_000_000;
        let limits = |life: &Life| match life {
            Life::Ready { shape, .. } => Some((shape.lease_ns, shape.no_server_ns)),
            _ => None,
        };
        let mut life = this.life.lock();
        while let Some((lease, no_server)) = limits(&life) {
            let there = [lease, no_server].into_iter().filter(|&limit| limit > 0);
            let Some(least) = there.min() else {
                return;
            };
            let pause = (least / LOOKS).max(SHORTEST);
            let left = jiffies_left(task::now().saturating_add(pause)).unwrap_or(1);
            // Back early when the life cycle goes on.
            let _ = this.settled.wait_interruptible_timeout(&mut life, left);
            // They may have been changed meanwhile.
            let Some((lease, no_server)) = limits(&life) else {
                return;
            };
            drop(life);
            if lease > 0 {
                this.requeue(Why::Expired, |held| held.held_for >= lease);
            }
            if no_server > 0 {
                let (failed, wake) = this.ledger.lock().fail_unclaimed(no_server, task::now());
                this.wake(wake);
                if failed > 0 {
                    this.end_condemned();
                }
            }
            life = this.life.lock();
        }
    }
}
