// SPDX-License-Identifier: MIT
//! All slots of one device together: starting, ending, and what the device as a
//! whole is. As pure as the [machine](crate::machine) it is made of.
//!
//! | Phase | Event | Next phase | To the slots |
//! |---|---|---|---|
//! | Running | terminate | Ending | Drain |
//! | Running | a slot says that the device is reset or gone | Ending | Drain |
//! | Ending | terminate | Ending | Kill |
//! | Ending | every slot is at rest, or patience is over | finished | |
//!
//! A slot is at rest in Off and GaveUp. A device whose every slot was given up
//! is failed: the supervisor stays, says so, and the kernel keeps the requests.

use crate::exit;
use crate::machine::Slot;
use crate::policy::{Policy, Time};
use crate::state::{Action, Ending, Event, State, Worker};

/// What the device as a whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every slot has a worker that is ready.
    Served,
    /// Some have.
    Degraded,
    /// None has, but one is to come.
    Unserved,
    /// Every slot was given up.
    Failed,
    /// The end was ordered.
    Ending,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Why.
    pub ending: Ending,
    /// Workers that are alive in spite of SIGKILL, or whose requests the device
    /// did not take back.
    pub left: Vec<Worker>,
    /// Slots that had been given up.
    pub given_up: usize,
}

impl Finished {
    /// The exit status that says so.
    pub fn status(&self) -> u8 {
        match self.ending {
            Ending::Reset => exit::NOT_SET_UP,
            Ending::Gone => exit::NO_DEVICE,
            Ending::Asked if self.given_up > 0 || !self.left.is_empty() => exit::FAILED,
            Ending::Asked => exit::OK,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Ending { ending: Ending, patience: Time },
}

/// The slots of one device.
#[derive(Clone, Debug)]
pub struct Group {
    policy: Policy,
    slots: Vec<Slot>,
    /// Slots from here on belong to workers of an earlier supervisor that had more.
    wanted: usize,
    phase: Phase,
}

impl Group {
    /// A group of `wanted` slots, and as many `surplus` ones that are only to end.
    pub fn new(policy: Policy, wanted: usize, surplus: usize) -> Group {
        let mut slots = vec![Slot::default(); wanted];
        slots.resize(wanted + surplus, Slot::surplus());
        Group {
            policy,
            slots,
            wanted,
            phase: Phase::Running,
        }
    }

    /// All slots, surplus ones last.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What the operator decided.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many slots there are to be served.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether the end was ordered.
    pub fn ending(&self) -> bool {
        self.phase != Phase::Running
    }

    /// How many workers are ready.
    pub fn ready(&self) -> usize {
        self.count(|state| matches!(state, State::Ready { .. }))
    }

    /// How many slots were given up.
    pub fn given_up(&self) -> usize {
        self.count(|state| matches!(state, State::GaveUp(_)))
    }

    fn count(&self, which: impl Fn(&State) -> bool) -> usize {
        let wanted = self.slots.iter().take(self.wanted);
        wanted.filter(|slot| which(slot.state())).count()
    }

    /// What the device as a whole is.
    pub fn health(&self) -> Health {
        match self.ready() {
            _ if self.ending() => Health::Ending,
            ready if ready == self.wanted => Health::Served,
            0 if self.given_up() == self.wanted => Health::Failed,
            0 => Health::Unserved,
            _ => Health::Degraded,
        }
    }

    /// The slot whose living worker has this pid.
    pub fn slot_of(&self, pid: u32) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.alive().is_some_and(|worker| worker.pid == pid))
    }

    /// When the next `Tick` is due.
    pub fn deadline(&self) -> Option<Time> {
        let patience = match self.phase {
            Phase::Running => None,
            Phase::Ending { patience, .. } => Some(patience),
        };
        let slots = self.slots.iter();
        slots
            .filter_map(|slot| slot.deadline(&self.policy))
            .chain(patience)
            .min()
    }

    /// Something happened to one slot. Actions are (slot, what), in order.
    pub fn step(
        &mut self,
        slot: usize,
        event: Event,
        now: Time,
        chance: u64,
    ) -> Vec<(usize, Action)> {
        let Some(place) = self.slots.get_mut(slot) else {
            return Vec::new();
        };
        let before = std::mem::take(place);
        let (after, actions) = before.step(event, now, chance, &self.policy);
        *place = after;
        let mut all = Vec::with_capacity(actions.len());
        let mut end = None;
        for action in actions {
            if let Action::End(ending) = action {
                end = Some(ending);
            }
            all.push((slot, action));
        }
        if let Some(ending) = end.filter(|_| !self.ending()) {
            all.extend(self.end(ending, now));
        }
        all
    }

    /// Time went by, for every slot.
    pub fn tick(&mut self, now: Time, mut chance: impl FnMut() -> u64) -> Vec<(usize, Action)> {
        let due = |slot: &Slot| slot.deadline(&self.policy).is_some_and(|at| now >= at);
        let due: Vec<usize> = (0..self.slots.len())
            .filter(|slot| due(&self.slots[*slot]))
            .collect();
        due.into_iter()
            .flat_map(|slot| self.step(slot, Event::Tick, now, chance()))
            .collect()
    }

    /// The operator wants the end: in peace the first time, at once the second.
    pub fn terminate(&mut self, now: Time) -> Vec<(usize, Action)> {
        match &mut self.phase {
            Phase::Running => self.end(Ending::Asked, now),
            Phase::Ending { patience, .. } => {
                *patience = (*patience).min(now + self.policy.kill_patience);
                self.all(Event::Kill, now)
            }
        }
    }

    fn end(&mut self, ending: Ending, now: Time) -> Vec<(usize, Action)> {
        self.phase = Phase::Ending {
            ending,
            patience: now + self.policy.drain_timeout + self.policy.kill_patience,
        };
        self.all(Event::Drain, now)
    }

    fn all(&mut self, event: Event, now: Time) -> Vec<(usize, Action)> {
        (0..self.slots.len())
            .flat_map(|slot| self.step(slot, event.clone(), now, 0))
            .collect()
    }

    /// Whether everything is over.
    pub fn finished(&self, now: Time) -> Option<Finished> {
        let Phase::Ending { ending, patience } = self.phase else {
            return None;
        };
        let rests = |slot: &Slot| matches!(slot.state(), State::Off | State::GaveUp(_));
        if now < patience && !self.slots.iter().all(rests) {
            return None;
        }
        Some(Finished {
            ending,
            left: self.slots.iter().filter_map(Slot::owes).collect(),
            given_up: self.given_up(),
        })
    }
}
