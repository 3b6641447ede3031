// SPDX-License-Identifier: GPL-2.0-only

//! One device: its life cycle, its ledger, and those who wait for it.
//!
//! ```text
//!            setup                      first EXCHANGE
//!   Empty ──────────► Ready (not live) ───────────────► Ready (live)
//!     ▲                    │                                 │
//!     │                    └──────────────┬──────────────────┘
//!     └── teardown ◄── Resetting ◄────────┘ reset
//! ```
//!
//! Every set-up makes a new disk, and a reset marks the old one dead for good: a filesystem that is
//! still mounted gets errors for ever and can never write into a successor.
//!
//! A device that is removed is *gone* from the moment in which that begins: whatever is asked of it
//! answers ENODEV. If there is a disk it goes as with a reset; then, with nothing left to wait for,
//! the device leaves the table and its node disappears (see `table`).
//!
//! # Locks, in order
//!
//! 1. `life`, a mutex: what there is. May be held while memory is allocated and while a disk is
//!    added, never while anything waits for a worker, a user page or a request.
//! 2. `node`, a mutex: the node in /dev. May be held while that is made, and as `life`.
//! 3. the disk's `open_mutex`, which belongs to the block layer: only ever tried under `life`.
//! 4. `hangar`, a spin lock: nothing is done under it, and nothing freed.
//! 5. `ledger`, a spin lock: never held over a copy, over the end of a request, or over an
//!    allocation. The locks of wait queues are taken under it.

mod chores;
mod inside;
mod life;
mod terms;

pub(crate) use inside::state_name;

use crate::abi::Setup;
use crate::ledger::{Again, Arrival, Held, Ledger, Requeued, Wake, Why};
use crate::ledger::{Holder, Who};
use crate::name::Name;
use crate::sys::chrdev::{Visible, POLL_ERR, POLL_HUP, POLL_IN, POLL_MSG};
use crate::sys::disk::{Disk, Queue};
use crate::sys::few::Few;
use crate::sys::flight::Grounded;
use crate::sys::request::{Request, Status};
use crate::sys::sleepers::Sleepers;
use crate::sys::task::{self, NoBottomHalves, ProcessRef};
use crate::sys::trace;
use crate::sys::work::{ModuleRef, WorkQueue};
use crate::Store;
use kernel::fs::File;
use kernel::impl_has_work;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::lock::spinlock::SpinLockBackend;
use kernel::sync::lock::Guard;
use kernel::sync::poll::{PollCondVar, PollTable};
use kernel::sync::{Arc, CondVar, CondVarTimeoutResult, Mutex, SetOnce, SpinLock};
use kernel::time::delay::fsleep;
use kernel::time::{msecs_to_jiffies, Delta, Jiffies};
use kernel::workqueue::Work;
use kernel::{new_condvar, new_mutex, new_poll_condvar, new_spinlock, new_work};

/// The ledger of a device.
pub(crate) type DeviceLedger = Ledger<Request, ProcessRef>;

/// The ledger, locked. Passed on as it is: behind a plain reference the compiler takes its fields for its
/// own, and keeps more of them in registers than there are.
pub(crate) type LockedLedger<'a> = Guard<'a, DeviceLedger, SpinLockBackend>;

/// Flights that are not used at the moment.
pub(crate) type Hangar = Few<Grounded<Device>, CHUNK>;

/// Requests that are handled between two looks at the ledger.
pub(crate) const CHUNK: usize = 32;

/// What there is of a device.
enum Life {
    /// No disk.
    Empty,
    /// A disk, and the hold on the module that goes with it.
    Ready {
        disk: Disk<Device>,
        shape: Setup,
        _module: ModuleRef,
    },
    /// A dead disk that is being removed, until the work has taken it.
    Resetting {
        remains: Option<(Disk<Device>, ModuleRef)>,
    },
    /// No device: its number may belong to another.
    Gone,
}

