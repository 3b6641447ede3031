//! Each of the things that can happen in a [`World`], done to the ledger and to the model.

use crate::fixture::{vacant, Life, Request};
use crate::ledger::{
    Again, Arrival, Claim, Ended, Held, Op, Unclaimed, Unforwarded, Wake, Who, Why,
};
use crate::model::{Entry, Hands, Seat, Stage, Take};
use crate::world::{At, World};

impl World {
    pub(crate) fn submit(&mut self, tag: u32, op: Op, v1: bool) {
        self.serial += 1;
        self.ended.push(false);
        let arrival = Arrival {
            op,
            bytes: 1 + self.serial % 7,
            durable: false,
            v1,
        };
        match self
            .ledger
            .enqueue(tag, &arrival, Request(self.serial - 1), self.now)
        {
            Ok(()) => {
                assert!(self.model.alive);
                self.model.arrivals += 1;
                self.model.count(op).queued += 1;
                let entry = Entry {
                    serial: self.serial - 1,
                    op,
                    bytes: arrival.bytes,
                    v1,
                    arrival: self.model.arrivals,
                    queued_at: self.now,
                    since: self.now,
                    deaths: 0,
                    lone: 0,
                    stage: Stage::Queued,
                    id: None,
                    doomed: false,
                    failure: 0,
                    recalled: false,
                    suspect: false,
                };
                self.model.entries.insert(tag, entry);
                let wake = self.ledger.wake();
                self.notify(wake);
            }
            Err(request) => {
                assert!(!self.model.alive);
                self.gone(request);
            }
        }
    }

    /// A request has left: for the first time.
    fn gone(&mut self, request: Request) {
        let ended = &mut self.ended[request.0 as usize];
        assert!(!*ended, "request {} ended twice", request.0);
        *ended = true;
    }

    fn notify(&mut self, wake: Wake) {
        assert_eq!(
            wake.pollers,
            self.model.queued() > 0,
            "pollers see what waits"
        );
        self.ones += u32::from(wake.one);
        self.flight |= wake.one;
        self.all |= wake.patient;
        if wake.patient {
            (self.patience, self.kept) = (u32::MAX, false);
        }
        self.changed &= !wake.pollers;
    }

    /// Looks under the lock, as a thread does that has come or risen.
    pub(crate) fn look(&mut self, thread: usize, min: u32, room: u64, detached: bool, stay: bool) {
        let Some(seat) = self.seat(thread) else {
            return;
        };
        self.threads[thread].at = At::Away;
        let ready = self.ledger.is_ready_for(seat, min);
        assert_eq!(ready, self.model.is_ready_for(seat, min));
        if ready || !stay {
            let expected = self.model.next(seat, room);
            match self.ledger.take_begin(seat, detached, room, self.now) {
                Ok(claim) => {
                    let Take::Tag(tag) = expected else {
                        panic!("{expected:?}")
                    };
                    return self.claimed(thread, Hands { seat, detached }, tag, claim);
                }
                Err(Unclaimed::Nothing) => assert_eq!(expected, Take::Nothing),
                Err(Unclaimed::TooBig(bytes)) => assert_eq!(expected, Take::TooBig(bytes)),
            }
        }
        // It leaves behind what it could not or would not take.
        let wake = self.ledger.wake();
        self.notify(wake);
        if stay && self.model.alive && !ready {
            self.naps += 1;
            let kept = self.model.is_kept(seat);
            let patient = self.ledger.sleep(seat, min);
            assert_eq!(patient, min > 1 || kept);
            self.kept |= kept;
            if min > 1 && !kept {
                self.patience = self.patience.min(min);
            }
            self.threads[thread].at = At::Asleep {
                min,
                patient,
                woken: false,
                order: self.naps,
            };
        }
    }

    fn claimed(&mut self, thread: usize, hands: Hands, tag: u32, claim: Claim<Request>) {
        let limit = self.model.limit > 0;
        let entry = self.model.entries.get_mut(&tag).expect("the model has it");
        assert_eq!(
            (claim.request.0, claim.told.op, claim.told.bytes),
            (entry.serial, entry.op, entry.bytes)
        );
        assert_eq!(
            (claim.told.attempt, claim.told.failure, claim.told.age),
            (entry.deaths, entry.failure, self.now - entry.queued_at)
        );
        entry.stage = Stage::Taking(hands);
        entry.suspect = limit && entry.deaths >= 2;
        self.changed |= entry.deaths >= 2;
        self.model
            .seats
            .get_mut(&hands.seat)
            .expect("it sits")
            .crowded = false;
        self.model.see(tag, claim.id);
        self.threads[thread].at = At::Taking(claim, tag);
    }

