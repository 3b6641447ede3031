// SPDX-License-Identifier: MIT

//! Jobs that write and read at random, several at once on the same blocks, and write down what they
//! did and saw.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use abuse_register::stamp::{Stamp, CELL};
use abuse_register::{History, Model, Seen, Tag, Time};
use anyhow::{anyhow, ensure, Context, Result};
use nix::fcntl::OFlag;

use super::random::Random;
use super::round::Round;
use crate::kit::wait_until;

/// Most blocks of one operation.
const MOST: u64 = 64;
/// Half of the operations begin in so many blocks, so that they meet.
const HOT: u64 = 32;
const ALIGN: usize = 4096;
/// Errors and violations that are shown; the others are counted.
const SHOWN: usize = 3;
/// Lines of what happened round a violation.
const LINES: usize = 60;
/// The job that looks at everything at the end.
const SWEEP: u16 = u16::MAX;

/// Jobs at work.
pub struct Clients {
    shared: Arc<Shared>,
    jobs: Vec<JoinHandle<History>>,
}

struct Shared {
    disk: std::path::PathBuf,
    stamp: Stamp,
    block: usize,
    blocks: u64,
    begun: Instant,
    over: AtomicBool,
    operations: AtomicU64,
    /// No operation begins behind so many.
    budget: u64,
    errors: AtomicU64,
    words: Mutex<Vec<String>>,
    /// What each job waits for.
    flights: Vec<Mutex<Option<(Instant, String)>>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Findings {
    /// Operations that were done.
    pub operations: u64,
    /// Those that failed.
    pub errors: u64,
    /// What no disk could have done.
    pub violations: u64,
    /// The first of all these, and what happened round them.
    pub words: Vec<String>,
}

impl Clients {
    /// Starts the jobs of a round, which end when they are told to, or with that many operations.
    pub fn start(round: &Round, jobs: u16, disk: &Path, budget: u64) -> Result<Clients> {
        let shared = Arc::new(Shared {
            disk: disk.to_path_buf(),
            stamp: Stamp::new(round.seed ^ round.number.rotate_left(32)),
            block: usize::try_from(round.block)?,
            blocks: Round::BYTES / round.block,
            begun: Instant::now(),
            over: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            budget,
            errors: AtomicU64::new(0),
            words: Mutex::default(),
            flights: (0..jobs).map(|_| Mutex::default()).collect(),
        });
        let start = |number| {
            let mut job = Job::new(number, shared.clone(), round.job(number))?;
            Ok(std::thread::spawn(move || {
                job.run();
                job.history
            }))
        };
        Ok(Clients {
            jobs: (0..jobs).map(start).collect::<Result<_>>()?,
            shared,
        })
    }

    /// Whether all have ended, or something is wrong.
    pub fn are_over(&self) -> bool {
        self.shared.errors.load(Relaxed) > 0 || self.jobs.iter().all(JoinHandle::is_finished)
    }

    /// Ends them, looks at everything there is once more, and judges. Somebody must serve the disk.
    pub fn finish(self, patience: Duration) -> Result<Findings> {
        let shared = self.shared;
        shared.over.store(true, Relaxed);
        let jobs = &self.jobs;
        wait_until("all operations to end", patience, || {
            jobs.iter().all(JoinHandle::is_finished)
        })
        .with_context(|| shared.waiting())?;
        let mut history = History::new(shared.block / CELL);
        for job in self.jobs {
            history.append(job.join().map_err(|_| anyhow!("a job panicked"))?);
        }
        let mut sweep = Job::new(SWEEP, shared.clone(), Random::new(0, &[]))?;
        sweep.look_at_everything();
        history.append(sweep.history);
        ensure!(!history.is_empty(), "the jobs did nothing");

        let mut words = std::mem::take(&mut *shared.words());
        let violations = history.check(Model::REDELIVERED).err().unwrap_or_default();
        for violation in violations.iter().take(SHOWN) {
            words.push(violation.to_string());
            let lines = history.around(violation.block, violation.from, violation.to);
            words.push(format!(
                "    what happened on block {} then:",
                violation.block
            ));
            words.extend(lines.iter().take(LINES).map(|line| format!("    {line}")));
            if lines.len() > LINES {
                words.push(format!("    and {} more", lines.len() - LINES));
            }
        }
        Ok(Findings {
            operations: shared.operations.load(Relaxed).min(shared.budget),
            errors: shared.errors.load(Relaxed),
            violations: violations.len() as u64,
            words,
        })
    }
}

impl Shared {
    fn now(&self) -> Time {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(Time::MAX)
    }

    fn words(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &str, error: &io::Error) {
        self.errors.fetch_add(1, Relaxed);
        let mut words = self.words();
        if words.len() < SHOWN {
            words.push(format!("{what} failed: {error}"));
        }
    }