/// One device.
#[pin_data]
pub(crate) struct Device {
    /// Where data are moved to and from files, once any were. First: nothing of the device goes
    /// before all that has landed.
    runway: SetOnce<WorkQueue>,
    /// What moved data, and will again.
    #[pin]
    pub(crate) hangar: SpinLock<Hangar>,
    number: u32,
    sequence: u64,
    name: Name,
    work: Arc<WorkQueue>,
    /// Whether its removal has begun. Set once, under `life`, and before the ledger is killed: who
    /// finds the ledger dead knows why.
    gone: Atomic<u32>,
    /// Its node in /dev, while that can be seen.
    #[pin]
    node: Mutex<Option<Visible<Device>>>,
    #[pin]
    pub(crate) ledger: SpinLock<DeviceLedger>,
    /// Workers that want any request; woken one at a time.
    #[pin]
    workers: Sleepers,
    /// Workers that want several; woken together.
    #[pin]
    patient: CondVar,
    #[pin]
    pollers: PollCondVar,
    #[pin]
    life: Mutex<Life>,
    /// `life` has changed.
    #[pin]
    settled: CondVar,
    /// Whether a worker has come since the last set-up.
    live: Atomic<u32>,
    /// Whether the disk refuses writes: the block layer only says so, and lets through what a
    /// filesystem sends that was mounted before.
    read_only: Atomic<u32>,
    /// Whether the disk has no volatile cache: what is written is durable when it ends.
    write_through: Atomic<u32>,
    files: Atomic<u64>,
    #[pin]
    teardown: Work<Device, TEARDOWN>,
    #[pin]
    welcome: Work<Device, WELCOME>,
    #[pin]
    watch: Work<Device, WATCH>,
    #[pin]
    removal: Work<Device, REMOVAL>,
}

/// Workers of one device at a time, by open file, process and token: the table of them is walked
/// under the ledger's lock.
const MOST_HOLDERS: usize = 4096;

const TEARDOWN: u64 = 0;
const WELCOME: u64 = 1;
const WATCH: u64 = 2;
/// Done by `table`.
pub(crate) const REMOVAL: u64 = 3;

impl_has_work! {
    impl HasWork<Self, 0> for Device { self.teardown }
    impl HasWork<Self, 1> for Device { self.welcome }
    impl HasWork<Self, 2> for Device { self.watch }
    impl HasWork<Self, 3> for Device { self.removal }
}

/// How a reset began.
#[derive(Clone, Copy, Default)]
pub(crate) struct ResetBegun {
    /// Requests ended with an error.
    pub(crate) failed: u32,
    /// Requests still in the middle of a copy.
    pub(crate) draining: u32,
}

/// Why a worker was woken.
pub(crate) enum Woken {
    /// To look.
    Look,
    /// Its time is over.
    Late,
    /// By a signal.
    Signal,
}

impl Device {
    /// An empty device.
    pub(crate) fn new(
        number: u32,
        sequence: u64,
        name: Name,
        work: Arc<WorkQueue>,
    ) -> Result<Arc<Self>> {
        let mut holders = Store::new();
        for _ in 0..4 {
            holders.push(Holder::vacant(), GFP_KERNEL)?;
        }
        // A random origin, so that the id of another device's request means nothing here.
        let origin = task::random() >> 24;
        let ledger = Ledger::new(Store::new(), holders, origin);
        Arc::pin_init(
            pin_init!(Device {
                runway: SetOnce::new(),
                hangar <- new_spinlock!(Few::new()),
                number,
                sequence,
                name,
                work,
                gone: Atomic::new(0),
                node <- new_mutex!(None),
                ledger <- new_spinlock!(ledger),
                workers <- Sleepers::new(),
                patient <- new_condvar!(),
                pollers <- new_poll_condvar!(),
                life <- new_mutex!(Life::Empty),
                settled <- new_condvar!(),
                live: Atomic::new(0),
                read_only: Atomic::new(0),
                write_through: Atomic::new(0),
                files: Atomic::new(0),
                teardown <- new_work!("abuse::teardown"),
                welcome <- new_work!("abuse::welcome"),
                watch <- new_work!("abuse::watch"),
                removal <- new_work!("abuse::removal"),
            }),
            GFP_KERNEL,
        )
    }