    pub(crate) fn commit(&mut self, thread: usize, more: bool) {
        let at = std::mem::replace(&mut self.threads[thread].at, At::Away);
        let At::Taking(claim, tag) = at else {
            panic!("it takes nothing")
        };
        let entry = self.model.entries.get_mut(&tag).expect("the model has it");
        let ended = self.ledger.take_commit(claim, self.now);
        assert_eq!(ended.is_some(), entry.doomed);
        if let Some(ended) = ended {
            self.leave(tag, ended, None);
        } else {
            let Stage::Taking(hands) = entry.stage else {
                panic!("{:?}", entry.stage)
            };
            (entry.stage, entry.since) = (Stage::Taken(hands), self.now);
            let op = entry.op;
            self.model.count(op).taken += 1;
        }
        if more {
            self.look(thread, 1, u64::MAX, false, false);
        } else {
            let wake = self.ledger.wake();
            self.notify(wake);
        }
    }

    pub(crate) fn abort(&mut self, thread: usize) {
        let at = std::mem::replace(&mut self.threads[thread].at, At::Away);
        let At::Taking(claim, tag) = at else {
            panic!("it takes nothing")
        };
        let entry = self.model.entries.get_mut(&tag).expect("the model has it");
        self.changed = true;
        match self.ledger.take_abort(claim) {
            Ok(wake) => {
                assert!(!entry.doomed);
                entry.stage = Stage::Queued;
                self.notify(wake);
                let wake = self.ledger.wake();
                self.notify(wake);
            }
            Err(ended) => {
                assert!(entry.doomed);
                self.leave(tag, ended, None);
                let wake = self.ledger.wake();
                self.notify(wake);
            }
        }
    }

    pub(crate) fn put(&mut self, thread: usize, id: u64, v1: bool) {
        let expected = self.model.put(id, v1);
        match self.ledger.finish_begin(id, v1) {
            Ok(finish) => {
                let tag = expected.expect("the model would refuse");
                let entry = self.model.entries.get_mut(&tag).expect("the model has it");
                assert_eq!((finish.id, finish.request.0), (id, entry.serial));
                assert_eq!(
                    (finish.facts.op, finish.facts.bytes),
                    (entry.op, entry.bytes)
                );
                entry.recalled = false;
                entry.stage = Stage::Finishing(entry.hands());
                self.threads[thread].at = At::Finishing(finish, tag);
            }
            Err(refusal) => assert_eq!(Some(refusal), expected.err()),
        }
    }

    pub(crate) fn end(&mut self, thread: usize, well: bool) {
        let at = std::mem::replace(&mut self.threads[thread].at, At::Away);
        let At::Finishing(finish, tag) = at else {
            panic!("it finishes nothing")
        };
        let doomed = self.model.entries[&tag].doomed;
        let ended = self.ledger.finish_commit(finish, well, self.now);
        assert_eq!(ended.doomed, doomed);
        self.leave(tag, ended, Some(well && !doomed));
    }

    pub(crate) fn fault(&mut self, thread: usize) {
        let at = std::mem::replace(&mut self.threads[thread].at, At::Away);
        let At::Finishing(finish, tag) = at else {
            panic!("it finishes nothing")
        };
        let entry = &self.model.entries[&tag];
        let over = entry.doomed || (entry.recalled && self.model.is_guilty(entry));
        let entry = self.model.entries.get_mut(&tag).expect("the model has it");
        match self.ledger.finish_abort(finish) {
            Err(ended) => {
                assert!(over && ended.doomed);
                self.leave(tag, ended, None);
            }
            Ok(wake) => {
                assert!(!over);
                match entry.hands() {
                    Some(hands) if !entry.recalled => {
                        entry.stage = Stage::Taken(hands);
                        assert_eq!(wake, Wake::default());
                        return;
                    }
                    Some(_) => {
                        entry.id = None;
                        self.model.counts[entry.op as usize].requeued += 1;
                    }
                    None => {}
                }
                entry.stage = Stage::Queued;
                self.changed = true;
                self.notify(wake);
            }
        }
    }

