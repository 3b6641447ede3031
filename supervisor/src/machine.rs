// SPDX-License-Identifier: MIT
//! The life of one worker slot: (state, event) → (state, actions). Pure: no
//! process, no clock, no randomness of its own.
//!
//! The table is in `docs/supervisor.md`; a test holds the two together. A pair
//! that is not in it changes nothing: it is an event that came too late.
//!
//! Rules 1 to 3 are the row of Dead (`death.rs`): nothing leaves it before
//! the device has taken the dead worker's token back, so that a slot never has
//! two generations of writers; and nothing but Dead follows a worker's life.

use crate::moves::{drain, kill, promote, suspect};
use crate::policy::{Policy, Tally, Time};
use crate::report::Report;
use crate::state::{Action, Event, Hang, Role, State, Worker};

/// How far the replacement of a dead worker has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failover {
    pub(crate) dead: Worker,
    pub(crate) seen: Time,
    pub(crate) requeued: Time,
    pub(crate) spawned: Option<Time>,
}

/// One slot: its state, and what it remembers across workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    state: State,
    /// What it is for.
    pub(crate) role: Role,
    /// Nothing is to be started here again.
    pub(crate) stopping: bool,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Workers started here.
    pub(crate) spawns: u64,
    pub(crate) deaths: Tally,
    pub(crate) failover: Option<Failover>,
}

