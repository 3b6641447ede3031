// SPDX-License-Identifier: MIT
//! The life of one worker slot: (state, event) → (state, actions). Pure: no
//! process, no clock, no randomness of its own.
//!
//! A slot is a place for one worker at a time. What happens to it:
//!
//! | State | Event | Next state | Actions |
//! |---|---|---|---|
//! | Off | Start | Starting | spawn |
//! | Off, Starting | Adopt, was ready | Ready | |
//! | Off, Starting | Adopt, was not ready yet | Spawned | |
//! | Off, stopping | Adopt | Draining | SIGTERM |
//! | Off | Orphan (died unwatched) | Dead | requeue its token |
//! | Starting | Spawned | Spawned | |
//! | Starting | SpawnFailed, Blocked | Backoff, or GaveUp | |
//! | Spawned | Ready | Ready | |
//! | Spawned, adopted | Tick, has lived for `stable_after` | Ready | |
//! | Spawned, Ready | Drain | Draining | SIGTERM |
//! | Spawned, Ready, Draining | Kill | Draining, killed | SIGKILL |
//! | Draining | Tick, `drain_timeout` is over | Draining, killed | SIGKILL |
//! | Spawned, Ready, Draining | Died | Dead | requeue its token; device gone or reset: end all |
//! | Dead | Answer Busy, Failed | Dead | reap; requeue again after a pause |
//! | Dead | Answer Done, stopping | Off | reap, forget |
//! | Dead | Answer NotSetUp, Gone | Off | reap, forget, end all |
//! | Dead | Answer Done, usage error or too many deaths | GaveUp | reap, forget |
//! | Dead | Answer Done, it had been stable | Starting | reap, spawn |
//! | Dead | Answer Done, it had not | Backoff | reap |
//! | Backoff | Tick, the pause is over | Starting | spawn |
//! | Backoff | Drain, Kill | Off | forget |
//! | Dead, Starting | Drain, Kill | the same, stopping | |
//!
//! Every other pair changes nothing: it is an event that came too late.
//!
//! Rules 1 to 3 are the row of Dead: nothing leaves it before the device has
//! taken the dead worker's token back, so that a slot never has two generations
//! of writers; and nothing but Dead follows a worker's death.
//!
//! Later states have their place: Suspect and Fenced between Ready and Dead,
//! Wedged for what SIGKILL does not end, a standby beside Ready.

use crate::policy::{Policy, Tally, Time};
use crate::report::{Next, Report, Why};
use crate::state::{Action, Event, State, Worker};

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
    /// Nothing is to be started here again.
    pub(crate) stopping: bool,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) deaths: Tally,
    pub(crate) failover: Option<Failover>,
}

