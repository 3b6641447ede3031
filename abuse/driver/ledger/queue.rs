// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The queue, in order of arrival: a list through the slots. What is before the first of it, and the
//! last of an empty one, mean nothing, so that the first leaves it with a single store.

use super::{Ledger, Process, State, NONE, TAG_BITS};

impl<P, Q: Process> Ledger<P, Q> {
    /// Takes a slot out of the queue.
    pub(super) fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let (prev, next) = (slot.prev, slot.next);
        if self.head == index {
            self.head = next;
        } else if let Some(before) = self.slots.get_mut(prev as usize) {
            before.next = next;
        }
        match self.slots.get_mut(next as usize) {
            Some(behind) => behind.prev = prev,
            None => self.tail = prev,
        }
    }

    /// Puts a slot into its place in the queue, and counts it.
    pub(super) fn insert(&mut self, index: u32) {
        self.insert_after(index, NONE);
    }

    /// As [`Ledger::insert`], for a slot that is known to belong behind `after`.
    pub(super) fn insert_after(&mut self, index: u32, after: u32) {
        let arrival = self
            .slots
            .get(index as usize)
            .map_or(0, |slot| slot.arrival);
        let mut prev = after;
        let mut next = match self.slots.get(after as usize) {
            Some(slot) => slot.next,
            None => self.head,
        };
        while let Some(slot) = self.slots.get(next as usize) {
            if slot.arrival > arrival {
                break;
            }
            prev = next;
            next = slot.next;
        }
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.state = State::Queued;
            slot.prev = prev;
            slot.next = next;
        }
        match self.slots.get_mut(prev as usize) {
            Some(before) => before.next = index,
            None => self.head = index,
        }
        match self.slots.get_mut(next as usize) {
            Some(behind) => behind.prev = index,
            None => self.tail = index,
        }
        self.queued = self.queued.wrapping_add(1);
        self.changed = true;
    }

    // --- Sorting --------------------------------------------------------------------------------

    /// Adds a slot that is in no list to those that are being sorted by arrival.
    pub(super) fn sort_in(&mut self, sorter: &mut Sorter, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let arrival = slot.arrival;
        slot.next = NONE;
        let in_order = sorter.first != NONE && sorter.last_arrival < arrival;
        sorter.last_arrival = arrival;
        let last = core::mem::replace(&mut sorter.last, index);
        if !in_order {
            self.end_run(sorter);
            sorter.first = index;
        } else if let Some(slot) = self.slots.get_mut(last as usize) {
            slot.next = index;
        }
    }

    /// The first of a list of all of them, by `next`.
    pub(super) fn sorted(&mut self, mut sorter: Sorter) -> u32 {
        self.end_run(&mut sorter);
        let merge = |all, list| self.merge(list, all);
        sorter.lists.into_iter().fold(NONE, merge)
    }

    /// The slot that came last is not the one before the next.
    fn end_run(&mut self, sorter: &mut Sorter) {
        let mut run = core::mem::replace(&mut sorter.first, NONE);
        // As one counts in binary.
        for list in sorter.lists.iter_mut() {
            let earlier = core::mem::replace(list, NONE);
            if earlier == NONE {
                *list = run;
                return;
            }
            run = self.merge(earlier, run);
        }
        // There are not so many tags.
        sorter.lists[0] = run;
    }

    /// One sorted list of two.
    fn merge(&mut self, one: u32, other: u32) -> u32 {
        let arrival = |ledger: &Self, index: u32| {
            let slot = ledger.slots.get(index as usize);
            slot.map(|slot| slot.arrival)
        };
        let (mut one, mut other) = (one, other);
        let (mut first, mut last) = (NONE, NONE);
        let mut next_of_other = arrival(self, other);
        while let Some(next) = arrival(self, one) {
            let Some(theirs) = next_of_other else { break };
            if theirs < next {
                core::mem::swap(&mut one, &mut other);
                next_of_other = Some(next);
            }
            self.link(&mut first, last, one);
            last = one;
            one = self.slots.get(one as usize).map_or(NONE, |slot| slot.next);
        }
        let rest = if one == NONE { other } else { one };
        self.link(&mut first, last, rest);
        first
    }

    /// Puts `index` behind the last of a list, or first.
    fn link(&mut self, first: &mut u32, last: u32, index: u32) {
        match self.slots.get_mut(last as usize) {
            Some(slot) => slot.next = index,
            None => *first = index,
        }
    }
}

/// Slots that are sorted by arrival, in lists by `next`. What comes in order stays one list and costs
/// next to nothing; of the rest two lists at a time are merged.
pub(super) struct Sorter {
    /// What came in order, lately.
    first: u32,
    last: u32,
    last_arrival: u64,
    /// At each place, nothing or a list that was merged of twice as many as at the place before.
    lists: [u32; TAG_BITS as usize + 1],
}

impl Sorter {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Sorter {
            first: NONE,
            last: NONE,
            last_arrival: 0,
            lists: [NONE; TAG_BITS as usize + 1],
        }
    }
}
