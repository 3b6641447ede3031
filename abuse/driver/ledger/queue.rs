// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The queue, in order of arrival: a list through the slots. What is before the first of it, and the
//! last of an empty one, mean nothing, so that the first leaves it with a single store.

use super::{Ledger, Process, State, NONE};

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
}

/// Sorts in place; a heap sort, since the library's sorts have a panic in them.
pub(super) fn sort_by(list: &mut [u32], key: impl Fn(u32) -> u64) {
    let sift = |list: &mut [u32], mut top: usize, end: usize| loop {
        let mut child = top.saturating_mul(2).saturating_add(1);
        if child >= end {
            return;
        }
        let at = |list: &[u32], index: usize| list.get(index).map_or(0, |&item| key(item));
        if child + 1 < end && at(list, child) < at(list, child + 1) {
            child += 1;
        }
        if at(list, top) >= at(list, child) {
            return;
        }
        list.swap(top, child);
        top = child;
    };
    for top in (0..list.len() / 2).rev() {
        sift(list, top, list.len());
    }
    for end in (1..list.len()).rev() {
        list.swap(0, end);
        sift(list, 0, end);
    }
}