impl Slot {
    /// A slot where nobody is to be started: whoever is found in it has to leave.
    pub fn surplus() -> Slot {
        Slot {
            stopping: true,
            ..Slot::default()
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The living worker, if there is one.
    pub fn alive(&self) -> Option<Worker> {
        match &self.state {
            State::Spawned { worker, .. }
            | State::Ready { worker, .. }
            | State::Draining { worker, .. } => Some(*worker),
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
            State::Draining { kill_at, .. } => *kill_at,
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
        let state = std::mem::replace(&mut self.state, State::Off);
        let actions;
        (self.state, actions) = match (state, event) {
            (State::Off, Event::Start) if !self.stopping => (State::Starting, vec![Action::Spawn]),
            (State::Off | State::Starting, Event::Adopt { worker, ready }) => {
                self.adopt(worker, ready, now, policy)
            }
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
            (State::Spawned { worker, since, .. }, Event::Ready) => {
                self.ready(worker, since, now, false)
            }
            (
                State::Spawned {
                    worker,
                    since,
                    adopted,
                },
                Event::Tick,
            ) if adopted && now >= since + policy.stable_after => {
                self.ready(worker, since, now, true)
            }
            (State::Spawned { worker, .. } | State::Ready { worker, .. }, Event::Drain) => {
                drain(worker, now, policy)
            }
            (
                State::Spawned { worker, .. }
                | State::Ready { worker, .. }
                | State::Draining {
                    worker,
                    kill_at: Some(_),
                },
                Event::Kill,
            ) => kill(worker, false),
            (
                State::Draining {
                    worker,
                    kill_at: Some(at),
                },
                Event::Tick,
            ) if now >= at => kill(worker, true),
            (State::Spawned { worker, since, .. }, Event::Died(exit)) => {
                self.died(worker, exit, Some(since), false, now, policy)
            }
            (State::Ready { worker, since }, Event::Died(exit)) => {
                let stable = now.saturating_sub(since) >= policy.stable_after;
                self.died(worker, exit, Some(since), stable, now, policy)
            }
            (State::Draining { worker, .. }, Event::Died(exit)) => {
                self.died(worker, exit, None, false, now, policy)
            }
            (State::Dead(dead), Event::Answer(answer)) => {
                self.answered(dead, answer, now, chance, policy)
            }
            (State::Dead(mut dead), Event::Tick) if dead.retry.is_some_and(|at| now >= at) => {
                dead.retry = None;
                let ask = Action::Requeue(dead.worker);
                (State::Dead(dead), vec![ask])
            }
            (State::Backoff { until }, Event::Tick) if now >= until => {
                (State::Starting, vec![Action::Spawn])
            }
            (State::Backoff { .. }, Event::Drain | Event::Kill) => {
                (State::Off, vec![Action::Forget])
            }
            (state, _) => (state, Vec::new()),
        };
        (self, actions)
    }

    fn adopt(
        &self,
        worker: Worker,
        ready: bool,
        now: Time,
        policy: &Policy,
    ) -> (State, Vec<Action>) {
        let mut actions = vec![Action::Report(Report::Adopted { worker, ready })];
        if self.stopping {
            let (state, more) = drain(worker, now, policy);
            actions.extend(more);
            return (state, actions);
        }
        let state = if ready {
            State::Ready { worker, since: now }
        } else {
            State::Spawned {
                worker,
                since: now,
                adopted: true,
            }
        };
        (state, actions)
    }

    fn spawned(&mut self, worker: Worker, now: Time, policy: &Policy) -> (State, Vec<Action>) {
        if self.stopping {
            return drain(worker, now, policy);
        }
        if let Some(failover) = &mut self.failover {
            failover.spawned = Some(now);
        }
        let state = State::Spawned {
            worker,
            since: now,
            adopted: false,
        };
        (state, vec![Action::Report(Report::Spawned { worker })])
    }

    fn ready(
        &mut self,
        worker: Worker,
        since: Time,
        now: Time,
        assumed: bool,
    ) -> (State, Vec<Action>) {
        let after = now.saturating_sub(since);
        let mut actions = vec![Action::Report(Report::Ready {
            worker,
            after,
            assumed,
        })];
        if let Some(failover) = self.failover.take() {
            let from = |at: Time| at.saturating_sub(failover.seen);
            actions.push(Action::Report(Report::Failover {
                dead: failover.dead,
                worker,
                requeued: from(failover.requeued),
                spawned: from(failover.spawned.unwrap_or(now)),
                ready: from(now),
            }));
        }
        (State::Ready { worker, since: now }, actions)
    }

    pub(crate) fn back_off(&mut self, now: Time, chance: u64, policy: &Policy) -> (State, Next) {
        self.failures = self.failures.saturating_add(1);
        let pause = policy.back_off(self.failures, chance);
        let state = State::Backoff { until: now + pause };
        (
            state,
            Next::In {
                pause,
                failures: self.failures,
            },
        )
    }

    fn pause(
        &mut self,
        too_many: bool,
        now: Time,
        chance: u64,
        policy: &Policy,
        report: impl FnOnce(Next) -> Report,
    ) -> (State, Vec<Action>) {
        let (state, next) = if self.stopping {
            (State::Off, Next::Nothing)
        } else if too_many {
            (State::GaveUp(Why::TooOften), Next::GaveUp(Why::TooOften))
        } else {
            self.back_off(now, chance, policy)
        };
        (state, vec![Action::Report(report(next))])
    }
}

fn drain(worker: Worker, now: Time, policy: &Policy) -> (State, Vec<Action>) {
    let state = State::Draining {
        worker,
        kill_at: Some(now + policy.drain_timeout),
    };
    let report = Report::Draining {
        worker,
        timeout: policy.drain_timeout,
    };
    (
        state,
        vec![Action::Terminate(worker), Action::Report(report)],
    )
}

fn kill(worker: Worker, overdue: bool) -> (State, Vec<Action>) {
    let state = State::Draining {
        worker,
        kill_at: None,
    };
    let report = Report::Killed { worker, overdue };
    (state, vec![Action::Kill(worker), Action::Report(report)])
}
