//! A whole machine round the ledger: threads of workers that look, copy, sleep and are woken late,
//! processes that die and come back, and an operator. Whatever happens is done to the ledger and to
//! the model, and compared.

use std::collections::BTreeMap;

use crate::fixture::{slots, vacant, Book, Life, Request, ORIGIN};
use crate::ledger::{Claim, Finish, Forward, Ledger, Op, Policies, Process, Refusal, Why};
use crate::model::{Model, Stage};

/// Something that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Submit {
        tag: u32,
        op: Op,
        v1: bool,
    },
    /// A thread comes to take; with less than `min` there it sleeps.
    Look {
        thread: usize,
        min: u32,
        room: u64,
        detached: bool,
    },
    /// The entry has reached the worker; `more`: it looks for another.
    Commit {
        thread: usize,
        more: bool,
    },
    Abort {
        thread: usize,
    },
    /// Completes under the id given `back` times before the last of this tag.
    Put {
        thread: usize,
        tag: u32,
        back: usize,
        v1: bool,
    },
    Invent {
        tag: u32,
    },
    /// As [`Act::Put`], but the kernel moves the data, if the place `fits`.
    Forward {
        thread: usize,
        tag: u32,
        back: usize,
        fits: bool,
    },
    /// The kernel has moved the data, or not.
    Land {
        tag: u32,
        well: bool,
    },
    /// It has not, and somebody is to decide.
    Return {
        tag: u32,
    },
    End {
        thread: usize,
        well: bool,
    },
    Fault {
        thread: usize,
    },
    /// A sleeper gets up: it was woken, or (only if not `stay`) by time-out or signal.
    Rise {
        thread: usize,
        stay: bool,
    },
    Deliver {
        patient: bool,
    },
    Requeue {
        why: Why,
        worker: Option<usize>,
        older: u64,
    },
    Close {
        worker: usize,
        requeue: bool,
        /// The worker whose process closes it, in its death.
        dying: Option<usize>,
    },
    Die {
        process: usize,
    },
    Join {
        worker: usize,
    },
    Kill,
    Fail,
    /// Nobody has claimed it for too long.
    Expire {
        age: u64,
    },
    Pop,
    /// The room of a dead disk is given back.
    Retire,
    Setup {
        depth: u32,
        max_attempts: u32,
        fenced: bool,
    },
    Show,
    Tick,
}

pub(crate) enum At {
    Away,
    Taking(Claim<Request>, u32),
    Finishing(Finish<Request>, u32),
    Asleep {
        min: u32,
        patient: bool,
        woken: bool,
        order: u64,
    },
}

pub(crate) struct Thread {
    pub(crate) worker: usize,
    pub(crate) at: At,
}

pub(crate) struct World {
    pub(crate) ledger: Book,
    pub(crate) model: Model,
    pub(crate) threads: Vec<Thread>,
    /// What the kernel has, by tag.
    pub(crate) forwards: BTreeMap<u32, Forward<Request>>,
    /// The process of each worker, and its entry while its file is open.
    pub(crate) workers: Vec<(usize, Option<u32>)>,
    /// The file each has, or had last. Its entry may be somebody else's by the time it is closed.
    pub(crate) files: Vec<u64>,
    pub(crate) lives: Vec<(usize, Life)>,
    /// Wake-ups that were said and have not arrived.
    pub(crate) ones: u32,
    pub(crate) all: bool,
    /// What can be concluded about the ledger's own notes on sleepers.
    pub(crate) flight: bool,
    pub(crate) patience: u32,
    pub(crate) kept: bool,
    pub(crate) changed: bool,
    pub(crate) depth: u32,
    /// What has been compared before need not be compared again.
    pub(crate) replaying: bool,
    pub(crate) now: u64,
    pub(crate) serial: u32,
    pub(crate) fresh: u64,
    pub(crate) naps: u64,
    pub(crate) ended: Vec<bool>,
}