    pub(crate) fn forward(&mut self, id: u64, fits: bool) {
        let expected = self.model.put(id, false);
        let begun = self.ledger.forward_begin(id, |op, bytes, request| {
            let tag = expected.expect("nobody asks of what is refused");
            let entry = &self.model.entries[&tag];
            assert_eq!(
                (op, bytes, request.0),
                (entry.op, entry.bytes, entry.serial)
            );
            fits.then_some(()).ok_or("elsewhere")
        });
        match begun {
            Ok((forward, wake)) => {
                assert!(fits);
                let tag = expected.expect("the model would refuse");
                let entry = self.model.entries.get_mut(&tag).expect("the model has it");
                assert_eq!((forward.id, forward.request.0), (id, entry.serial));
                assert_eq!((forward.op, forward.bytes), (entry.op, entry.bytes));
                entry.stage = Stage::Forwarding;
                self.forwards.insert(tag, forward);
                self.emptier(wake);
            }
            Err(Unforwarded::Unfit(why)) => {
                assert_eq!((why, fits), ("elsewhere", false));
                assert!(expected.is_ok());
            }
            Err(Unforwarded::Refused(refusal)) => assert_eq!(Some(refusal), expected.err()),
        }
    }

    /// Somebody's hands are emptier.
    fn emptier(&mut self, wake: Wake) {
        self.changed = true;
        if self.model.limit > 0 {
            self.notify(wake);
        } else {
            assert_eq!(wake, Wake::default());
        }
    }

    pub(crate) fn land(&mut self, tag: u32, well: bool) {
        let forward = self.forwards.remove(&tag).expect("the kernel has it");
        let doomed = self.model.entries[&tag].doomed;
        let ended = self.ledger.forward_commit(forward, well, self.now);
        assert_eq!(ended.doomed, doomed);
        self.leave(tag, ended, Some(well && !doomed));
    }

    pub(crate) fn give_back(&mut self, tag: u32) {
        let forward = self.forwards.remove(&tag).expect("the kernel has it");
        let failure = 1 + (self.serial % 6) as u8;
        let entry = self.model.entries.get_mut(&tag).expect("the model has it");
        match self.ledger.forward_return(forward, failure, self.now) {
            Err(ended) => {
                assert!(entry.doomed && ended.doomed);
                self.leave(tag, ended, None);
            }
            Ok(wake) => {
                assert!(!entry.doomed);
                (entry.stage, entry.id) = (Stage::Queued, None);
                (entry.failure, entry.since) = (failure, self.now);
                self.model.counts[entry.op as usize].requeued += 1;
                self.changed = true;
                self.notify(wake);
            }
        }
    }

    /// A request has ended while somebody copied; well, not well, or without a word.
    fn leave(&mut self, tag: u32, ended: Ended<Request>, well: Option<bool>) {
        let entry = self.model.entries.remove(&tag).expect("the model has it");
        assert_eq!(ended.request.0, entry.serial);
        assert!(well.is_some() || ended.doomed);
        assert_eq!(ended.queued_at, entry.queued_at);
        assert!(entry.id.is_none_or(|id| id == ended.id));
        let now = self.now;
        let counts = self.model.count(entry.op);
        if well == Some(true) {
            counts.done += 1;
            counts.bytes += u64::from(entry.bytes);
            counts.total += now - entry.queued_at;
            if entry.hands().is_some() || entry.stage == Stage::Forwarding {
                counts.service += now - entry.since;
            }
        } else {
            counts.failed += 1;
        }
        self.gone(ended.request);
        let wake = self.ledger.wake_the_kept();
        self.emptier(wake);
    }

    pub(crate) fn pop(&mut self) {
        let Some(ended) = self.ledger.condemned_pop() else {
            panic!("somebody was condemned")
        };
        let request = ended.request;
        let found = self
            .model
            .entries
            .iter()
            .find(|(_, entry)| entry.serial == request.0);
        let (tag, entry) = found.expect("the model has it");
        assert_eq!(entry.stage, Stage::Condemned);
        assert!(ended.doomed && ended.queued_at == entry.queued_at);
        let last = self.model.given.get(tag).and_then(|given| given.last());
        assert!(
            last.is_none_or(|&last| last <= ended.id),
            "an id of the past"
        );
        let (tag, op) = (*tag, entry.op);
        self.model.entries.remove(&tag);
        self.model.count(op).failed += 1;
        self.gone(request);
    }

    pub(crate) fn expire(&mut self, age: u64) {
        let late: Vec<u32> = self.model.expired(self.now, age).collect();
        for tag in &late {
            let entry = self.model.entries.get_mut(tag).expect("the model has it");
            (entry.stage, entry.id) = (Stage::Condemned, None);
        }
        let (failed, wake) = self.ledger.fail_unclaimed(age, self.now);
        assert_eq!(failed as usize, late.len());
        self.changed |= failed > 0;
        self.notify(wake);
    }

