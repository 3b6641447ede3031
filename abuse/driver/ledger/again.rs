// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Offering again: what a worker had is the next one's.

use super::queue::Sorter;
use super::words::{Again, Held, Policies, Requeued, Why};
use super::{Ledger, Process, State, NONE};

impl<P, Q: Process> Ledger<P, Q> {
    /// Offers again what is taken and `which` selects, in order of arrival, with new ids. What is
    /// being finished follows if that fails; nobody might be left to ask for it a second time.
    /// `tell` hears of each.
    pub(crate) fn requeue(
        &mut self,
        why: Why,
        now: u64,
        which: impl Fn(&Held<'_, Q>) -> bool,
        mut tell: impl FnMut(&Again<'_, P, Q>),
    ) -> Requeued {
        let mut outcome = Requeued::default();
        let living = matches!(why, Why::Asked | Why::Expired) && !self.policies.fenced_backend;
        let mut sorter = Sorter::new();
        for index in 0..self.slots.len() as u32 {
            let Some(slot) = self.slots.get(index as usize) else {
                break;
            };
            let finishing = slot.state == State::Finishing && !slot.past.recalled;
            if slot.state != State::Taken && !finishing {
                continue;
            }
            let Some(holder) = self.holders.get(slot.holder as usize) else {
                continue;
            };
            let held = Held {
                id: slot.id,
                held_for: now.saturating_sub(slot.since),
                detached: slot.detached,
                holder,
            };
            if !which(&held) {
                continue;
            }
            if living && slot.op.modifies() && holder.is_alive() {
                outcome.refused += u32::from(!finishing);
                continue;
            }
            self.sort_in(&mut sorter, index);
        }
        if why == Why::Asked {
            self.refused = self.refused.wrapping_add(u64::from(outcome.refused));
        }
        let first = self.sorted(sorter);
        // Two passes: a death is shared by all that its owner held, so nobody's hands are emptied
        // before everybody has been counted.
        let mut index = first;
        let mut counted = None;
        while let Some(slot) = self.slots.get(index as usize) {
            let next = slot.next;
            self.count_death(index, why, &mut counted);
            index = next;
        }
        let mut after = NONE;
        let mut next = first;
        while let Some(slot) = self.slots.get_mut(next as usize) {
            let index = core::mem::replace(&mut next, slot.next);
            let (op, guilty) = (slot.op, slot.is_guilty(&self.policies));
            let held_for = now.saturating_sub(slot.since);
            slot.since = now;
            if slot.state == State::Finishing {
                slot.past.recalled = true;
                continue;
            }
            let holder = self.holders.get(slot.holder as usize);
            if let (Some(request), Some(holder)) = (slot.request.as_ref(), holder) {
                tell(&Again {
                    id: slot.id,
                    new: (!guilty).then(|| slot.next_id()),
                    request,
                    op,
                    bytes: slot.bytes,
                    attempt: u32::from(slot.past.deaths),
                    held_for,
                    holder,
                });
            }
            self.release(index);
            if guilty {
                self.condemn(index);
                outcome.condemned += 1;
                continue;
            }
            if let Some(slot) = self.slots.get_mut(index as usize) {
                slot.renew();
            }
            self.insert_after(index, after);
            after = index;
            self.count(op, |counts| counts.requeued += 1);
            outcome.requeued += 1;
        }
        outcome.wake = self.wake();
        outcome
    }

    /// Begins a new epoch under these policies and offers everything taken again by them. Nothing
    /// changes if living writers kept all there was. Says which epochs.
    pub(crate) fn reconnect(
        &mut self,
        why: Why,
        now: u64,
        policies: Policies,
        tell: impl FnMut(&Again<'_, P, Q>),
    ) -> (Requeued, u32, u32) {
        let before = core::mem::replace(&mut self.policies, policies);
        // Whoever was kept from a suspect need not be any more.
        self.changed = true;
        let outcome = self.requeue(why, now, |_| true, tell);
        let old = self.epoch;
        if outcome.is_in_vain() {
            self.policies = before;
            return (outcome, old, old);
        }
        self.epoch = old.wrapping_add(1);
        (outcome, old, self.epoch)
    }

    /// An open file was closed for good, by the process `dying` if one closed it in its death. What
    /// was taken through it is offered again if `requeue`.
    pub(crate) fn close(
        &mut self,
        file: u64,
        requeue: bool,
        dying: Option<usize>,
        now: u64,
        tell: impl FnMut(&Again<'_, P, Q>),
    ) -> Requeued {
        let mut outcome = Requeued::default();
        if requeue {
            let its = |held: &Held<'_, Q>| held.holder.who.file == file && !held.detached;
            outcome = self.requeue(Why::Closed(dying), now, its, tell);
        }
        for holder in self.holders.iter_mut() {
            if holder.who.file == file {
                holder.open = false;
                if holder.is_vacant() {
                    holder.process = None;
                }
            }
        }
        outcome
    }

    /// Counts the death of a request's owner, if that is why it is offered again. Whether the owner
    /// of the request before is dead is known already, and that it held more than that.
    fn count_death(&mut self, index: u32, why: Why, counted: &mut Option<(u32, bool)>) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if let Some((_, dead)) = counted.filter(|&(holder, _)| holder == slot.holder) {
            slot.past.deaths = slot.past.deaths.saturating_add(u16::from(dead));
            return;
        }
        let Some(holder) = self.holders.get(slot.holder as usize) else {
            return;
        };
        // A file may be closed by others than its owner: by a child that inherited it, or by whoever
        // was sent it. Only the owner's own death is a death, and it is one whoever closes.
        let closer = match why {
            Why::Closed(dying) => dying,
            _ => None,
        };
        let dead = closer == Some(holder.who.process) || !holder.is_alive();
        *counted = Some((slot.holder, dead));
        if dead {
            slot.past.deaths = slot.past.deaths.saturating_add(1);
            let process = holder.who.process;
            let lone = holder.held == 1 && !holder.crowded;
            let lone = lone && {
                let others = self
                    .holders
                    .iter()
                    .filter(|other| other.who.process == process);
                others.filter(|other| other.held > 0).nth(1).is_none()
            };
            if lone {
                slot.past.lone_deaths = slot.past.lone_deaths.saturating_add(1);
                return;
            }
            for other in self
                .holders
                .iter_mut()
                .filter(|other| other.who.process == process)
            {
                other.crowded = true;
            }
        }
    }
}
