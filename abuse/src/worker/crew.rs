// SPDX-License-Identifier: MIT

//! The threads of a worker: made, released together, woken to stop, and gathered.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::CpuSet;

use super::driver::Driver;
use super::lane::{map, Lane};
use super::place;
use super::stop::Stop;
use super::Served;
use crate::error::{Error, Result};
use crate::standby::Standby;
use crate::sys::{self, Desk};
use crate::{Backend, Capabilities, Setup};

/// Requests taken at once, by default: from fast backends, and from slow ones.
const BATCH: usize = 64;
const SLOW_BATCH: usize = 8;
/// Most requests taken at once.
const MOST: usize = 1024;
/// Room in the arena for each request of a full batch. A batch of larger ones is shorter.
const SMALL_REQUEST: usize = 32 << 10;
/// Of a thread's stack. All of it is locked in memory, so it is not generous.
const STACK: usize = 1 << 20;

/// How a worker serves: what was asked for, made to fit backend and disk. The same for all threads.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) threads: usize,
    pub(super) batch: usize,
    pub(super) owner: u64,
    pub(super) spin: u32,
    pub(super) batch_scheduling: bool,
    pub(super) capabilities: Capabilities,
    pub(super) max_bytes: usize,
    pub(super) write_through: bool,
    pub(super) epoch: u32,
    /// Whether a signal ends a thread's wait for requests, so that it may last for ever.
    pub(super) interruptible: bool,
    /// How often somebody is told that the threads get on.
    pub(super) beat: Option<Duration>,
    /// Where the threads are to run; empty: anywhere.
    pub(super) places: Vec<CpuSet>,
}

/// What a worker tells others, and waits for.
#[derive(Default)]
pub(super) struct Calls {
    /// When everything is prepared.
    pub(super) ready: Option<Box<dyn FnOnce() + Send>>,
    /// After that, before requests are taken.
    pub(super) standby: Option<Standby>,
    /// As long as every thread gets on.
    pub(super) beat: Option<Box<dyn FnMut() + Send>>,
}

/// What is known of one thread.
struct Mate {
    /// Its kernel id, 0 before it runs.
    id: AtomicI32,
    /// What it got done.
    turns: AtomicU64,
    /// What it took and has not begun.
    desk: Desk,
    /// It sleeps until the driver has something, or is about to, and will look around before.
    asleep: AtomicBool,
}

/// The threads of a worker that help each other, as one of them sees them.
pub(super) struct Mates<'a> {
    all: &'a [Mate],
    own: usize,
    /// Whether a signal ends somebody's sleep.
    wakes: bool,
}

impl<'a> Mates<'a> {
    /// The desks of the others, the next one's first, so that not all of them go to the same.
    pub(super) fn others(&self) -> impl Iterator<Item = &'a Desk> {
        self.others_all().map(|mate| &mate.desk)
    }

    fn others_all(&self) -> impl Iterator<Item = &'a Mate> {
        let (before, rest) = self.all.split_at(self.own.min(self.all.len()));
        rest.iter().skip(1).chain(before)
    }

    /// Whether one of the others has something that it has not begun.
    pub(super) fn have_work(&self) -> bool {
        self.others().any(|desk| desk.waiting() > 0)
    }

    /// This thread is about to sleep.
    pub(super) fn lie_down(&self) {
        self.note(true);
    }

    /// It is awake.
    pub(super) fn rise(&self) {
        self.note(false);
    }

    fn note(&self, asleep: bool) {
        if let Some(own) = self.all.get(self.own) {
            own.asleep.store(asleep, Ordering::SeqCst);
        }
    }

    /// Wakes one that sleeps, if this thread has more than it can begin now.
    pub(super) fn call(&self) {
        let more = self
            .all
            .get(self.own)
            .is_some_and(|own| own.desk.waiting() > 0);
        if !more || !self.wakes {
            return;
        }
        let asleep = |mate: &&Mate| mate.asleep.swap(false, Ordering::SeqCst);
        if let Some(mate) = self.others_all().find(asleep) {
            sys::thread::wake(mate.id.load(Ordering::Acquire));
        }
    }
}

impl Plan {
    pub(super) fn new(capabilities: &Capabilities, setup: &Setup, epoch: u32) -> Plan {
        Plan {
            threads: 1,
            batch: if capabilities.slow { SLOW_BATCH } else { BATCH },
            owner: 0,
            spin: 0,
            batch_scheduling: false,
            capabilities: capabilities.clone(),
            max_bytes: setup.max_bytes as usize,
            write_through: setup.write_through,
            epoch,
            beat: None,
            places: Vec::new(),
            interruptible: false,
        }
    }

    pub(super) fn threads(mut self, threads: usize) -> Plan {
        self.threads = threads.max(1);
        self
    }

    pub(super) fn places(mut self, places: Vec<CpuSet>) -> Plan {
        self.places = places;
        self
    }

    pub(super) fn batch(mut self, batch: Option<usize>) -> Plan {
        self.batch = batch.unwrap_or(self.batch).clamp(1, MOST);
        self
    }

    pub(super) fn owner(mut self, owner: u64) -> Plan {
        self.owner = owner;
        self
    }

    pub(super) fn spin(mut self, spin: u32) -> Plan {
        self.spin = spin;
        self
    }

    pub(super) fn batch_scheduling(mut self, batch_scheduling: bool) -> Plan {
        self.batch_scheduling = batch_scheduling;
        self
    }

    pub(super) fn beat(mut self, beat: Option<Duration>) -> Plan {
        self.beat = beat;
        self
    }

