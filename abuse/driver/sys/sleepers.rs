// SPDX-License-Identifier: GPL-2.0-only

//! Threads that sleep until one of them is woken. They take turns, but those that spin go first, the
//! last to come before the others: it is the one most likely to be awake.
//!
//! This is no wait queue of the kernel's, because there whoever wakes holds the queue's lock until
//! the other processor has been told, and who is woken there has to wait for that very lock before it
//! gets on. In a virtual machine telling another processor takes its time, and may end with the
//! teller losing his own. Here a sleeper is taken off the list under the lock and woken without it.
//!
//! C headers: `include/linux/sched.h`, `include/linux/sched/task.h`.

use super::ffi;
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use kernel::bindings;
use kernel::prelude::*;
use kernel::processor::cpu_relax;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::{new_spinlock, CondVarTimeoutResult, SpinLock};
use kernel::task::{Task, MAX_SCHEDULE_TIMEOUT};
use kernel::time::Jiffies;

/// Where they lie. Its lock is taken under whatever lock is held, and nothing is taken under it.
#[pin_data]
pub(crate) struct Sleepers {
    #[pin]
    list: SpinLock<List>,
}

/// In the order in which they are woken.
///
/// # Invariants
///
/// `first` is null or one that has not been woken, and so on along `next`, up to `last`; `before` is
/// the other way. Each is alive: it leaves [`Sleepers::sleep`] only when it is in the list no more.
struct List {
    first: *const Sleeper,
    last: *const Sleeper,
    count: u32,
}

// SAFETY: What the pointers name is shared between threads by design, under the lock.
unsafe impl Send for List {}

/// A thread in [`Sleepers::sleep`], on whose stack this is.
struct Sleeper {
    thread: NonNull<Task>,
    /// Neighbours in the list, whose lock guards them.
    links: UnsafeCell<Links>,
    /// It is in the list no more, by somebody else's doing, who is done with it.
    woken: Atomic<u32>,
}

struct Links {
    next: *const Sleeper,
    before: *const Sleeper,
}

impl Sleepers {
    /// Nobody yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Sleepers {
            // INVARIANT: An empty list.
            list <- new_spinlock!(
                List { first: ptr::null(), last: ptr::null(), count: 0 },
                "abuse::sleepers"
            ),
        })
    }

    /// Wakes one; whether there was any.
    pub(crate) fn wake_one(&self) -> bool {
        let Some(thread) = self.list.lock().pop() else {
            return false;
        };
        thread.wake_up();
        true
    }

    /// Wakes all that sleep now.
    pub(crate) fn wake_all(&self) {
        let mut count = self.list.lock().count;
        while count > 0 && self.wake_one() {
            count = count.saturating_sub(1);
        }
    }

    /// Sleeps until woken, until a signal comes, or until nothing is `left` of its time. Nobody is
    /// missed who wakes once `unlock` is called, which is where the lock is given up under which was
    /// found that there is nothing to do. Before it sleeps the thread looks whether it has been woken,
    /// `turns` times, unless somebody else could use the processor meanwhile.
    pub(crate) fn sleep(
        &self,
        unlock: impl FnOnce(),
        turns: u32,
        left: impl Fn() -> Option<Jiffies>,
    ) -> CondVarTimeoutResult {
        let thread = kernel::current!();
        let own = Sleeper {
            thread: NonNull::from(&**thread),
            links: UnsafeCell::new(Links {
                next: ptr::null(),
                before: ptr::null(),
            }),
            woken: Atomic::new(0),
        };
        // SAFETY: It neither moves nor goes before it has been taken off the list, below.
        unsafe { self.list.lock().push(&own, turns > 0) };
        unlock();
        let left = own.wait(turns, left);
        if !own.is_woken() {
            let mut list = self.list.lock();
            if !own.is_woken() {
                // SAFETY: Put there above; whoever takes another off the list says so to that one.
                unsafe { list.remove(&own) };
            }
        }
        match (left, thread.signal_pending()) {
            (jiffies, true) => CondVarTimeoutResult::Signal { jiffies },
            (0, false) => CondVarTimeoutResult::Timeout,
            (jiffies, false) => CondVarTimeoutResult::Woken { jiffies },
        }
    }
}

