// SPDX-License-Identifier: MIT
//! Who stands in for whom. Pure, as the [group](crate::group) it is part of.
//!
//! A standby is promoted in the place of an active worker
//!
//! - that died, as soon as the device has taken its token back: not earlier, since
//!   until then somebody may still write under it;
//! - whose successor has to wait, or will not come: Backoff, GaveUp.
//!
//! Never in the place of one that is stuck in the kernel (rule 1). The two slots
//! change their roles, and the standby's new place is filled by the rules of its
//! slot: so a standby makes failover quick, and no respawn quicker.

use crate::group::Group;
use crate::machine::Slot;
use crate::policy::Time;
use crate::state::{Action, Answer, Event, Exit, Role, State, Worker, USAGE};

/// Who is in a slot when a supervisor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nobody who lives.
    Nobody,
    /// A worker that serves.
    Serving,
    /// A worker that waits to be promoted.
    Parked,
}

/// Gives every slot a role: workers that are there keep what they do, as long as so
/// many are wanted; what is missing is to be started in the first empty slots; and
/// there is a spare one.
pub fn assign(active: usize, standby: usize, there: &[Occupant]) -> Vec<Role> {
    let slots = there.len().max(active + standby + 1);
    let mut roles = vec![Role::Spare; slots];
    let mut missing = [active, standby];
    let mut give = |which: Occupant, kinds: &[(usize, Role)]| {
        for (slot, role) in roles.iter_mut().enumerate() {
            let occupant = there.get(slot).copied().unwrap_or(Occupant::Nobody);
            if *role != Role::Spare || occupant != which {
                continue;
            }
            let wanted = kinds.iter().find(|(kind, _)| missing[*kind] > 0);
            if let Some((kind, new)) = wanted {
                missing[*kind] -= 1;
                *role = *new;
            }
        }
    };
    give(Occupant::Serving, &[(0, Role::Active)]);
    give(Occupant::Parked, &[(1, Role::Standby), (0, Role::Active)]);
    give(Occupant::Nobody, &[(0, Role::Active), (1, Role::Standby)]);
    // Every slot is taken by somebody who is too many: more of them.
    for (kind, role) in [(0, Role::Active), (1, Role::Standby)] {
        roles.extend(std::iter::repeat_n(role, missing[kind]));
    }
    roles
}

impl Group {
    /// Before a dead worker's slot goes on: a standby takes its role.
    pub(crate) fn stand_in_for(
        &mut self,
        slot: usize,
        event: &Event,
        now: Time,
    ) -> Vec<(usize, Action)> {
        let Event::Answer(Answer::Done { .. }) = event else {
            return Vec::new();
        };
        let dead = match self.slots.get(slot) {
            Some(place) if place.role == Role::Active && !place.stopping => match place.state() {
                State::Dead(dead) if dead.exit != Exit::Code(USAGE) => dead,
                _ => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let instead = Some((dead.worker, dead.seen));
        match self.parked() {
            Some(standby) => self.swap(slot, standby, instead, now),
            None => Vec::new(),
        }
    }

    /// Active slots that wait, or were given up, while a standby is ready; and standbys
    /// that already have an active role.
    pub(crate) fn fill_vacancies(&mut self, now: Time) -> Vec<(usize, Action)> {
        let mut all = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(place) = self.slots.get(slot) else {
                continue;
            };
            if place.role != Role::Active || place.stopping {
                continue;
            }
            match place.state() {
                State::Ready { parked: true, .. } => {
                    all.extend(self.step_one(slot, Event::Promote(None), now, 0));
                }
                State::Backoff { .. } | State::GaveUp(_) => {
                    if let Some(standby) = self.parked() {
                        all.extend(self.swap(slot, standby, None, now));
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// The operator wants so many workers and standbys from now on.
    pub fn resize(&mut self, active: usize, standby: usize, now: Time) -> Vec<(usize, Action)> {
        let mut all = Vec::new();
        for (role, wanted) in [(Role::Active, active), (Role::Standby, standby)] {
            let mut have: Vec<usize> = (0..self.slots.len())
                .filter(|slot| self.slots[*slot].role == role)
                .collect();
            // Those without a worker go first.
            have.sort_by_key(|slot| self.slots[*slot].owes().is_none());
            while have.len() > wanted {
                if let Some(slot) = have.pop() {
                    self.slots[slot].role = Role::Spare;
                    all.extend(self.step_one(slot, Event::Drain, now, 0));
                }
            }
            for _ in have.len()..wanted {
                self.slots.push(Slot::new(role));
                let slot = self.slots.len() - 1;
                all.extend(self.step_one(slot, Event::Start, now, 0));
            }
        }
        all.extend(self.fill_vacancies(now));
        all
    }

    /// A standby that can be promoted.
    fn parked(&self) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.role != Role::Active && !slot.stopping && slot.is_parked())
    }

    /// The slots change roles, and the standby serves.
    pub(crate) fn swap(
        &mut self,
        active: usize,
        standby: usize,
        instead: Option<(Worker, Time)>,
        now: Time,
    ) -> Vec<(usize, Action)> {
        let role = self.slots[standby].role;
        self.slots[standby].role = Role::Active;
        self.slots[active].role = role;
        self.rolling.swapped(active, standby, role);
        if role == Role::Spare {
            // It was to be replaced anyway, and has been.
            self.slots[active].stopping = true;
        }
        let mut all = self.step_one(standby, Event::Promote(instead), now, 0);
        if role == Role::Spare && !matches!(self.slots[active].state(), State::Dead(_)) {
            all.extend(self.step_one(active, Event::Drain, now, 0));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use Occupant::{Nobody, Parked, Serving};
    use Role::{Active, Spare, Standby};

    #[test]
    fn an_empty_device_gets_what_was_asked_for_and_a_spare_slot() {
        assert_eq!(assign(2, 1, &[]), [Active, Active, Standby, Spare]);
    }

    #[test]
    fn workers_keep_what_they_do_and_those_too_many_have_to_leave() {
        let there = [Parked, Nobody, Serving, Serving];
        assert_eq!(assign(1, 1, &there), [Standby, Spare, Active, Spare]);
        assert_eq!(assign(1, 0, &[Parked]), [Active, Spare]);
        assert_eq!(
            assign(2, 0, &[Serving, Parked, Nobody]),
            [Active, Active, Spare]
        );
    }

    proptest! {
        #[test]
        fn every_role_is_given_as_often_as_it_is_wanted(
            active in 1..5usize,
            standby in 0..3usize,
            there in prop::collection::vec(prop_oneof![Just(Nobody), Just(Serving), Just(Parked)], 0..8),
        ) {
            let roles = assign(active, standby, &there);
            let count = |role| roles.iter().filter(|r| **r == role).count();
            prop_assert_eq!((count(Active), count(Standby)), (active, standby));
            for (role, occupant) in roles.iter().zip(&there) {
                prop_assert!(!(*role == Standby && *occupant == Serving));
            }
        }
    }
}
