// SPDX-License-Identifier: MIT
//! From one state of a slot to the next, and what is to be done on the way: the
//! steps that the rows of [`crate::machine`] name. Part of the pure machine.

use crate::machine::Slot;
use crate::policy::{Policy, Time};
use crate::report::{Next, Report, Why};
use crate::state::{Action, Hang, Role, Shot, State, Worker};

impl Slot {
    pub(crate) fn start(&mut self) -> (State, Vec<Action>) {
        let parked = self.role != Role::Active;
        (State::Starting, vec![Action::Spawn { parked }])
    }

    pub(crate) fn adopt(
        &self,
        worker: Worker,
        ready: bool,
        parked: bool,
        beats: bool,
        now: Time,
        policy: &Policy,
    ) -> (State, Vec<Action>) {
        let mut actions = vec![Action::Report(Report::Adopted {
            worker,
            ready,
            parked,
        })];
        if self.stopping {
            let (state, more) = drain(worker, now, policy);
            actions.extend(more);
            return (state, actions);
        }
        let state = if ready {
            State::Ready {
                worker,
                since: now,
                parked,
                beat: beats.then_some(now),
            }
        } else {
            State::Spawned {
                worker,
                since: now,
                adopted: true,
                parked,
                beats,
            }
        };
        (state, actions)
    }

    pub(crate) fn spawned(
        &mut self,
        worker: Worker,
        now: Time,
        policy: &Policy,
    ) -> (State, Vec<Action>) {
        self.spawns += 1;
        if self.stopping {
            return drain(worker, now, policy);
        }
        if let Some(failover) = &mut self.failover {
            failover.spawned = Some(now);
        }
        let parked = self.role != Role::Active;
        let state = State::Spawned {
            worker,
            since: now,
            adopted: false,
            parked,
            beats: policy.heartbeat.is_some(),
        };
        (
            state,
            vec![Action::Report(Report::Spawned { worker, parked })],
        )
    }

    pub(crate) fn ready(
        &mut self,
        spawned: State,
        now: Time,
        assumed: bool,
    ) -> (State, Vec<Action>) {
        let State::Spawned {
            worker,
            since,
            parked,
            beats,
            ..
        } = spawned
        else {
            return (spawned, Vec::new());
        };
        let after = now.saturating_sub(since);
        let mut actions = vec![Action::Report(Report::Ready {
            worker,
            after,
            parked,
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
        let state = State::Ready {
            worker,
            since: now,
            parked,
            beat: beats.then_some(now),
        };
        (state, actions)
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

    pub(crate) fn pause(
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

pub(crate) fn promote(
    worker: Worker,
    beat: Option<Time>,
    instead: Option<(Worker, Time)>,
    now: Time,
) -> (State, Vec<Action>) {
    let state = State::Ready {
        worker,
        since: now,
        parked: false,
        beat: beat.map(|_| now),
    };
    let report = Report::Promoted {
        worker,
        instead: instead.map(|(dead, seen)| (dead, now.saturating_sub(seen))),
    };
    (state, vec![Action::Promote(worker), Action::Report(report)])
}

pub(crate) fn drain(worker: Worker, now: Time, policy: &Policy) -> (State, Vec<Action>) {
    let state = State::Draining {
        worker,
        kill_at: now + policy.drain_timeout,
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

pub(crate) fn suspect(
    worker: Worker,
    hang: Hang,
    stable: bool,
    now: Time,
    policy: &Policy,
) -> (State, Vec<Action>) {
    let state = State::Suspect {
        worker,
        hang,
        kill_at: now + policy.fence_after,
        stable,
    };
    let report = Report::Suspect {
        worker,
        hang,
        timeout: policy.fence_after,
    };
    (
        state,
        vec![Action::Terminate(worker), Action::Report(report)],
    )
}

pub(crate) fn kill(worker: Worker, overdue: bool, stable: bool, now: Time) -> (State, Vec<Action>) {
    let state = State::Fenced(Shot {
        worker,
        since: now,
        stable,
    });
    let report = Report::Killed { worker, overdue };
    (state, vec![Action::Kill(worker), Action::Report(report)])
}
