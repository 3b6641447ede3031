// SPDX-License-Identifier: MIT
//! All slots of one device together: starting, ending, and what the device as a
//! whole is. As pure as the [machine](crate::machine) it is made of.
//!
//! | Phase | Event | Next phase | To the slots |
//! |---|---|---|---|
//! | Running | terminate | Ending | Drain |
//! | Running | the disk is about to be taken down | Running, retiring | |
//! | Running | a slot says that the device is reset or gone | Ending | Drain |
//! | Ending | terminate | Ending | Kill |
//! | Ending | every slot is at rest, or patience is over | finished | |
//!
//! A slot is at rest in Off and GaveUp. A device whose every active slot was given
//! up, or is stuck in the kernel, is failed: the supervisor stays and says so, and
//! its I/O waits in the kernel or fails, as the operator decided.
//!
//! Who stands in for whom is in [`crate::roles`]; replacing workers that are well,
//! in `rolling.rs`.

use crate::exit;
use crate::machine::Slot;
use crate::policy::{Policy, Time, Verdict};
use crate::rolling::Rolling;
use crate::state::{Action, Ending, Event, Role, State, Worker};

/// What the device as a whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every active slot has a worker that is ready.
    Served,
    /// Some have.
    Degraded,
    /// None has, but one is to come.
    Unserved,
    /// Every active slot was given up, or its worker is stuck in the kernel.
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
    pub(crate) policy: Policy,
    pub(crate) slots: Vec<Slot>,
    pub(crate) rolling: Rolling,
    phase: Phase,
    /// The operator wants the end, and first that of the disk.
    retiring: bool,
    /// Since when the device has been failed, and whether its I/O was made to fail.
    failed: Option<Time>,
    io_fails: bool,
}

impl Group {
    /// A group with one slot for each role.
    pub fn new(policy: Policy, roles: &[Role]) -> Group {
        Group {
            policy,
            slots: roles.iter().map(|role| Slot::new(*role)).collect(),
            rolling: Rolling::default(),
            phase: Phase::Running,
            retiring: false,
            failed: None,
            io_fails: false,
        }
    }

    /// All slots.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What the operator decided.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The operator changed his mind. Takes effect from the next event on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// How many slots there are to be served.
    pub fn wanted(&self) -> usize {
        self.count(Role::Active, |_| true)
    }

    /// Whether the end was ordered.
    pub fn ending(&self) -> bool {
        self.phase != Phase::Running
    }

    /// How many workers serve.
    pub fn ready(&self) -> usize {
        self.count(Role::Active, |slot| {
            matches!(slot.state(), State::Ready { parked: false, .. })
        })
    }

    /// How many standbys there are to be, and how many are ready.
    pub fn standbys(&self) -> (usize, usize) {
        let wanted = self.count(Role::Standby, |_| true);
        (wanted, self.count(Role::Standby, Slot::is_parked))
    }

    /// How many slots were given up.
    pub fn given_up(&self) -> usize {
        let given_up = |slot: &&Slot| matches!(slot.state(), State::GaveUp(_));
        self.slots.iter().filter(given_up).count()
    }

    /// Whether the I/O of this device was made to fail.
    pub fn io_fails(&self) -> bool {
        self.io_fails
    }

    fn count(&self, role: Role, which: impl Fn(&Slot) -> bool) -> usize {
        let slots = self.slots.iter().filter(|slot| slot.role() == role);
        slots.filter(|slot| which(slot)).count()
    }

    /// The end of the disk is what the operator wants, and the workers' end of it that of all.
    pub fn retire(&mut self) {
        self.retiring = true;
    }

    /// What the device as a whole is.
    pub fn health(&self) -> Health {
        match self.retiring {
            true => Health::Ending,
            false => self.service(),
        }
    }

    fn service(&self) -> Health {
        let lost = self.count(Role::Active, |slot| {
            matches!(slot.state(), State::GaveUp(_) | State::Wedged(_))
        });
        match self.ready() {
            _ if self.ending() => Health::Ending,
            ready if ready == self.wanted() => Health::Served,
            0 if lost == self.wanted() => Health::Failed,
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
            Phase::Running => self.verdict_at(),
            Phase::Ending { patience, .. } => Some(patience),
        };
        let slots = self.slots.iter();
        slots
            .filter_map(|slot| slot.deadline(&self.policy))
            .chain(patience)
            .min()
    }

    /// When the I/O of this device is to fail.
    fn verdict_at(&self) -> Option<Time> {
        match self.policy.verdict {
            Verdict::FailAfter(time) if !self.io_fails => Some(self.failed? + time),
            _ => None,
        }
    }

    /// Something happened to one slot. Actions are (slot, what), in order.
    pub fn step(
        &mut self,
        slot: usize,
        event: Event,
        now: Time,
        chance: u64,
    ) -> Vec<(usize, Action)> {
        let mut all = self.stand_in_for(slot, &event, now);
        all.extend(self.step_one(slot, event, now, chance));
        all.extend(self.fill_vacancies(now));
        all.extend(self.roll(now));
        all.extend(self.judge(now));
        all
    }

    /// The same without what follows for other slots, but for the end of all.
    pub(crate) fn step_one(
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

    /// Has I/O fail when the device has been failed for long enough, and wait again
    /// when somebody is to serve it after all.
    fn judge(&mut self, now: Time) -> Option<(usize, Action)> {
        if self.service() == Health::Failed {
            self.failed.get_or_insert(now);
        } else {
            self.failed = None;
            if std::mem::take(&mut self.io_fails) {
                return Some((0, Action::HoldIo));
            }
        }
        if self.verdict_at().is_some_and(|at| now >= at) && !self.ending() {
            self.io_fails = true;
            return Some((0, Action::FailIo));
        }
        None
    }

    /// Time went by, for every slot.
    pub fn tick(&mut self, now: Time, mut chance: impl FnMut() -> u64) -> Vec<(usize, Action)> {
        let due = |slot: &Slot| slot.deadline(&self.policy).is_some_and(|at| now >= at);
        let due: Vec<usize> = (0..self.slots.len())
            .filter(|slot| due(&self.slots[*slot]))
            .collect();
        let mut all: Vec<_> = due
            .into_iter()
            .flat_map(|slot| self.step(slot, Event::Tick, now, chance()))
            .collect();
        all.extend(self.judge(now));
        all
    }

    /// The operator wants the end: in peace the first time, at once the second.
    pub fn terminate(&mut self, now: Time) -> Vec<(usize, Action)> {
        match &mut self.phase {
            Phase::Running => self.end(Ending::Asked, now),
            Phase::Ending { patience, .. } => {
                *patience = (*patience).min(now + self.policy.kill_patience);
                self.all(&Event::Kill, now)
            }
        }
    }

    /// There is nothing left to serve.
    pub(crate) fn finish(&mut self, ending: Ending, now: Time) -> Vec<(usize, Action)> {
        match self.ending() {
            true => Vec::new(),
            false => self.end(ending, now),
        }
    }

    fn end(&mut self, ending: Ending, now: Time) -> Vec<(usize, Action)> {
        let ending = match ending {
            Ending::Reset if self.retiring => Ending::Asked,
            other => other,
        };
        self.phase = Phase::Ending {
            ending,
            patience: now + self.policy.drain_timeout + self.policy.kill_patience,
        };
        self.all(&Event::Drain, now)
    }

    fn all(&mut self, event: &Event, now: Time) -> Vec<(usize, Action)> {
        (0..self.slots.len())
            .flat_map(|slot| self.step_one(slot, event.clone(), now, 0))
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
