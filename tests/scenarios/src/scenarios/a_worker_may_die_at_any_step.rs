// SPDX-License-Identifier: MIT

//! A worker is killed exactly here, twenty times each: after it has taken a write and a read; in the
//! middle of the copy of a write's data; when the write is in the backing memory; right before it
//! completes it; in the middle of completing a read; after it completed the one and not the other;
//! while somebody reconnects; and while somebody requeues. Another worker finishes what is left, and
//! every read of the disk is one that a disk could have returned.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use abuse::{Device, Operation, Reconnect, Selection};
use abuse_register::stamp::{Stamp, CELL};
use abuse_register::{History, Model, Tag};
use anyhow::{anyhow, ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::wait::Pending;
use crate::kit::{Answer, Direct, Disk, Guest, Held, Process, Puppet, PATIENCE};
use crate::torture::random::Random;

const TIMES: usize = 20;
const BLOCK: usize = 4096;
/// Blocks of a request: more than one, so that a copy has a middle.
const SPAN: u64 = 4;
const BACKING: &str = "/dev/shm/abuse-steps";

/// Where a worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    AfterTaking,
    InTheCopy,
    AfterTheBackendsWrite,
    BeforeCompleting,
    InCompleting,
    AfterCompleting,
    DuringReconnect,
    DuringRequeue,
}

const STEPS: [Step; 8] = [
    Step::AfterTaking,
    Step::InTheCopy,
    Step::AfterTheBackendsWrite,
    Step::BeforeCompleting,
    Step::InCompleting,
    Step::AfterCompleting,
    Step::DuringReconnect,
    Step::DuringRequeue,
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=8M")?;
    let mut stage = Stage {
        file: Direct::open(disk.path())?,
        other: disk.serve("ram:steps")?,
        stamp: Stamp::new(0x57e9),
        begun: Instant::now(),
        sequence: 0,
        history: History::new(BLOCK / CELL),
        random: Random::new(1, &[]),
        disk,
    };
    // In turns, so that each step meets what the others left.
    for turn in 0..guest.times(TIMES) {
        for step in STEPS {
            stage
                .play(step)
                .with_context(|| format!("{step:?}, turn {turn}"))?;
        }
    }
    stage.look(0, stage.disk.setup().bytes / BLOCK as u64)?;
    let status = stage.disk.status()?;
    guest.figure(format!(
        "{} workers killed, {} requests offered again",
        STEPS.len() * guest.times(TIMES),
        status.ops.iter().map(|counts| counts.requeued).sum::<u64>()
    ));
    ensure!(status.errors == 0, "requests failed: {status:?}");
    match stage.history.check(Model::REDELIVERED) {
        Ok(()) => Ok(()),
        Err(violations) => Err(anyhow!("{}", violations[0])),
    }
}

struct Stage<'g> {
    disk: Disk<'g>,
    file: Direct,
    /// Stands still until it is wanted.
    other: Process,
    stamp: Stamp,
    begun: Instant,
    sequence: u64,
    history: History,
    random: Random,
}

