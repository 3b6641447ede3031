// SPDX-License-Identifier: MIT

//! One thread of a worker: its loop, its buffers, and what it does with refusals.
//!
//! The loop is one EXCHANGE per batch. It completes the last batch, whose answers to reads lie in
//! the arena, before it fills the arena with the next; so the arena is never held twice, and a
//! completion that is refused must not count on its data any more ([`Lane::put_again`]).
//!
//! Threads of a worker with a slow backend help each other: what one has taken and not begun lies on
//! its [`Desk`], and one that finds nothing in the queue takes over the last of it ([`Mates`]).

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::answer::{all_that_go_well, answer, failed, Terms};
use super::crew::{Mates, Plan};
use super::driver::Driver;
use super::stop::Stop;
use super::together::{self, Spare};
use super::{fit, Served};
use crate::device::nanoseconds;
use crate::error::{Error, Result};
use crate::request::{done, Failure, Outcome};
use crate::sys::ioctl::Call;
use crate::sys::{Arena, Seat};
use crate::{abi, Backend};

/// How long to wait for requests at most where a signal may not end the wait: only so that a stop is
/// seen. Elsewhere the wait has no end of its own, as a timer costs as much as a request.
const IDLE: Duration = Duration::from_secs(1);
/// The same where others may call for help: such a call is lost when it comes just before the wait.
const ALERT: Duration = Duration::from_millis(250);
/// From a slow backend, completed requests wait for the rest of their batch no longer than this.
const PATIENCE: Duration = Duration::from_micros(500);
/// How long to wait when the kernel was short of memory.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a completion is repeated whose data did not arrive.
const ATTEMPTS: u32 = 3;

pub(super) struct Lane<'a, D, B> {
    driver: &'a D,
    backend: &'a B,
    plan: &'a Plan,
    stop: &'a Stop,
    terms: Terms,
    /// Where the driver places requests' bytes, and from where others may take requests over.
    seat: Seat<'a>,
    /// Who may, and may be helped; nobody unless the backend is slow.
    mates: Option<Mates<'a>>,
    /// The batch that is being served, or was served last.
    batch: Vec<abi::Take>,
    /// Room for the next, of `plan.batch` entries.
    room: Vec<abi::Take>,
    /// Where the requests of the batch are sent, one by one.
    places: Vec<Vec<abi::Extent>>,
    /// Answers that the driver does not have yet; at most `plan.batch`, so it never grows.
    done: Vec<abi::Done>,
    /// Room for transfers that are done together.
    spare: Spare,
    /// When the oldest of them was there, for slow backends.
    waiting_since: Option<Instant>,
    /// The epoch that `terms` and `arena` are right for.
    epoch: u32,
    /// Counts what this thread gets done, for whoever wants to know that it does.
    turns: &'a AtomicU64,
    served: Served,
}