    /// A number for an open file; never given twice.
    pub(crate) fn new_file(&self) -> u64 {
        self.files.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Where data are moved to and from files. Made when it is first asked for: most devices never
    /// do. It goes with the device, when the last of its requests has ended.
    pub(crate) fn runway(&self) -> Result<&WorkQueue> {
        loop {
            if let Some(runway) = self.runway.as_ref() {
                return Ok(runway);
            }
            if !self.runway.populate(WorkQueue::of_device(self.number)?) {
                // Somebody else was faster, and may be in the middle of it.
                fsleep(Delta::from_micros(10));
            }
        }
    }

    /// Whether what is written must be durable when it ends.
    pub(crate) fn is_write_through(&self) -> bool {
        self.write_through.load(Relaxed) != 0
    }

    /// Wakes whom the ledger names.
    pub(crate) fn wake(&self, wake: Wake) {
        if wake.one {
            self.workers.wake_one();
        }
        if wake.patient {
            self.patient.notify_all();
        }
        if wake.pollers {
            self.pollers.notify_all();
        }
    }

    /// Ends what the ledger has condemned.
    pub(crate) fn end_condemned(&self) {
        loop {
            let mut ended = [const { None }; CHUNK];
            let mut ledger = self.ledger.lock();
            for place in ended.iter_mut() {
                *place = ledger.condemned_pop();
            }
            drop(ledger);
            let last = ended.last().is_none_or(Option::is_none);
            let off = NoBottomHalves::new();
            for gone in ended.into_iter().flatten() {
                if trace::end_is_on() {
                    trace::end(self.number, &gone, Status::IO_ERROR);
                }
                gone.request.end(Status::IO_ERROR, &off);
            }
            if last {
                return;
            }
        }
    }

    /// Condemns and ends everything pending; the disk lives on.
    pub(crate) fn fail_all(&self) {
        self.ledger.lock().fail_all();
        self.end_condemned();
    }

    /// Offers taken requests again.
    pub(crate) fn requeue(
        &self,
        why: Why,
        which: impl Fn(&Held<'_, ProcessRef>) -> bool,
    ) -> Requeued {
        let now = task::now();
        let outcome = self
            .ledger
            .lock()
            .requeue(why, now, which, self.onlooker(why));
        self.after_requeue(&outcome);
        outcome
    }

    /// A control node was closed for good.
    pub(crate) fn close_file(&self, file: u64) {
        let dying = task::current_is_dying().then(task::current_key);
        let now = task::now();
        let mut ledger = self.ledger.lock();
        let requeue = !ledger.policies().keep_on_close;
        let onlooker = self.onlooker(Why::Closed(dying));
        let outcome = ledger.close(file, requeue, dying, now, onlooker);
        drop(ledger);
        self.after_requeue(&outcome);
    }

    /// Tells whoever traces of what is offered again.
    fn onlooker(&self, why: Why) -> impl FnMut(&Again<'_, Request, ProcessRef>) {
        let number = self.number;
        move |again| {
            if trace::requeue_is_on() {
                trace::requeue(number, why, again);
            }
        }
    }

    fn after_requeue(&self, outcome: &Requeued) {
        self.wake(outcome.wake);
        if outcome.condemned > 0 {
            self.end_condemned();
        }
    }

    /// The place of a worker in the ledger, which enters it if it has none.
    pub(crate) fn holder(&self, who: &Who) -> Result<u32> {
        let ledger = self.ledger.lock();
        if let Some(index) = ledger.holder_find(who) {
            return Ok(index);
        }
        drop(ledger);
        let mut process = ProcessRef::current().ok_or(ESRCH)?;
        loop {
            let mut ledger = self.ledger.lock();
            match ledger.holder_add(*who, process) {
                Ok(index) => return Ok(index),
                Err(back) => process = back,
            }
            let want = ledger.holders_len().saturating_mul(2);
            drop(ledger);
            if want > MOST_HOLDERS {
                return Err(ENOSPC);
            }
            let mut longer = Store::with_capacity(want, GFP_KERNEL)?;
            for _ in 0..want {
                longer.push(Holder::vacant(), GFP_KERNEL)?;
            }
            let old = self.ledger.lock().holders_grow(longer);
            drop(old);
        }
    }

    /// Sleeps, without the ledger, until the ledger may have something for a worker that wants
    /// `min` requests. The caller has just looked, under this very lock. Before it sleeps it looks
    /// `spin` times whether there is something now.
    pub(crate) fn sleep<'a>(
        &'a self,
        mut ledger: LockedLedger<'a>,
        holder: u32,
        min: u32,
        spin: u32,
        deadline: u64,
    ) -> (LockedLedger<'a>, Woken) {
        let Some(left) = jiffies_left(deadline) else {
            return (ledger, Woken::Late);
        };
        // What this worker leaves behind may be for others.
        let wake = ledger.wake();
        self.wake(wake);
        let patient = ledger.sleep(holder, min);
        let woken = if patient {
            let woken = self.patient.wait_interruptible_timeout(&mut ledger, left);
            ledger.rise(patient);
            woken
        } else {
            let left = || jiffies_left(deadline);
            let woken = self.workers.sleep(|| drop(ledger), spin, left);
            ledger = self.ledger.lock();
            ledger.rise(patient);
            woken
        };
        let woken = match woken {
            CondVarTimeoutResult::Signal { .. } => Woken::Signal,
            // Very long waits come in pieces.
            CondVarTimeoutResult::Timeout if jiffies_left(deadline).is_some() => Woken::Look,
            CondVarTimeoutResult::Timeout => Woken::Late,
            CondVarTimeoutResult::Woken { .. } => Woken::Look,
        };
        (ledger, woken)
    }

    /// What poll says.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) -> u32 {
        table.register_wait(file, &self.pollers);
        if self.is_gone() {
            return POLL_HUP | POLL_ERR;
        }
        let mut ledger = self.ledger.lock();
        ledger.polls();
        if !ledger.is_alive() {
            return POLL_HUP;
        }
        let mut mask = 0;
        if ledger.is_ready(1) {
            mask |= POLL_IN;
        }
        if ledger.pending() > 0 {
            mask |= POLL_MSG;
        }
        mask
    }
}

