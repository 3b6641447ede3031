// SPDX-License-Identifier: MIT
//! Replacing workers that are well, one after the other, without a gap: the new
//! one starts in the spare slot, parked; when it is ready it gets the old one's
//! role, and then the old one finishes what it has and leaves. Its slot is the
//! spare one of the next.
//!
//! A new worker that does not become ready ends the whole: the old ones go on.
//! Pure, as the [group](crate::group) it is part of.

use std::collections::VecDeque;

use crate::group::Group;
use crate::machine::Slot;
use crate::policy::Time;
use crate::report::Report;
use crate::state::{Action, Event, Role, State, Worker};

/// How far a rolling restart has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rolling {
    /// Who is to be replaced, by slot; the first is being.
    queue: VecDeque<(usize, Worker)>,
    /// Where the new worker is.
    spare: Option<usize>,
    /// Replaced so far.
    replaced: usize,
    active: bool,
    /// The last one was given up.
    failed: bool,
}

impl Rolling {
    /// Two slots changed roles; the one that was active has `role` now.
    pub(crate) fn swapped(&mut self, active: usize, standby: usize, role: Role) {
        if role == Role::Spare && self.spare == Some(standby) {
            self.spare = None;
            self.replaced += 1;
            // Perhaps not the one it was meant for, but one that is replaced now.
            self.queue.retain(|(slot, _)| *slot != active);
        }
    }

    /// Whether one is under way.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }
}

impl Group {
    /// Replaces every worker; those that were given up are started anew at once.
    pub fn restart(&mut self, now: Time) -> Vec<(usize, Action)> {
        if self.ending() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].state(), State::GaveUp(_)) {
                all.extend(self.step(slot, Event::Revive, now, 0));
            }
        }
        let roles = [Role::Active, Role::Standby];
        let mut queue = VecDeque::new();
        for role in roles {
            for (slot, place) in self.slots.iter().enumerate() {
                let living = place.alive().filter(|_| place.role == role);
                let old = living.filter(|_| matches!(place.state(), State::Ready { .. }));
                queue.extend(old.map(|worker| (slot, worker)));
            }
        }
        // One that is under way goes on with its spare slot, for everybody there is now.
        self.rolling = Rolling {
            queue,
            spare: self.rolling.spare,
            active: true,
            ..Rolling::default()
        };
        all.extend(self.roll(now));
        all
    }

    /// Whether a rolling restart is under way.
    pub fn restarting(&self) -> bool {
        self.rolling.is_active()
    }

    /// Whether the last one was given up.
    pub fn restart_failed(&self) -> bool {
        self.rolling.failed
    }

    /// The next step of a rolling restart, if one is under way and a step is due.
    pub(crate) fn roll(&mut self, now: Time) -> Vec<(usize, Action)> {
        let mut all = Vec::new();
        if !self.rolling.active {
            return all;
        }
        if self.ending() {
            self.rolling = Rolling::default();
            return all;
        }
        if let Some(spare) = self.rolling.spare {
            match self.slots[spare].state() {
                State::Starting | State::Spawned { .. } => return all,
                State::Ready { .. } => all.extend(self.replace(spare, now)),
                _ => {
                    self.rolling = Rolling {
                        failed: true,
                        ..Rolling::default()
                    };
                    all.extend(self.step_one(spare, Event::Drain, now, 0));
                    all.push((spare, Action::Report(Report::RollingFailed)));
                    return all;
                }
            }
        }
        // Who has died meanwhile was replaced by that.
        while let Some((slot, worker)) = self.rolling.queue.front() {
            if self.slots[*slot].alive() == Some(*worker) {
                break;
            }
            self.rolling.queue.pop_front();
        }
        if self.rolling.queue.is_empty() {
            let leaving = |state: &State| !matches!(state, State::Off | State::GaveUp(_));
            let spares = self.slots.iter().filter(|slot| slot.role == Role::Spare);
            if !spares.map(|slot| slot.state()).any(leaving) {
                let replaced = self.rolling.replaced;
                self.rolling = Rolling::default();
                all.push((0, Action::Report(Report::Rolled { replaced })));
            }
            return all;
        }
        let free = self.slots.iter().position(|slot| {
            slot.role == Role::Spare && matches!(slot.state(), State::Off | State::GaveUp(_))
        });
        // None is free until the last one that was replaced has left.
        if let Some(spare) = free {
            self.rolling.spare = Some(spare);
            let role = self.slots[spare].role();
            self.slots[spare] = Slot::new(role);
            self.slots[spare].stopping = false;
            all.extend(self.step_one(spare, Event::Start, now, 0));
        }
        all
    }

    /// The new worker in `spare` is ready.
    fn replace(&mut self, spare: usize, now: Time) -> Vec<(usize, Action)> {
        let old = self.rolling.queue.front().copied();
        let still_there = |(slot, worker): &(usize, Worker)| {
            let place = &self.slots[*slot];
            let ready = matches!(place.state(), State::Ready { .. });
            place.alive() == Some(*worker) && ready && !place.stopping
        };
        let Some((slot, _)) = old.filter(still_there) else {
            // The old one died: what replaced it is as new as this one.
            self.rolling.spare = None;
            return self.step_one(spare, Event::Drain, now, 0);
        };
        if self.slots[slot].role == Role::Active {
            return self.swap(slot, spare, None, now);
        }
        self.slots[spare].role = self.slots[slot].role;
        self.slots[slot].role = Role::Spare;
        self.rolling.swapped(slot, spare, Role::Spare);
        self.step_one(slot, Event::Drain, now, 0)
    }
}