    /// Whether what one thread has taken and not begun may be begun by another: worth its while only
    /// where a request takes long, and the driver does nothing of it.
    fn help_each_other(&self) -> bool {
        self.threads > 1 && self.capabilities.slow && !self.capabilities.forward
    }

    /// Whether no thread needs requests' bytes.
    pub(super) fn looks_at_no_data(&self) -> bool {
        self.capabilities.no_data || self.capabilities.forward
    }

    /// Bytes of each thread's arena.
    pub(super) fn arena_bytes(&self) -> usize {
        self.max_bytes.max(self.batch * SMALL_REQUEST)
    }
}

/// Serves until stopped or until a thread fails; the first failure is the result.
pub(super) fn serve<D: Driver, B: Backend>(
    driver: &D,
    backend: &B,
    plan: &Plan,
    stop: &Stop,
    calls: Calls,
) -> Result<Served> {
    let fail = |error| Error::new(driver.label(), "start a thread", error);
    let plan = &Plan {
        interruptible: sys::thread::wake_interrupts(),
        ..plan.clone()
    };
    // All memory first: what is short shows before anybody is told that this worker is ready.
    let mate = || -> Result<Mate> {
        let arena = match plan.looks_at_no_data() {
            true => None,
            false => Some(map(driver, plan.arena_bytes())?),
        };
        Ok(Mate {
            id: AtomicI32::new(0),
            turns: AtomicU64::new(0),
            desk: Desk::new(arena, plan.batch),
            asleep: AtomicBool::new(false),
        })
    };
    let mates = (0..plan.threads)
        .map(|_| mate())
        .collect::<Result<Vec<_>>>()?;
    let seated = mates.iter().enumerate().filter_map(|(own, mate)| {
        let around = plan.help_each_other().then_some(Mates {
            all: &mates,
            own,
            wakes: plan.interruptible,
        });
        let seat = mate.desk.sit()?;
        Some(Lane::new(
            driver,
            backend,
            plan,
            stop,
            &mate.turns,
            seat,
            around,
        ))
    });
    let lanes: Vec<_> = seated.collect();
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(lanes.len());
        for (index, (mut lane, own)) in lanes.into_iter().zip(&mates).enumerate() {
            let running = stop.enter();
            let thread = thread::Builder::new()
                .name("abuse-worker".into())
                .stack_size(STACK)
                .spawn_scoped(scope, move || {
                    // Counted out last, whatever happens in here.
                    let _running = running;
                    prepare(&own.id, plan, index);
                    stop.wait_open();
                    wait_alone(driver, plan, stop)?;
                    lane.run()
                });
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // The threads made so far see it and leave; the scope waits for them.
                    stop.stop();
                    return Err(fail(error));
                }
            }
        }
        let unready = StopUnready(stop);
        if let Some(ready) = calls.ready {
            ready();
        }
        std::mem::forget(unready);
        match calls.standby {
            Some(standby) => stop.open_by(standby),
            None => stop.open(),
        }
        let wake = || {
            for own in &mates {
                match own.id.load(Ordering::Acquire) {
                    0 => {}
                    id => sys::thread::wake(id),
                }
            }
        };
        let beat = calls.beat.zip(plan.beat).map(|(mut tell, every)| {
            let mut seen = vec![0; mates.len()];
            let mates = &mates;
            let beat = move || {
                if get_on(mates, &mut seen) || !stop.is_open() {
                    tell();
                }
            };
            (every, beat)
        });
        stop.wait_left(wake, beat);
        let mut total = Served::default();
        let mut result = Ok(());
        for thread in threads {
            match thread.join() {
                Ok(Ok(served)) => total += served,
                Ok(Err(error)) => result = result.and(Err(error)),
                Err(_) => {
                    let reason = "a thread panicked; what it held will be offered again";
                    let error = Error::refused(driver.label(), "serve", reason);
                    result = result.and(Err(error));
                }
            }
        }
        result.map(|()| total)
    })
}

/// Whether every thread got something done since it was last asked.
fn get_on(mates: &[Mate], seen: &mut [u64]) -> bool {
    let mut all = true;
    for (own, seen) in mates.iter().zip(seen) {
        let turns = own.turns.load(Ordering::Relaxed);
        all &= turns != *seen;
        *seen = turns;
    }
    all
}

/// How often a standby that has to serve alone looks whether the other one has left.
const LOOK: Duration = Duration::from_millis(1);

/// A backend that serves alone does so from the moment in which nobody else does: the standby of
/// one is promoted before the worker that it replaces has left.
fn wait_alone<D: Driver>(driver: &D, plan: &Plan, stop: &Stop) -> Result<()> {
    while plan.capabilities.alone && !stop.is_stopping() && driver.status()?.workers > 0 {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Sends the threads home when what they wait for panics: the scope waits for them.
struct StopUnready<'a>(&'a Stop);

impl Drop for StopUnready<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What a thread sets for itself. None of it is worth failing for.
fn prepare(id: &AtomicI32, plan: &Plan, index: usize) {
    id.store(sys::thread::id(), Ordering::Release);
    let mut wake = nix::sys::signal::SigSet::empty();
    wake.add(sys::thread::WAKE);
    if let Err(errno) = wake.thread_unblock() {
        log::debug!("stopping may take a second: {errno}");
    }
    if plan.batch_scheduling {
        if let Err(errno) = sys::thread::batch_scheduling() {
            log::debug!("a worker thread keeps its scheduling policy: {errno}");
        }
    }
    match plan.places.get(index).map(place::keep_to) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => {
            log::warn!("thread {index} is not pinned: it may run on no such processor")
        }
        Some(Err(errno)) => log::warn!("thread {index} is not pinned: {errno}"),
    }
}
