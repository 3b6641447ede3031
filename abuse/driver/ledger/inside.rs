// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Seeing inside: for whoever asks how it goes, and for clients of 2009, who see all there is.

use super::words::{Counts, Policies, Summary};
use super::{tag_of, Ledger, Process, State};

impl<P, Q: Process> Ledger<P, Q> {
    /// Whether there is a disk.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    /// Requests that have not left the ledger.
    pub(crate) fn pending(&self) -> u32 {
        self.queued
            .saturating_add(self.taken)
            .saturating_add(self.busy)
            .saturating_add(self.leaving)
    }

    /// Most requests there can be.
    pub(crate) fn tags(&self) -> u32 {
        self.slots.len() as u32
    }

    /// What the operator decided.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Requests nobody has taken.
    pub(crate) fn queued(&self) -> u32 {
        self.queued
    }

    /// Requests in the middle of a copy, or forwarded.
    pub(crate) fn busy(&self) -> u32 {
        self.busy
    }

    /// Counts set-ups and reconnects.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The id that a request would be known by if it arrived now; `None` if it would come back.
    pub(crate) fn next_id(&self, tag: u32) -> Option<u64> {
        let slot = self.slots.get(tag as usize)?;
        (self.alive && slot.state == State::Idle).then_some(slot.id)
    }

    /// The id that a request which was known by this one has now.
    pub(crate) fn id_now(&self, old: u64) -> Option<u64> {
        let slot = self.slots.get(tag_of(old) as usize)?;
        Some(slot.id)
    }

    /// Shows a v1 client the next request, which stays where it is: the unclaimed in turn, and if
    /// there are none the claimed in turn.
    pub(crate) fn v1_next<R>(&mut self, show: impl FnOnce(u64, &P) -> R) -> Option<R> {
        let mut best: Option<((bool, bool, u64), u32)> = None;
        for (index, slot) in self.slots.iter().enumerate() {
            let claimed = match slot.state {
                State::Queued => false,
                State::Taken => true,
                _ => continue,
            };
            if !slot.v1 {
                continue;
            }
            let key = (claimed, slot.arrival <= self.v1_cursor, slot.arrival);
            if best.is_none_or(|(least, _)| key < least) {
                best = Some((key, index as u32));
            }
        }
        let (_, index) = best?;
        let slot = self.slots.get(index as usize)?;
        self.v1_cursor = slot.arrival;
        Some(show(slot.id, slot.request.as_ref()?))
    }

    /// Numbers for whoever asks.
    pub(crate) fn summary(&self, now: u64) -> Summary {
        let mut summary = Summary {
            queued: self.queued,
            taken: self.taken,
            busy: self.busy,
            forwarding: self.forwarding,
            workers: self.workers(),
            sleepers: self.sleepers.saturating_add(self.patient),
            ..Summary::default()
        };
        for slot in self.slots.iter() {
            let age = now.saturating_sub(slot.since);
            match slot.state {
                State::Queued => summary.oldest_queued = summary.oldest_queued.max(age),
                State::Taken => summary.oldest_taken = summary.oldest_taken.max(age),
                _ => {}
            }
        }
        summary
    }

    /// Counts of every operation, by the value of [`Op`].
    pub(crate) fn counts(&self) -> &[Counts; 6] {
        &self.counts
    }

    /// Changes that were completed, were not durable by themselves, and were not followed by a flush.
    pub(crate) fn unflushed(&self) -> u64 {
        self.changes.saturating_sub(self.flushed)
    }

    /// Completions refused because the id was old, and re-offers refused because a writer lives.
    pub(crate) fn refusals(&self) -> (u64, u64) {
        (self.stale, self.refused)
    }
}
