// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who sleeps, who is kept waiting, and who is woken.

use super::words::Wake;
use super::{Holder, Ledger, Process, Slot};

impl<P, Q: Process> Ledger<P, Q> {
    /// Whether `min` requests wait, for whoever polls.
    pub(crate) fn is_ready(&self, min: u32) -> bool {
        self.queued >= min.max(1)
    }

    /// Whether this worker would get the first of them now. If not it may sleep: it would ask in
    /// vain, because it holds a suspect or the next one is a suspect and it holds anything.
    pub(crate) fn is_ready_for(&self, holder: u32, min: u32) -> bool {
        self.is_ready(min) && !self.is_kept(holder)
    }

    /// Somebody polls: whoever does so is woken too from now on.
    pub(crate) fn polls(&mut self) {
        self.polled = true;
    }

    /// A worker goes to sleep until `min` requests are there. Returns whether it counts as patient,
    /// and so sleeps apart; one that is kept waiting does too, lest it be woken in another's place
    /// for what it cannot take. Whoever leaves requests behind says [`Ledger::wake`] first.
    pub(crate) fn sleep(&mut self, holder: u32, min: u32) -> bool {
        let kept = self.is_kept(holder);
        let patient = min > 1 || kept;
        self.kept |= kept;
        if patient {
            self.patient = self.patient.saturating_add(1);
            // There may be enough for one that is kept, and still nothing that it can have.
            if !kept {
                self.patience = self.patience.min(min);
            }
        } else {
            self.sleepers = self.sleepers.saturating_add(1);
        }
        patient
    }

    /// A sleeper has woken up, for whatever reason, and will look at the queue now.
    pub(crate) fn rise(&mut self, patient: bool) {
        if patient {
            self.patient = self.patient.saturating_sub(1);
            if self.patient == 0 {
                self.patience = u32::MAX;
            }
        } else {
            self.sleepers = self.sleepers.saturating_sub(1);
            self.wake_in_flight = false;
        }
    }

    /// Whom to wake because requests are available: said by whoever made them so, and by whoever
    /// looked at the queue and leaves some behind.
    pub(crate) fn wake(&mut self) -> Wake {
        if self.queued == 0 {
            return Wake::default();
        }
        if self.patient == 0 && (self.sleepers == 0 || self.wake_in_flight) {
            self.changed = false;
            return Wake {
                pollers: self.polled,
                ..Wake::default()
            };
        }
        let one = self.sleepers > 0 && !self.wake_in_flight;
        self.wake_in_flight |= one;
        let enough = self.queued >= self.patience || (self.kept && self.changed);
        let patient = self.patient > 0 && enough;
        if patient {
            self.patience = u32::MAX;
            self.kept = false;
        }
        self.changed = false;
        Wake {
            one,
            patient,
            pollers: self.polled,
        }
    }

    /// Whom to wake because somebody's hands are emptier: said behind the last of the requests that
    /// have left some. Whoever was kept from a suspect, or with one, may go on then.
    #[inline(always)]
    pub(crate) fn wake_the_kept(&mut self) -> Wake {
        if self.policies.max_attempts > 0 {
            return self.wake();
        }
        Wake::default()
    }

    /// Whether a worker has to wait although requests may be there. From the second death on, a
    /// request is handed out as its worker's only holding, so that the next death says who was
    /// guilty; a process dies with all its files, so that alone means in all of them.
    #[inline(always)]
    pub(super) fn is_kept(&self, holder: u32) -> bool {
        self.policies.max_attempts > 0 && self.is_kept_from_suspects(holder)
    }

    fn is_kept_from_suspects(&self, holder: u32) -> bool {
        let Some(worker) = self.holders.get(holder as usize) else {
            return false;
        };
        let next = self
            .slots
            .get(self.head as usize)
            .is_some_and(Slot::is_suspect);
        let clash = |other: &Holder<Q>| other.held > 0 && (next || other.suspect);
        self.holders
            .iter()
            .any(|other| other.who.process == worker.who.process && clash(other))
    }
}