impl<'a, D: Driver, B: Backend> Lane<'a, D, B> {
    /// Allocates everything the loop will need.
    pub(super) fn new(
        driver: &'a D,
        backend: &'a B,
        plan: &'a Plan,
        stop: &'a Stop,
        turns: &'a AtomicU64,
        seat: Seat<'a>,
        mates: Option<Mates<'a>>,
    ) -> Lane<'a, D, B> {
        Lane {
            driver,
            backend,
            plan,
            stop,
            terms: Terms {
                no_data: plan.capabilities.no_data,
                forward: plan.capabilities.forward,
                write_through: plan.write_through,
            },
            seat,
            mates,
            batch: vec![abi::Take::default(); plan.batch],
            room: vec![abi::Take::default(); plan.batch],
            places: match plan.capabilities.forward {
                true => (0..plan.batch).map(|_| Vec::with_capacity(1)).collect(),
                false => vec![Vec::new()],
            },
            done: Vec::with_capacity(plan.batch),
            spare: Spare::default(),
            waiting_since: None,
            epoch: plan.epoch,
            turns,
            served: Served::default(),
        }
    }

    /// Serves until stopped; then nothing is held any more.
    pub(super) fn run(&mut self) -> Result<Served> {
        self.prepare();
        loop {
            let stopping = self.stop.is_stopping();
            if !stopping {
                match self.exchange()? {
                    0 => drop(self.help()?),
                    taken => self.serve(taken)?,
                }
            } else if !self.done.is_empty() {
                self.put()?;
            } else if !self.help()? {
                return Ok(self.served);
            }
        }
    }

    /// Completes what is done and takes the next batch; how many came.
    fn exchange(&mut self) -> Result<usize> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        // Said before looking, so that whoever has work for others from now on sees it.
        let help_wanted = self.mates.as_ref().is_some_and(|mates| {
            mates.lie_down();
            mates.have_work()
        });
        let idle = match self.mates {
            Some(_) => ALERT,
            None => IDLE,
        };
        let timeout_ns = match self.plan.beat {
            _ if help_wanted => 0,
            Some(beat) => nanoseconds(idle.min(beat / 2)),
            None if self.plan.interruptible && self.mates.is_none() => abi::FOREVER,
            None => nanoseconds(idle),
        };
        let reply = self.driver.exchange(Call {
            done: &mut self.done,
            take: &mut self.room,
            arena: self.seat.arena(),
            flags: match self.plan.looks_at_no_data() {
                true => abi::X_NO_DATA,
                false => 0,
            },
            owner: self.plan.owner,
            take_min: 1,
            timeout_ns,
            spin: self.plan.spin,
        });
        self.served.exchanges += 1;
        if let Some(mates) = &self.mates {
            mates.rise();
        }
        let reply = match reply {
            Ok(reply) => reply,
            Err(errno) => return self.retry(errno).map(|()| 0),
        };
        mem::swap(&mut self.batch, &mut self.room);
        // The last batch is in `room` now, and the next in `batch`.
        self.settle(reply.done_failed, |lane, id| find(&lane.room, id));
        if reply.epoch != self.epoch {
            self.refit()?;
        }
        Ok(reply.taken)
    }

    /// Completes what is done without taking anything.
    fn put(&mut self) -> Result<()> {
        loop {
            let reply = self.driver.exchange(Call {
                done: &mut self.done,
                take: &mut [],
                // What waits in it is not to be touched, and nothing is taken.
                arena: None,
                flags: 0,
                owner: self.plan.owner,
                take_min: 0,
                timeout_ns: 0,
                spin: 0,
            });
            self.served.exchanges += 1;
            match reply {
                Ok(reply) => {
                    self.settle(reply.done_failed, |lane, id| find(&lane.batch, id));
                    return Ok(());
                }
                Err(errno) => self.retry(errno)?,
            }
        }
    }

    /// What a failed EXCHANGE leads to: another try, or the end. None of it took effect.
    fn retry(&mut self, errno: Errno) -> Result<()> {
        for done in &mut self.done {
            done.status = 0;
        }
        match errno {
            Errno::EINTR => Ok(()),
            Errno::ENOMEM | Errno::EAGAIN => {
                log::debug!("{}: {errno} in EXCHANGE, trying again", self.driver.label());
                std::thread::sleep(PAUSE);
                Ok(())
            }
            // The disk has larger requests than when the arena was made.
            Errno::EMSGSIZE if self.refit()? => Ok(()),
            _ => Err(self.driver.failure(errno)),
        }
    }

    /// Adapts to the disk as it is now, or finds that the backend does not fit it any more. Whether
    /// the arena grew.
    fn refit(&mut self) -> Result<bool> {
        let status = self.driver.status()?;
        let setup = status
            .setup
            .ok_or_else(|| self.driver.failure(Errno::ENXIO))?;
        fit::check(&setup, &self.plan.capabilities)
            .map_err(|misfit| fit::error(self.driver.label(), misfit))?;
        self.terms.write_through = setup.write_through;
        self.epoch = status.epoch;
        let bytes = setup.max_bytes as usize;
        let small = self.seat.arena().is_some_and(|arena| arena.len() < bytes);
        let grown = small && self.seat.replace(map(self.driver, bytes)?);
        if grown {
            self.prepare();
        }
        Ok(grown)
    }

    /// Tells the backend where requests lie.
    fn prepare(&mut self) {
        if let Some(arena) = self.seat.arena() {
            self.backend.prepare(arena.all_mut());
        }
    }

    /// Serves the first `taken` requests of the batch, in order.
    fn serve(&mut self, taken: usize) -> Result<()> {
        let taken = taken.min(self.batch.len());
        if self.mates.is_some() {
            self.seat.fill(&self.batch[..taken]);
            return self.serve_desk();
        }
        if self.plan.capabilities.together && !self.terms.forward {
            return self.serve_together(taken);
        }
        if !self.plan.capabilities.slow && !self.terms.forward {
            self.serve_at_once(taken);
            return Ok(());
        }
        for index in 0..taken {
            let take = self.batch[index];
            if self.plan.capabilities.slow {
                self.hand_over_early(take.op)?;
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
            let data = self
                .seat
                .arena()
                .and_then(|arena| arena.slice_mut(take.buffer, take.length as usize));
            let last = self.places.len() - 1;
            let places = &mut self.places[index.min(last)];
            let (done, error) = answer(self.backend, &take, data, places, self.terms);
            self.answered(&take, done, error);
        }
        Ok(())
    }

    /// Serves one after the other for a backend that takes no time: it is looked out for panics once
    /// for as many as go well.
    fn serve_at_once(&mut self, taken: usize) {
        let Lane {
            driver,
            backend,
            terms,
            seat,
            batch,
            done,
            turns,
            served,
            ..
        } = self;
        let (backend, batch) = (*backend, batch.get(..taken).unwrap_or_default());
        let mut arena = seat.arena();
        let mut next = 0;
        while next < batch.len() {
            let went = all_that_go_well(
                backend,
                batch,
                &mut next,
                arena.as_deref_mut(),
                *terms,
                done,
                turns,
            );
            // It ended with the one at `next`, or behind the last.
            if let (Err(error), Some(take)) = (went, batch.get(next)) {
                done.push(failed(take, &error));
                report(served, *driver, take, &error);
                next += 1;
            }
        }
    }

    /// Serves reads and writes together, and then one by one what else there is.
    fn serve_together(&mut self, taken: usize) -> Result<()> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let batch = self.batch.get(..taken).unwrap_or_default();
        if let Some(arena) = self.seat.arena() {
            let tell = |take: &abi::Take, done: abi::Done, error: Option<io::Error>| {
                if let Some(error) = error {
                    report(&mut self.served, self.driver, take, &error);
                }
                self.done.push(done);
            };
            let (backend, terms) = (self.backend, self.terms);
            together::serve(backend, batch, arena, terms, &mut self.spare, tell);
        }
        for index in 0..taken {
            let take = self.batch[index];
            if !together::moves_bytes(&take) {
                self.turns.fetch_add(1, Ordering::Relaxed);
                let nowhere = &mut Vec::new();
                let (done, error) = answer(self.backend, &take, None, nowhere, self.terms);
                self.answered(&take, done, error);
            }
        }
        Ok(())
    }

    /// Serves what lies on the desk, in order, unless somebody takes it over.
    fn serve_desk(&mut self) -> Result<()> {
        while let Some(op) = self.seat.peek() {
            self.hand_over_early(op)?;
            let Some((take, data)) = self.seat.next() else {
                break;
            };
            if let Some(mates) = &self.mates {
                mates.call();
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
            let nowhere = &mut Vec::new();
            let (done, error) = answer(self.backend, &take, data, nowhere, self.terms);
            self.answered(&take, done, error);
        }
        Ok(())
    }

    /// Takes one request over that another thread has not begun; whether there was any.
    fn help(&mut self) -> Result<bool> {
        // The answers to reads lie where its bytes would go.
        let Some(mates) = self.mates.as_ref().filter(|_| self.done.is_empty()) else {
            return Ok(false);
        };
        let Some(take) = mates.others().find_map(|desk| self.seat.relieve(desk)) else {
            return Ok(false);
        };
        // Where it is looked for if its answer is refused.
        if let Some(first) = self.batch.first_mut() {
            *first = take;
        }
        self.served.helped += 1;
        self.serve_desk()?;
        Ok(true)
    }

    fn answered(&mut self, take: &abi::Take, done: abi::Done, error: Option<io::Error>) {
        if let Some(error) = error {
            report(&mut self.served, self.driver, take, &error);
        }
        self.done.push(done);
    }

    /// Completes what is done when the next request may take long, or the last ones did.
    fn hand_over_early(&mut self, next: u16) -> Result<()> {
        if self.done.is_empty() {
            self.waiting_since = None;
            return Ok(());
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if next == abi::OP_FLUSH || since.elapsed() > PATIENCE {
            self.put()?;
            self.waiting_since = None;
        }
        Ok(())
    }

    /// Looks at the answers the driver refused and forgets all of them.
    fn settle(&mut self, refused: u32, find: impl Fn(&Self, u64) -> Option<abi::Take>) {
        self.served.completed += self.done.len() as u64;
        if refused > 0 {
            for index in 0..self.done.len() {
                let entry = self.done[index];
                match entry.status {
                    0 => {}
                    status => {
                        let take = find(self, entry.id);
                        self.refused(entry, take, Errno::from_raw(-status));
                    }
                }
            }
        }
        self.done.clear();
    }

    /// One answer the driver refused.
    fn refused(&mut self, entry: abi::Done, take: Option<abi::Take>, errno: Errno) {
        self.served.completed -= 1;
        match errno {
            Errno::ESTALE | Errno::ENOENT => {
                self.served.stale += 1;
                log::debug!(
                    "{}: request {:#x} was finished by somebody else ({errno})",
                    self.driver.label(),
                    entry.id
                );
            }
            _ => self.put_again(entry, take, errno),
        }
    }

    /// Repeats an answer that did not arrive, a few times, and then gives an error for an answer: a
    /// request must not stay behind. A read's data are got again, into memory of their own: those
    /// in the arena may be overwritten by now, or be what could not be copied.
    #[cold]
    fn put_again(&mut self, entry: abi::Done, take: Option<abi::Take>, mut errno: Errno) {
        let failed = done(entry.id, Outcome::Failed(Failure::Io));
        let forward = entry.flags & abi::DONE_FORWARD != 0;
        if forward {
            self.report_refused(take, errno);
        }
        for attempt in 0..=ATTEMPTS {
            // Of a place that will not do there is no second opinion, but of memory.
            let short = matches!(errno, Errno::ENOMEM | Errno::EAGAIN);
            let hopeless = errno == Errno::EINVAL || attempt == ATTEMPTS || forward && !short;
            let mut arena = None;
            let again = match take {
                _ if hopeless => failed,
                _ if forward => {
                    std::thread::sleep(PAUSE);
                    abi::Done { status: 0, ..entry }
                }
                Some(take) if entry.length > 0 => self.read_again(take, &mut arena),
                _ => abi::Done { status: 0, ..entry },
            };
            errno = match self.put_one(again, arena.as_mut()) {
                Ok(()) => {
                    self.served.completed += 1;
                    self.served.failed += u64::from(again.result != abi::OK);
                    return;
                }
                Err(Errno::ESTALE | Errno::ENOENT) => {
                    self.served.stale += 1;
                    return;
                }
                Err(errno) if hopeless => {
                    log::error!(
                        "{}: request {:#x} could not be answered ({errno}); it stays taken until it \
                         is offered again",
                        self.driver.label(),
                        entry.id
                    );
                    return;
                }
                Err(errno) => errno,
            };
        }
    }

    /// The answer to a read, in a new arena.
    fn read_again(&self, take: abi::Take, arena: &mut Option<Arena>) -> abi::Done {
        let failed = done(take.id, Outcome::Failed(Failure::Io));
        let Ok(fresh) = Arena::new(take.length as usize) else {
            return failed;
        };
        let take = abi::Take {
            buffer: fresh.address(),
            ..take
        };
        let data = arena
            .insert(fresh)
            .slice_mut(take.buffer, take.length as usize);
        answer(self.backend, &take, data, &mut Vec::new(), self.terms).0
    }

    /// Logs that the driver does not move a request's data to where the backend said; as seldom.
    #[cold]
    fn report_refused(&mut self, take: Option<abi::Take>, errno: Errno) {
        let why = match errno {
            Errno::ELOOP => "the file is the disk itself, or lies on it",
            Errno::ERANGE => "the file ends before it",
            Errno::EBADF => "the file is not open, or not open for that, or open for appending",
            Errno::EOPNOTSUPP => "only regular files and block devices can do that",
            Errno::EINVAL => "the places do not add up to its length",
            _ => "it was refused",
        };
        let error = io::Error::other(format!("not forwarded, {why} ({errno})"));
        if let Some(take) = take {
            report(&mut self.served, self.driver, &take, &error);
            // It counts when it is answered.
            self.served.failed -= 1;
        }
    }

    fn put_one(&self, entry: abi::Done, mut arena: Option<&mut Arena>) -> nix::Result<()> {
        let mut entry = [entry];
        loop {
            let reply = self.driver.exchange(Call {
                done: &mut entry,
                take: &mut [],
                arena: arena.as_deref_mut(),
                flags: 0,
                owner: self.plan.owner,
                take_min: 0,
                timeout_ns: 0,
                spin: 0,
            });
            return match reply {
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(errno),
                Ok(_) if entry[0].status < 0 => Err(Errno::from_raw(-entry[0].status)),
                Ok(_) => Ok(()),
            };
        }
    }
}

/// Logs a backend's error; the more there are the more seldom, since the log may be on the very disk
/// that fails.
#[cold]
fn report<D: Driver>(served: &mut Served, driver: &D, take: &abi::Take, error: &io::Error) {
    served.failed += 1;
    if served.failed.is_power_of_two() {
        log::warn!(
            "{}: {} of {} bytes at sector {} failed: {error} (error {} of this thread)",
            driver.label(),
            crate::Operation::from_abi(take.op).map_or("an unknown operation", |op| op.name()),
            take.length,
            take.sector,
            served.failed
        );
    }
}

pub(super) fn map<D: Driver>(driver: &D, bytes: usize) -> Result<Arena> {
    Arena::new(bytes).map_err(|error| {
        Error::new(
            driver.label(),
            format!("map {bytes} bytes for requests"),
            error,
        )
    })
}

fn find(batch: &[abi::Take], id: u64) -> Option<abi::Take> {
    batch.iter().find(|take| take.id == id).copied()
}
