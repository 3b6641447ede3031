// SPDX-License-Identifier: MIT
//! The row of Dead, in full: a worker's death, the device's answers, and what
//! comes after (rules 1 to 3). Part of the pure machine.

use crate::machine::{Failover, Slot};
use crate::policy::{requeue_pause, Policy, Time};
use crate::report::{Next, Report, Why};
use crate::state::{ending_of, Action, Answer, Dead, Ending, Exit, Role, State, Worker, USAGE};

impl Slot {
    pub(crate) fn orphan(&mut self, worker: Worker, now: Time) -> (State, Vec<Action>) {
        let dead = Dead {
            worker,
            exit: Exit::Unknown,
            seen: now,
            lived: None,
            at_once: true,
            too_many: false,
            tries: 0,
            requeued: 0,
            retry: None,
        };
        (State::Dead(dead), vec![Action::Requeue(worker)])
    }

    pub(crate) fn died(
        &mut self,
        worker: Worker,
        exit: Exit,
        since: Option<Time>,
        stable: bool,
        now: Time,
        policy: &Policy,
    ) -> (State, Vec<Action>) {
        let mut actions = vec![Action::Requeue(worker)];
        if let Some(ending) = ending_of(exit) {
            self.stopping = true;
            actions.push(Action::End(ending));
        }
        let dead = Dead {
            worker,
            exit,
            seen: now,
            lived: since.map(|at| now.saturating_sub(at)),
            at_once: stable,
            too_many: !self.stopping && self.deaths.note(now, policy.give_up),
            tries: 0,
            requeued: 0,
            retry: None,
        };
        (State::Dead(dead), actions)
    }

    pub(crate) fn answered(
        &mut self,
        mut dead: Dead,
        answer: Answer,
        now: Time,
        chance: u64,
        policy: &Policy,
    ) -> (State, Vec<Action>) {
        let mut ending = None;
        let problem = match answer {
            Answer::Done { requeued } => {
                dead.requeued += requeued;
                None
            }
            Answer::Busy { requeued } => {
                dead.requeued += requeued;
                Some(None)
            }
            Answer::Failed(error) => Some(Some(error)),
            Answer::NotSetUp => {
                ending = Some(Ending::Reset);
                None
            }
            Answer::Gone => {
                ending = Some(Ending::Gone);
                None
            }
        };
        let mut actions = Vec::new();
        if dead.tries == 0 {
            actions.push(Action::Reap(dead.worker));
        }
        if let Some(error) = problem {
            dead.tries += 1;
            dead.retry = Some(now + requeue_pause(dead.tries - 1));
            // 4, 8, 16, ... refusals: often enough to be seen, too rarely to flood.
            if dead.tries >= 4 && dead.tries.is_power_of_two() {
                actions.push(Action::Report(Report::Held {
                    worker: dead.worker,
                    since: now.saturating_sub(dead.seen),
                    error,
                }));
            }
            return (State::Dead(dead), actions);
        }
        if let Some(ending) = ending {
            self.stopping = true;
            actions.push(Action::End(ending));
        }
        let (state, next) = self.after(&dead, now, chance, policy);
        actions.push(Action::Report(Report::Died {
            worker: dead.worker,
            exit: dead.exit,
            lived: dead.lived,
            requeued: dead.requeued,
            next,
        }));
        match &state {
            State::Starting => actions.extend(self.start().1),
            State::Off | State::GaveUp(_) => actions.push(Action::Forget),
            _ => {}
        }
        (state, actions)
    }

    /// What follows a death whose token is back.
    fn after(&mut self, dead: &Dead, now: Time, chance: u64, policy: &Policy) -> (State, Next) {
        if self.stopping {
            return (State::Off, Next::Nothing);
        }
        let urgent = self.role == Role::Active;
        self.failover = urgent.then_some(Failover {
            dead: dead.worker,
            seen: dead.seen,
            requeued: now,
            spawned: None,
        });
        if dead.exit == Exit::Code(USAGE) {
            return (State::GaveUp(Why::Usage), Next::GaveUp(Why::Usage));
        }
        if dead.too_many {
            return (State::GaveUp(Why::TooOften), Next::GaveUp(Why::TooOften));
        }
        if dead.at_once && urgent {
            self.failures = 0;
            return (State::Starting, Next::Now);
        }
        if dead.at_once {
            // Whoever was promoted in its place has the processors for himself at first.
            self.failures = 0;
            let (pause, failures) = (policy.back_off_min, 0);
            let until = now + pause;
            return (State::Backoff { until }, Next::In { pause, failures });
        }
        self.back_off(now, chance, policy)
    }
}