impl World {
    /// Threads by worker, and workers by process.
    pub(crate) fn new(crew: &[usize], house: &[usize]) -> Self {
        let mut world = World {
            ledger: Ledger::new(Vec::new(), vacant(2), ORIGIN),
            model: Model::default(),
            threads: crew
                .iter()
                .map(|worker| Thread {
                    worker: *worker,
                    at: At::Away,
                })
                .collect(),
            forwards: BTreeMap::new(),
            workers: house.iter().map(|process| (*process, None)).collect(),
            files: vec![0; house.len()],
            lives: Vec::new(),
            ones: 0,
            all: false,
            flight: false,
            patience: u32::MAX,
            kept: false,
            changed: false,
            depth: 0,
            replaying: false,
            now: 0,
            serial: 0,
            fresh: 0,
            naps: 0,
            ended: Vec::new(),
        };
        world.ledger.polls();
        for process in 0..=house.iter().copied().max().unwrap_or(0) {
            world.fresh += 1;
            world
                .lives
                .push((process + 1000 * world.fresh as usize, Life::new()));
        }
        world
    }

    pub(crate) fn seat(&self, thread: usize) -> Option<u32> {
        let (process, seat) = self.workers[self.threads[thread].worker];
        seat.filter(|_| self.lives[process].1.is_alive())
    }

    pub(crate) fn clock(&self) -> u64 {
        self.now
    }