    pub(crate) fn rise(&mut self, thread: usize, stay: bool) {
        let At::Asleep { min, patient, .. } = self.threads[thread].at else {
            panic!("it does not sleep")
        };
        self.ledger.rise(patient);
        self.threads[thread].at = At::Away;
        if !patient {
            self.flight = false;
        } else if !self
            .threads
            .iter()
            .any(|t| matches!(t.at, At::Asleep { patient: true, .. }))
        {
            self.patience = u32::MAX;
        }
        self.look(thread, min, u64::MAX, false, stay);
    }

    pub(crate) fn deliver(&mut self, patient: bool) {
        let sleepers = self
            .threads
            .iter_mut()
            .filter_map(|thread| match &mut thread.at {
                At::Asleep {
                    patient: p,
                    woken,
                    order,
                    ..
                } if *p == patient && !*woken => Some((*order, woken)),
                _ => None,
            });
        if patient {
            self.all = false;
            sleepers.for_each(|(_, woken)| *woken = true);
        } else {
            self.ones -= 1;
            if let Some((_, woken)) = sleepers.min_by_key(|(order, _)| *order) {
                *woken = true;
            }
        }
    }

    pub(crate) fn requeue(&mut self, why: Why, worker: Option<usize>, older: u64) {
        let (now, process) = (
            self.now,
            worker.map(|worker| self.lives[self.workers[worker].0].0),
        );
        let expected = self.model.requeue(why, now, |model, entry, hands| {
            process.is_none_or(|process| model.seats[&hands.seat].process == process)
                && now - entry.since >= older
        });
        let which = |held: &Held<'_, Life>| {
            process.is_none_or(|process| held.holder.who().process == process)
                && held.held_for >= older
        };
        let mut told = (0, 0);
        let outcome = self
            .ledger
            .requeue(why, now, which, |again| match again.new {
                Some(new) => {
                    assert!(new > again.id);
                    told.0 += 1;
                }
                None => told.1 += 1,
            });
        assert_eq!(told, (outcome.requeued, outcome.condemned));
        assert_eq!(
            (outcome.requeued, outcome.refused, outcome.condemned),
            expected
        );
        self.changed |= outcome.requeued + outcome.condemned > 0;
        self.notify(outcome.wake);
    }

    /// `dying` is the worker whose process closes it, in its death.
    pub(crate) fn close(&mut self, worker: usize, requeue: bool, dying: Option<usize>) {
        let Some(index) = self.workers[worker].1.take() else {
            return;
        };
        let file = self.files[worker];
        let dying = dying.map(|worker| self.lives[self.workers[worker].0].0);
        let mut told = 0;
        let tell = |again: &Again<'_, Request, Life>| {
            assert_eq!(again.holder.who().file, file);
            told += 1;
        };
        let outcome = self.ledger.close(file, requeue, dying, self.now, tell);
        assert_eq!(told, outcome.requeued + outcome.condemned);
        if requeue {
            let why = Why::Closed(dying);
            let expected = self.model.requeue(why, self.now, |model, _, hands| {
                model.seats[&hands.seat].file == file && !hands.detached
            });
            assert_eq!(
                (outcome.requeued, outcome.refused, outcome.condemned),
                expected
            );
            self.changed |= outcome.requeued + outcome.condemned > 0;
            self.notify(outcome.wake);
        }
        let seat = self.model.seats.get_mut(&index).expect("it sits");
        seat.open &= seat.file != file;
    }

    pub(crate) fn join(&mut self, worker: usize) {
        self.fresh += 1;
        let process = self.workers[worker].0;
        if !self.lives(process) {
            self.lives[process] = (process + 1000 * self.fresh as usize, Life::new());
        }
        let (number, life) = self.lives[process].clone();
        let who = Who {
            file: self.fresh,
            token: self.fresh,
            process: number,
        };
        let index = match self.ledger.holder_add(who, life) {
            Ok(index) => index,
            Err(life) => {
                let longer = vacant(self.ledger.holders_len() + 1);
                drop(self.ledger.holders_grow(longer));
                self.ledger
                    .holder_add(who, life)
                    .ok()
                    .expect("there is room now")
            }
        };
        if let Some(old) = self.model.seats.get(&index) {
            let held = self
                .model
                .number(|entry| entry.hands().is_some_and(|h| h.seat == index));
            assert!(held == 0, "the entry is in use");
            assert!(!old.open || !old.lives, "its worker may come back");
        }
        let seat = Seat {
            file: self.fresh,
            process: number,
            open: true,
            lives: true,
            crowded: false,
        };
        self.model.seats.insert(index, seat);
        self.workers[worker].1 = Some(index);
        self.files[worker] = self.fresh;
    }
}