impl Slot {
    /// An empty slot with this role. Who is found in a spare one has to leave.
    pub fn new(role: Role) -> Slot {
        Slot {
            role,
            stopping: role == Role::Spare,
            ..Slot::default()
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Workers this supervisor has started here.
    pub fn spawns(&self) -> u64 {
        self.spawns
    }

    /// The living worker, if there is one.
    pub fn alive(&self) -> Option<Worker> {
        match &self.state {
            State::Spawned { worker, .. }
            | State::Ready { worker, .. }
            | State::Draining { worker, .. }
            | State::Suspect { worker, .. } => Some(*worker),
            State::Fenced(shot) | State::Wedged(shot) => Some(shot.worker),
            _ => None,
        }
    }

    /// The worker this slot still has to see to: living, or dead and not taken back.
    pub fn owes(&self) -> Option<Worker> {
        match &self.state {
            State::Dead(dead) => Some(dead.worker),
            _ => self.alive(),
        }
    }

    /// Whether a worker waits here to be promoted.
    pub fn is_parked(&self) -> bool {
        matches!(self.state, State::Ready { parked: true, .. })
    }

    /// Whether a death now would have its successor start at once.
    pub fn is_stable(&self, now: Time, policy: &Policy) -> bool {
        matches!(&self.state, State::Ready { since, .. }
            if now.saturating_sub(*since) >= policy.stable_after)
    }

    /// When the next `Tick` is due.
    pub fn deadline(&self, policy: &Policy) -> Option<Time> {
        match &self.state {
            State::Spawned {
                since,
                adopted: true,
                ..
            } => Some(*since + policy.stable_after),
            State::Spawned { since, .. } => Some(*since + policy.start_timeout),
            State::Ready { beat, .. } => Some((*beat)? + policy.heartbeat?),
            State::Draining { kill_at, .. } | State::Suspect { kill_at, .. } => Some(*kill_at),
            State::Fenced(shot) => Some(shot.since + policy.kill_patience),
            State::Dead(dead) => dead.retry,
            State::Backoff { until } => Some(*until),
            _ => None,
        }
    }

    /// The table. `chance` is a random number, for the jitter.
    pub fn step(
        mut self,
        event: Event,
        now: Time,
        chance: u64,
        policy: &Policy,
    ) -> (Slot, Vec<Action>) {
        if matches!(event, Event::Drain | Event::Kill) {
            self.stopping = true;
        }
        let stable = self.is_stable(now, policy);
        let due = self.deadline(policy).is_some_and(|at| now >= at);
        let state = std::mem::replace(&mut self.state, State::Off);
        let actions;
        (self.state, actions) = match (state, event) {
            (State::Off, Event::Start) if !self.stopping => self.start(),
            (State::GaveUp(_), Event::Revive) if !self.stopping => {
                self.deaths = Tally::default();
                self.failures = 0;
                self.start()
            }
            (
                State::Off | State::Starting,
                Event::Adopt {
                    worker,
                    ready,
                    parked,
                    beats,
                },
            ) => self.adopt(worker, ready, parked, beats, now, policy),
            (State::Off, Event::Orphan(worker)) => self.orphan(worker, now),
            (State::Starting, Event::Spawned(worker)) => self.spawned(worker, now, policy),
            (State::Starting, Event::SpawnFailed(error)) => {
                let too_many = self.deaths.note(now, policy.give_up);
                let report = |next| Report::SpawnFailed { error, next };
                self.pause(too_many, now, chance, policy, report)
            }
            (State::Starting, Event::Blocked) => {
                let report = |next| Report::Blocked { next };
                self.pause(false, now, chance, policy, report)
            }
            (spawned @ State::Spawned { .. }, Event::Ready) => self.ready(spawned, now, false),
            (spawned @ State::Spawned { adopted: true, .. }, Event::Tick) if due => {
                self.ready(spawned, now, true)
            }
            (State::Spawned { worker, .. }, Event::Tick) if due => {
                suspect(worker, Hang::NotReady, false, now, policy)
            }
            (State::Ready { worker, .. }, Event::Tick) if due => {
                suspect(worker, Hang::Silent, stable, now, policy)
            }
            (
                State::Ready {
                    worker,
                    parked: false,
                    ..
                },
                Event::Hung(hang),
            ) => suspect(worker, hang, stable, now, policy),
            (
                State::Ready {
                    worker,
                    since,
                    parked,
                    ..
                },
                Event::Beat,
            ) => {
                let beat = Some(now);
                let state = State::Ready {
                    worker,
                    since,
                    parked,
                    beat,
                };
                (state, Vec::new())
            }
            (
                State::Ready {
                    worker,
                    parked: true,
                    beat,
                    ..
                },
                Event::Promote(instead),
            ) => promote(worker, beat, instead, now),
            (State::Spawned { worker, .. } | State::Ready { worker, .. }, Event::Drain) => {
                drain(worker, now, policy)
            }
            (
                State::Spawned { worker, .. }
                | State::Ready { worker, .. }
                | State::Draining { worker, .. },
                Event::Kill,
            ) => kill(worker, false, false, now),
            (State::Suspect { worker, stable, .. }, Event::Kill) => {
                kill(worker, false, stable, now)
            }
            (State::Draining { worker, .. }, Event::Tick) if due => kill(worker, true, false, now),
            (State::Suspect { worker, stable, .. }, Event::Tick) if due => {
                kill(worker, true, stable, now)
            }
            (State::Fenced(shot), Event::Tick) if due => {
                let report = Report::Wedged {
                    worker: shot.worker,
                    after: now.saturating_sub(shot.since),
                };
                (State::Wedged(shot), vec![Action::Report(report)])
            }
            (State::Spawned { worker, since, .. }, Event::Died(exit)) => {
                self.died(worker, exit, Some(since), false, now, policy)
            }
            (State::Ready { worker, since, .. }, Event::Died(exit)) => {
                self.died(worker, exit, Some(since), stable, now, policy)
            }
            (State::Draining { worker, .. }, Event::Died(exit)) => {
                self.died(worker, exit, None, false, now, policy)
            }
            (State::Suspect { worker, stable, .. }, Event::Died(exit)) => {
                self.died(worker, exit, None, stable, now, policy)
            }
            (State::Fenced(shot) | State::Wedged(shot), Event::Died(exit)) => {
                self.died(shot.worker, exit, None, shot.stable, now, policy)
            }
            (State::Dead(dead), Event::Answer(answer)) => {
                self.answered(dead, answer, now, chance, policy)
            }
            (State::Dead(mut dead), Event::Tick) if due => {
                dead.retry = None;
                let ask = Action::Requeue(dead.worker);
                (State::Dead(dead), vec![ask])
            }
            (State::Backoff { .. }, Event::Tick) if due => self.start(),
            (State::Backoff { .. }, Event::Drain | Event::Kill) => {
                (State::Off, vec![Action::Forget])
            }
            (state, _) => (state, Vec::new()),
        };
        (self, actions)
    }
}