impl Queue for Device {
    #[inline(always)]
    fn queue(&self, tag: u32, request: Request) -> core::result::Result<(), Request> {
        let mut ledger = self.ledger.lock();
        self.accept(&mut ledger, tag, request)?;
        let wake = ledger.wake();
        drop(ledger);
        self.wake(wake);
        Ok(())
    }

    fn queue_all(&self, mut next: impl FnMut() -> Option<(u32, Request)>) {
        let mut more = true;
        while more {
            let mut refused = None;
            let mut ledger = self.ledger.lock();
            loop {
                let Some((tag, request)) = next() else {
                    more = false;
                    break;
                };
                if let Err(request) = self.accept(&mut ledger, tag, request) {
                    refused = Some(request);
                    break;
                }
            }
            let wake = ledger.wake();
            drop(ledger);
            self.wake(wake);
            // That ends it with an error, which must not be done under the lock.
            drop(refused);
        }
    }
}

impl Device {
    /// Enters a request into the ledger, or gives it back.
    #[inline(always)]
    fn accept(
        &self,
        ledger: &mut DeviceLedger,
        tag: u32,
        request: Request,
    ) -> core::result::Result<(), Request> {
        let Some(op) = request.op() else {
            return Err(request);
        };
        if op.changes_data() && self.read_only.load(Relaxed) != 0 {
            return Err(request);
        }
        // The block layer has just looked at the clock, as a rule.
        let now = match request.made_at() {
            0 => task::now(),
            made_at => made_at,
        };
        if trace::queue_is_on() {
            if let Some(id) = ledger.next_id(tag) {
                trace::queue(self.number, id, request.seen());
            }
        }
        // Behind the last call: what is known before one has to be kept over it.
        let durable = request.fua();
        let v1 = match op {
            crate::ledger::Op::Read | crate::ledger::Op::Write => !durable,
            crate::ledger::Op::Flush => true,
            _ => false,
        };
        let arrival = Arrival {
            op,
            bytes: request.bytes(),
            durable,
            v1,
        };
        ledger.enqueue(tag, &arrival, request, now)
    }
}

/// Jiffies until `deadline`, in nanoseconds of CLOCK_MONOTONIC; `None` if it has passed.
fn jiffies_left(deadline: u64) -> Option<Jiffies> {
    /// Long enough not to matter, short enough not to overflow.
    const LONGEST_MS: u64 = 1 << 30;
    if deadline == u64::MAX {
        return Some(Jiffies::MAX);
    }
    let left = deadline.checked_sub(task::now()).filter(|&left| left > 0)?;
    let ms = (left / 1_000_000).saturating_add(1).min(LONGEST_MS);
    Some(msecs_to_jiffies(ms as u32))
}