impl List {
    /// Enters a sleeper before all others, or behind them.
    ///
    /// # Safety
    ///
    /// The sleeper is in no list, and stays where it is until it is in this one no more.
    unsafe fn push(&mut self, sleeper: &Sleeper, before_all: bool) {
        let links = match before_all {
            true => Links {
                next: self.first,
                before: ptr::null(),
            },
            false => Links {
                next: ptr::null(),
                before: self.last,
            },
        };
        // INVARIANT: It is alive, by the contract, and was not woken as it was in no list.
        // SAFETY: Null or in the list; and the new one, alive by the contract.
        unsafe {
            self.join(links.before, sleeper);
            self.join(sleeper, links.next);
        }
        // SAFETY: Guarded by the lock of this list, which `self` proves.
        unsafe { *sleeper.links.get() = links };
        self.count = self.count.wrapping_add(1);
    }

    /// # Safety
    ///
    /// The sleeper is in this list.
    unsafe fn remove(&mut self, sleeper: &Sleeper) {
        // SAFETY: Guarded by the lock of this list, which `self` proves.
        let Links { next, before } = unsafe { ptr::read(sleeper.links.get()) };
        // SAFETY: Null or in the list.
        unsafe { self.join(before, next) };
        self.count = self.count.wrapping_sub(1);
    }

    /// Makes two neighbours; null is beyond an end.
    ///
    /// # Safety
    ///
    /// Each is null, or in this list, or about to be and alive.
    unsafe fn join(&mut self, before: *const Sleeper, next: *const Sleeper) {
        // SAFETY: Null or alive, by the contract and the invariants.
        match unsafe { before.as_ref() } {
            // SAFETY: Guarded by the lock of this list, which `self` proves.
            Some(before) => unsafe { (*before.links.get()).next = next },
            None => self.first = next,
        }
        // SAFETY: As above.
        match unsafe { next.as_ref() } {
            // SAFETY: As above.
            Some(next) => unsafe { (*next.links.get()).before = before },
            None => self.last = before,
        }
    }

    /// Takes the first off the list; its thread has to be woken.
    fn pop(&mut self) -> Option<ARef<Task>> {
        // SAFETY: Null or in the list, so alive by the invariants.
        let first = unsafe { self.first.as_ref() }?;
        // SAFETY: It is the first.
        unsafe { self.remove(first) };
        // SAFETY: A thread outlives its stack.
        let thread = ARef::from(unsafe { first.thread.as_ref() });
        // It may be gone from now on.
        first.woken.store(1, Release);
        Some(thread)
    }
}

impl Sleeper {
    fn is_woken(&self) -> bool {
        self.woken.load(Acquire) != 0
    }

    /// What is left of the time.
    fn wait(&self, turns: u32, left: impl Fn() -> Option<Jiffies>) -> Jiffies {
        for turn in 1..=turns {
            if self.woken.load(Relaxed) != 0 {
                return 1;
            }
            // SAFETY: Takes no argument.
            let wanted = unsafe { ffi::abuse_should_stop_spinning() };
            // The clock is dearer than the rest.
            if wanted || turn % 256 == 0 && left().is_none() {
                break;
            }
            cpu_relax();
        }
        let Some(jiffies) = left() else {
            return 0;
        };
        let mut left = jiffies;
        // SAFETY: Ended below. Whoever wakes this thread says so before, so that it does not sleep if
        // that is not seen.
        unsafe { ffi::abuse_sleep_begin() };
        if !self.is_woken() {
            let jiffies = jiffies.try_into().unwrap_or(MAX_SCHEDULE_TIMEOUT);
            // SAFETY: No lock is held; the timeout can be any number.
            left = unsafe { bindings::schedule_timeout(jiffies) }.max(0) as Jiffies;
        }
        // SAFETY: Begun above.
        unsafe { ffi::abuse_sleep_end() };
        left
    }
}