impl Stage<'_> {
    /// One write and one read come, a worker takes them and dies, and another one finishes.
    fn play(&mut self, step: Step) -> Result<()> {
        self.other.stop()?;
        let mut victim = self.disk.puppet()?;
        self.sequence += 1;
        let who = Tag::new(1, self.sequence);
        let blocks = self.disk.setup().bytes / BLOCK as u64;
        // Few places, so that what is lost shows.
        let at = self.random.below(8) * SPAN;
        let elsewhere = blocks / 2 + self.random.below(8) * SPAN;
        let mut data = vec![0; SPAN as usize * BLOCK];
        for (bytes, block) in data.chunks_exact_mut(BLOCK).zip(at..) {
            self.stamp.write(block, who.value(), bytes);
        }
        let start = self.now();
        let (file, begun) = (self.file.clone(), self.begun);
        let write = Pending::start("the write", move || {
            file.write(at * BLOCK as u64, &data).map(|()| since(begun))
        });
        self.disk.wait_queued(1)?;
        let length = SPAN as usize * BLOCK;
        let read_start = self.now();
        let read = self.file.start_read(elsewhere * BLOCK as u64, length);
        self.disk.wait_queued(2)?;

        self.kill_at(step, &mut victim)?;
        ensure!(
            self.disk.status()?.taken == 0,
            "what it held is still taken"
        );
        self.other.resume()?;
        let end = write.finish(PATIENCE)??;
        self.history.write(who, at..at + SPAN, start, Some(end));
        let bytes = read.finish(PATIENCE)??;
        self.saw(elsewhere, read_start, &bytes);
        self.look(at, SPAN)
    }

    fn kill_at(&mut self, step: Step, victim: &mut Puppet) -> Result<()> {
        if step == Step::InTheCopy {
            victim.get_stuck_taking()?;
            return victim.kill();
        }
        let held = victim.take(2)?;
        let [write, read] = held[..] else {
            return Err(anyhow!("it took {held:?}"));
        };
        ensure!(
            write.operation == Operation::Write && read.operation == Operation::Read,
            "it took {held:?}"
        );
        let backing = Path::new(BACKING);
        match step {
            Step::AfterTaking | Step::InTheCopy => {}
            Step::AfterTheBackendsWrite => victim.store(&write, backing)?,
            Step::BeforeCompleting => {
                victim.store(&write, backing)?;
                // It stands right before the call when it dies.
                victim.stop()?;
                victim.say_put(&write, Answer::Done)?;
            }
            Step::InCompleting => victim.get_stuck_completing(&read)?,
            Step::AfterCompleting => {
                victim.store(&write, backing)?;
                ensure!(victim.put(&write, Answer::Done)?.is_none(), "refused");
            }
            Step::DuringReconnect => {
                let reconnect = |device: &Device| device.reconnect(&Reconnect::default()).map(drop);
                return self.kill_during(victim, reconnect, &read);
            }
            Step::DuringRequeue => {
                let requeue = |device: &Device| device.requeue(&Selection::all()).map(drop);
                return self.kill_during(victim, requeue, &read);
            }
        }
        victim.kill()
    }

    /// Kills it at some moment while its requests are offered again, over and over.
    fn kill_during(
        &mut self,
        victim: &mut Puppet,
        offer: impl Fn(&Device) -> abuse::Result<()> + Sync,
        read: &Held,
    ) -> Result<()> {
        let pause = Duration::from_micros(self.random.below(2000));
        let (over, device) = (AtomicBool::new(false), self.disk.device());
        thread::scope(|scope| {
            let offering = scope.spawn(|| {
                while !over.load(Relaxed) {
                    match offer(device) {
                        // Only a write of the living is left.
                        Err(error) if error.errno() == Some(Errno::EBUSY as i32) => {}
                        Err(error) => return Err(error),
                        Ok(()) => {}
                    }
                }
                Ok(())
            });
            thread::sleep(pause);
            let killed = victim.kill();
            over.store(true, Relaxed);
            let offered = offering.join().map_err(|_| anyhow!("it panicked"))?;
            offered.with_context(|| format!("offering {read:?} again"))?;
            killed
        })
    }

    fn now(&self) -> u64 {
        since(self.begun)
    }

    /// Reads blocks, and notes what is there.
    fn look(&mut self, first: u64, count: u64) -> Result<()> {
        let start = self.now();
        let offset = first * BLOCK as u64;
        let bytes = self.file.read(offset, count as usize * BLOCK)?;
        self.saw(first, start, &bytes);
        Ok(())
    }

    fn saw(&mut self, first: u64, start: u64, bytes: &[u8]) {
        self.sequence += 1;
        let seen = bytes
            .chunks_exact(BLOCK)
            .zip(first..)
            .map(|(bytes, block)| self.stamp.read(block, bytes))
            .collect();
        let (who, end) = (Tag::new(2, self.sequence), self.now());
        self.history.read(who, first, start, end, seen);
    }
}

fn since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