    /// What has not ended.
    fn waiting(&self) -> String {
        let mut words = Vec::new();
        for (job, flight) in self.flights.iter().enumerate() {
            let flight = flight.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, what)) = &*flight {
                let seconds = since.elapsed().as_secs_f32();
                words.push(format!("job {job} has waited {seconds:.1} s for {what}"));
            }
        }
        words.join("; ")
    }
}

/// What one operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Write,
    WriteDurably,
    Read,
    Flush,
}

struct Job {
    number: u16,
    sequence: u64,
    shared: Arc<Shared>,
    random: Random,
    file: File,
    durable: File,
    buffer: Vec<u8>,
    history: History,
}

impl Job {
    fn new(number: u16, shared: Arc<Shared>, random: Random) -> Result<Job> {
        let open = |flags: OFlag| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags((OFlag::O_DIRECT | flags).bits())
                .open(&shared.disk)
                .with_context(|| shared.disk.display().to_string())
        };
        Ok(Job {
            number,
            sequence: 0,
            random,
            file: open(OFlag::empty())?,
            durable: open(OFlag::O_DSYNC)?,
            buffer: vec![0; MOST as usize * shared.block + ALIGN],
            history: History::new(shared.block / CELL),
            shared,
        })
    }

    fn run(&mut self) {
        while !self.shared.over.load(Relaxed)
            && self.shared.errors.load(Relaxed) == 0
            && self.shared.operations.fetch_add(1, Relaxed) < self.shared.budget
        {
            let (deed, first, count) = self.draw();
            self.act(deed, first, count);
        }
    }

    /// A function of the stream alone, whatever came of earlier operations.
    fn draw(&mut self) -> (Deed, u64, u64) {
        let random = &mut self.random;
        let deed = match random.below(100) {
            0..45 => Deed::Write,
            45..50 => Deed::WriteDurably,
            50..97 => Deed::Read,
            _ => Deed::Flush,
        };
        let count = match random.below(100) {
            0..50 => 1,
            50..80 => random.within(2..=4),
            80..95 => random.within(5..=16),
            _ => random.within(17..=MOST),
        };
        let hot = random.percent(50);
        let range = if hot { HOT } else { self.shared.blocks };
        let first = random.below(range).min(self.shared.blocks - count);
        (deed, first, count)
    }

    fn look_at_everything(&mut self) {
        let mut first = 0;
        while first < self.shared.blocks {
            let count = MOST.min(self.shared.blocks - first);
            self.act(Deed::Read, first, count);
            first += count;
        }
    }

    fn act(&mut self, deed: Deed, first: u64, count: u64) {
        self.sequence += 1;
        let who = Tag::new(self.number, self.sequence);
        let what = format!("{deed:?} {who} of {count} blocks from {first} on");
        let shared = self.shared.clone();
        let flight = shared.flights.get(usize::from(self.number));
        let note = |text: Option<(Instant, String)>| {
            if let Some(flight) = flight {
                *flight.lock().unwrap_or_else(PoisonError::into_inner) = text;
            }
        };
        let offset = first * shared.block as u64;
        let align = self.buffer.as_ptr().align_offset(ALIGN);
        let bytes = &mut self.buffer[align..][..count as usize * shared.block];
        let blocks = bytes.chunks_exact_mut(shared.block).zip(first..);
        match deed {
            Deed::Write | Deed::WriteDurably => {
                for (bytes, block) in blocks {
                    shared.stamp.write(block, who.value(), bytes);
                }
            }
            // What was there before must not be taken for what was read.
            Deed::Read => bytes.fill(0xee),
            Deed::Flush => {}
        }
        note(Some((Instant::now(), what.clone())));
        let start = shared.now();
        let result = match deed {
            Deed::Write => self.file.write_all_at(bytes, offset),
            Deed::WriteDurably => self.durable.write_all_at(bytes, offset),
            Deed::Read => self.file.read_exact_at(bytes, offset),
            Deed::Flush => self.file.sync_data(),
        };
        let end = shared.now();
        note(None);
        match (deed, &result) {
            (Deed::Write | Deed::WriteDurably, result) => {
                let end = result.is_ok().then_some(end);
                self.history.write(who, first..first + count, start, end);
            }
            (Deed::Read, Ok(())) => {
                let seen: Vec<Seen> = bytes
                    .chunks_exact(shared.block)
                    .zip(first..)
                    .map(|(bytes, block)| shared.stamp.read(block, bytes))
                    .collect();
                self.history.read(who, first, start, end, seen);
            }
            _ => {}
        }
        if let Err(error) = result {
            shared.failed(&what, &error);
        }
    }
}
