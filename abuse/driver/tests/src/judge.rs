//! What must hold in a [`World`] after everything that happens, and how it must end.

use crate::ledger::{Op, Why};
use crate::model::Stage;
use crate::world::{Act, At, World};

impl World {
    /// Everything that can be seen of the ledger is what the model says.
    pub(crate) fn compare(&mut self) {
        let now = self.clock();
        let summary = self.ledger.summary(now);
        let model = &self.model;
        assert_eq!(
            (summary.queued, summary.taken, summary.busy),
            (model.queued(), model.taken(), model.busy())
        );
        assert_eq!(summary.forwarding, model.forwarding());
        assert_eq!(self.ledger.pending() as usize, model.entries.len());
        assert_eq!(self.ledger.busy(), model.busy());
        assert_eq!(self.ledger.is_alive(), model.alive);
        let oldest = |stage: fn(&Stage) -> bool| {
            let ages = model.entries.values().filter(|entry| stage(&entry.stage));
            ages.map(|entry| now - entry.since).max().unwrap_or(0)
        };
        assert_eq!(
            summary.oldest_queued,
            oldest(|stage| *stage == Stage::Queued)
        );
        assert_eq!(
            summary.oldest_taken,
            oldest(|stage| matches!(stage, Stage::Taken(_)))
        );
        let there = model.seats.values().filter(|seat| seat.open && seat.lives);
        assert_eq!(summary.workers as usize, there.count());
        let asleep = self
            .threads
            .iter()
            .filter(|t| matches!(t.at, At::Asleep { .. }))
            .count();
        assert_eq!(summary.sleepers as usize, asleep);
        assert_eq!(self.ledger.counts(), &model.counts);
        assert_eq!(self.ledger.refusals(), (model.stale, model.refused));
        model.add_up();
        self.nobody_is_forgotten();
    }

    /// No wake-up is lost: whoever sleeps and could take something has a wake-up on its way, or
    /// somebody is up who will look at the queue and pass it on.
    fn nobody_is_forgotten(&self) {
        let somebody_will_look = self.threads.iter().any(|thread| match thread.at {
            At::Taking(..) => true,
            At::Asleep { woken, .. } => woken,
            // What a v1 client takes out of the queue it wakes for when it is through.
            At::Finishing(_, tag) => {
                let entry = &self.model.entries[&tag];
                self.model.limit > 0 && entry.stage == Stage::Finishing(None)
            }
            At::Away => false,
        });
        if somebody_will_look {
            return;
        }
        for (index, thread) in self.threads.iter().enumerate() {
            let At::Asleep { min, patient, .. } = thread.at else {
                continue;
            };
            let Some(seat) = self.workers[thread.worker].1 else {
                continue;
            };
            if self.model.alive && self.model.is_ready_for(seat, min) {
                let coming = self.ones > 0 && self.first_asleep() || self.all && patient;
                assert!(coming, "thread {index} sleeps for ever");
            }
        }
    }

    /// Whether a single wake-up would reach anybody.
    fn first_asleep(&self) -> bool {
        let single = |at: &At| {
            matches!(
                at,
                At::Asleep {
                    patient: false,
                    woken: false,
                    ..
                }
            )
        };
        self.threads.iter().any(|thread| single(&thread.at))
    }

    /// Everybody who is up does what it came for and goes; then nobody sleeps who could work. The
    /// number of steps is bounded: they do not keep each other awake.
    pub(crate) fn settle(&mut self) {
        let patience = 200 + self.ones;
        for step in 0.. {
            assert!(step < patience, "they never come to rest");
            let next = (0..self.threads.len()).find_map(|thread| match self.threads[thread].at {
                At::Taking(..) => Some(Act::Commit {
                    thread,
                    more: false,
                }),
                At::Finishing(..) => Some(Act::End { thread, well: true }),
                At::Asleep { woken: true, .. } => Some(Act::Rise { thread, stay: true }),
                _ => None,
            });
            let all = Act::Deliver { patient: true };
            let one = Act::Deliver { patient: false };
            let next = next
                .or(self.can(all).then_some(all))
                .or(self.can(one).then_some(one));
            match next {
                Some(act) => self.act(act),
                None => break,
            }
        }
    }

    /// The kernel is through with what it has, in one way or the other, and all sleepers leave.
    fn dawn(&mut self) {
        let in_flight: Vec<u32> = self.forwards.keys().copied().collect();
        for tag in in_flight {
            self.act(match (tag + self.serial) % 2 {
                0 => Act::Land { tag, well: true },
                _ => Act::Return { tag },
            });
        }
        self.settle();
        for thread in 0..self.threads.len() {
            let up = Act::Rise {
                thread,
                stay: false,
            };
            if self.can(up) {
                self.act(up);
            }
        }
        self.settle();
    }

    /// Everything that is there is served, in order of arrival, by whoever comes.
    pub(crate) fn serve(&mut self) {
        self.dawn();
        self.act(Act::Requeue {
            why: Why::Forced,
            worker: None,
            older: 0,
        });
        for worker in 0..self.workers.len() {
            let end = Act::Close {
                worker,
                requeue: true,
                dying: None,
            };
            if self.can(end) {
                self.act(end);
            }
        }
        for process in self
            .workers
            .iter()
            .map(|worker| worker.0)
            .collect::<Vec<_>>()
        {
            if self.can(Act::Die { process }) {
                self.act(Act::Die { process });
            }
        }
        while self.can(Act::Pop) {
            self.act(Act::Pop);
        }
        self.act(Act::Join { worker: 0 });
        let thread = self
            .threads
            .iter()
            .position(|thread| thread.worker == 0)
            .expect("one is");
        let mut last = 0;
        while let Some(tag) = self.model.head() {
            let arrival = self.model.entries[&tag].arrival;
            assert!(arrival > last, "they come in order");
            last = arrival;
            self.act(Act::Look {
                thread,
                min: 1,
                room: u64::MAX,
                detached: false,
            });
            self.act(Act::Commit {
                thread,
                more: false,
            });
            self.act(Act::Put {
                thread,
                tag,
                back: 0,
                v1: false,
            });
            self.act(Act::End { thread, well: true });
        }
        self.nothing_is_left();
    }

    /// The disk is taken away under everybody.
    pub(crate) fn reset(&mut self) {
        if self.can(Act::Kill) {
            self.act(Act::Kill);
        }
        self.dawn();
        while self.can(Act::Pop) {
            self.act(Act::Pop);
        }
        assert!(self.ledger.condemned_pop().is_none());
        assert_eq!(self.ledger.summary(0).sleepers, 0, "every waiter was woken");
        self.nothing_is_left();
        for (tag, given) in self.model.given.clone() {
            for back in 0..given.len().min(20) {
                let thread = self.threads.len() - 1;
                let put = Act::Put {
                    thread,
                    tag,
                    back,
                    v1: true,
                };
                if self.can(put) {
                    self.act(put);
                }
            }
        }
        self.act(Act::Setup {
            depth: 1,
            max_attempts: 0,
            fenced: false,
        });
        self.act(Act::Submit {
            tag: 0,
            op: Op::Write,
            v1: true,
        });
        self.serve();
    }

    fn nothing_is_left(&self) {
        assert!(self.model.entries.is_empty(), "{:?}", self.model.entries);
        assert_eq!((self.ledger.pending(), self.ledger.busy()), (0, 0));
        assert!(self.all_ended(), "a request was lost");
    }
}