    /// Whether every request that ever came has ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    fn is_away(&self, worker: usize) -> bool {
        let own = |thread: &&Thread| thread.worker == worker;
        self.threads
            .iter()
            .filter(own)
            .all(|thread| matches!(thread.at, At::Away))
    }

    /// Which of the processes that are there has this number.
    pub(crate) fn process_of(&self, number: usize) -> Option<usize> {
        self.lives.iter().position(|(other, _)| *other == number)
    }

    pub(crate) fn lives(&self, process: usize) -> bool {
        self.lives[process].1.is_alive()
    }

    /// Whether it can happen now.
    pub(crate) fn can(&self, act: Act) -> bool {
        match act {
            Act::Submit { tag, .. } => tag < self.depth && !self.model.entries.contains_key(&tag),
            Act::Look { thread, .. } => {
                matches!(self.threads[thread].at, At::Away) && self.seat(thread).is_some()
            }
            Act::Put {
                thread, tag, back, ..
            }
            | Act::Forward {
                thread, tag, back, ..
            } => {
                matches!(self.threads[thread].at, At::Away)
                    && self.seat(thread).is_some()
                    && self
                        .model
                        .given
                        .get(&tag)
                        .is_some_and(|given| given.len() > back)
            }
            Act::Land { tag, .. } | Act::Return { tag } => self.forwards.contains_key(&tag),
            Act::Commit { thread, .. } | Act::Abort { thread } => {
                matches!(self.threads[thread].at, At::Taking(..))
            }
            Act::End { thread, .. } | Act::Fault { thread } => {
                matches!(self.threads[thread].at, At::Finishing(..))
            }
            Act::Rise { thread, stay } => {
                matches!(self.threads[thread].at, At::Asleep { woken, .. } if woken || !stay)
            }
            Act::Deliver { patient } => {
                if patient {
                    self.all
                } else {
                    self.ones > 0
                }
            }
            Act::Close { worker, .. } => self.workers[worker].1.is_some() && self.is_away(worker),
            Act::Die { process } => {
                self.lives(process)
                    && (0..self.workers.len())
                        .all(|worker| self.workers[worker].0 != process || self.is_away(worker))
            }
            Act::Join { worker } => {
                let (process, seat) = self.workers[worker];
                let mut mates = self.workers.iter().filter(|(other, _)| *other == process);
                seat.is_none() && (self.lives(process) || mates.all(|(_, seat)| seat.is_none()))
            }
            Act::Kill | Act::Fail => self.model.alive,
            Act::Expire { age } => self.model.expired(self.now, age).count() > 0,
            Act::Pop => self
                .model
                .entries
                .values()
                .any(|entry| entry.stage == Stage::Condemned),
            Act::Setup { .. } | Act::Retire => !self.model.alive && self.model.entries.is_empty(),
            Act::Requeue { .. } | Act::Invent { .. } | Act::Show | Act::Tick => true,
        }
    }

    /// Lets it happen, and compares.
    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Submit { tag, op, v1 } => self.submit(tag, op, v1),
            Act::Look {
                thread,
                min,
                room,
                detached,
            } => {
                self.look(thread, min, room, detached, true);
            }
            Act::Commit { thread, more } => self.commit(thread, more),
            Act::Abort { thread } => self.abort(thread),
            Act::Put {
                thread,
                tag,
                back,
                v1,
            } => {
                let given = &self.model.given[&tag];
                let id = given[given.len() - 1 - back];
                self.put(thread, id, v1);
            }
            Act::Invent { tag } => {
                let given = self
                    .model
                    .given
                    .get(&tag)
                    .and_then(|given| given.last())
                    .copied();
                for id in [given.unwrap_or(0) + (1 << 40), u64::from(tag), u64::MAX] {
                    assert_eq!(
                        self.ledger.finish_begin(id, true).err(),
                        Some(Refusal::Unknown)
                    );
                }
            }
            Act::Forward {
                tag, back, fits, ..
            } => {
                let given = &self.model.given[&tag];
                let id = given[given.len() - 1 - back];
                self.forward(id, fits);
            }
            Act::Land { tag, well } => self.land(tag, well),
            Act::Return { tag } => self.give_back(tag),
            Act::End { thread, well } => self.end(thread, well),
            Act::Fault { thread } => self.fault(thread),
            Act::Rise { thread, stay } => self.rise(thread, stay),
            Act::Deliver { patient } => self.deliver(patient),
            Act::Requeue { why, worker, older } => self.requeue(why, worker, older),
            Act::Close {
                worker,
                requeue,
                dying,
            } => self.close(worker, requeue, dying),
            Act::Die { process } => {
                let (number, life) = &self.lives[process];
                life.die();
                for seat in self.model.seats.values_mut() {
                    seat.lives &= seat.process != *number;
                }
            }
            Act::Join { worker } => self.join(worker),
            Act::Kill => {
                self.model.alive = false;
                assert_eq!(self.ledger.kill(), self.model.fail_all());
                // Whoever kills wakes everybody.
                self.changed = true;
                (self.ones, self.all) = (0, false);
                for thread in &mut self.threads {
                    if let At::Asleep { woken, .. } = &mut thread.at {
                        *woken = true;
                    }
                }
            }
            Act::Fail => {
                assert_eq!(self.ledger.fail_all(), self.model.fail_all());
                self.changed = true;
            }
            Act::Expire { age } => self.expire(age),
            Act::Pop => self.pop(),
            Act::Retire => {
                drop(self.ledger.retire(Vec::new()));
                self.depth = 0;
            }
            Act::Setup {
                depth,
                max_attempts,
                fenced,
            } => {
                assert_eq!(self.ledger.pending(), 0);
                let policies = Policies {
                    max_attempts,
                    fenced_backend: fenced,
                    keep_on_close: false,
                };
                let tags = depth as usize;
                drop(self.ledger.configure(slots(tags), policies));
                self.model.configure(policies);
                self.depth = depth;
            }
            Act::Show => {
                let expected = self.model.show();
                let shown = self.ledger.v1_next(|id, request| (id, request.0));
                assert_eq!(shown.is_some(), expected.is_some());
                if let (Some((id, serial)), Some(tag)) = (shown, expected) {
                    assert_eq!(serial, self.model.entries[&tag].serial);
                    self.model.see(tag, id);
                }
            }
            Act::Tick => self.now += 1,
        }
        if !self.replaying {
            self.compare();
        }
    }
}
