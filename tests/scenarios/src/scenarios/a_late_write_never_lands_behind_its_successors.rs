// SPDX-License-Identifier: MIT

//! A worker stands still between taking writes and doing them, and is made to try: it runs again for a
//! moment while it is being killed. What its successor wrote, and what was written after that, stays,
//! for every backend there is and with several threads, by io_uring too. Where the operator says that the
//! backend fences old writers, and it does not, the same look finds their late writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use abuse::{Operation, Selection};
use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::command::{send, state_of, stop};
use crate::kit::wait::wait_closely;
use crate::kit::{wait_for, Direct, Disk, Guest, Pending, Supervise, PATIENCE};

const PIECES: u64 = 16;
const PIECE: usize = 256 << 10;
/// Not side by side, so that they stay requests of their own.
const STRIDE: u64 = 512 << 10;
const ROUNDS: usize = 2;
/// So often a worker is stopped too late, or too early.
const TRIES: usize = 100;
const KEYS: &str = "size=8M,max_bytes=256K";
const THREADS: [&str; 4] = ["--threads", "4", "--batch", "8"];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let backing = guest.file("backing");
    let file = |options: &str| format!("file:{},create{options}", backing.display());
    let memory = PathBuf::from("/dev/shm/abuse-late");
    let mut caught = 0;
    for (backend, store) in [
        (file(""), &backing),
        (file(",buffered"), &backing),
        (file(",io_uring"), &backing),
        ("ram:late".to_string(), &memory),
    ] {
        caught += is_fenced(guest, &backend, store).context(backend)?;
    }
    is_found(guest, &file(""), &backing).context("without a fence")?;
    guest.figure(format!("{caught} writes were taken and not done"));
    Ok(())
}

/// Kills one worker after the other so; how many writes it had taken and not done.
fn is_fenced(guest: &Guest, backend: &str, store: &Path) -> Result<usize> {
    let disk = guest.disk(KEYS)?;
    let command = ["abusectl", "server", "{ctl}", "--backend", backend];
    let supervisor = Supervise::new(guest, &disk, 1, backend)
        .command(&[&command[..], &THREADS[..]].concat())
        .standby(1)
        .start()?;
    let mut writers = Writers::new(&disk, store)?;
    let mut all = 0;
    for round in 0..guest.times(ROUNDS) {
        supervisor.wait_whole()?;
        let victim = supervisor.workers()[0];
        let (count, burst) = writers.catch(victim.pid)?;
        all += count;
        // It goes on where it stood, for as long as it takes to kill it.
        send(victim.pid, Signal::SIGCONT)?;
        std::thread::sleep(Duration::from_micros(500) * (round as u32 % 4));
        send(victim.pid, Signal::SIGKILL)?;
        burst.finish()?;
        let state = state_of(victim.pid);
        ensure!(
            state.is_none_or(|state| state == 'Z'),
            "it lives: {state:?}"
        );
        ensure!(writers.late()? == 0, "a late write landed");
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(all)
}

/// The same without anything that could hold a late write back, seen by the same look.
fn is_found(guest: &Guest, backend: &str, store: &Path) -> Result<()> {
    let disk = guest.disk(&format!("{KEYS},fenced_backend"))?;
    let victim = disk.serve_with(backend, &THREADS)?;
    let mut writers = Writers::new(&disk, store)?;
    let (_, burst) = writers.catch(victim.pid())?;
    let _other = disk.serve_with(backend, &THREADS)?;
    disk.device().requeue(&Selection::pid(victim.pid()))?;
    burst.finish()?;
    ensure!(writers.late()? == 0, "it stands still");
    victim.resume()?;
    wait_for("its late writes", PATIENCE, || {
        Ok((writers.late()? > 0).then_some(()))
    })
}

/// Those who write, and where it should be found.
struct Writers<'a> {
    disk: &'a Disk<'a>,
    file: Direct,
    store: File,
    last: u8,
}

impl<'a> Writers<'a> {
    fn new(disk: &'a Disk<'a>, store: &Path) -> Result<Writers<'a>> {
        Ok(Writers {
            disk,
            file: Direct::open(disk.path())?,
            store: File::open(store).with_context(|| store.display().to_string())?,
            last: 0,
        })
    }

    /// Has the worker stand still with all writes of a burst taken and not all of them done; how many
    /// are not.
    fn catch(&mut self, worker: u32) -> Result<(usize, Burst)> {
        for _ in 0..TRIES {
            let before = self.disk.counts(Operation::Write)?.queued;
            let old = self.last;
            self.last = self.last % 250 + 2;
            let burst = Burst::start(&self.file, self.last);
            let pause = Duration::from_micros(200);
            wait_closely("all writes to be taken", PATIENCE, pause, || {
                let status = self.disk.status()?;
                let all = status.counts(Operation::Write).queued == before + PIECES;
                Ok((all && status.queued == 0).then_some(()))
            })?;
            stop(worker)?;
            let left = self.pieces()?.iter().filter(|&&byte| byte == old).count();
            if left > 0 {
                return Ok((left, burst));
            }
            send(worker, Signal::SIGCONT)?;
            burst.finish()?;
        }
        anyhow::bail!("of {TRIES} times it never stood still in the middle of writes")
    }

    /// Pieces that are not what was written last.
    fn late(&self) -> Result<usize> {
        let pieces = self.pieces()?;
        Ok(pieces.iter().filter(|&&byte| byte != self.last).count())
    }

    /// The last byte of each piece, which is written last.
    fn pieces(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for piece in 0..PIECES {
            let mut byte = [0];
            let end = piece * STRIDE + PIECE as u64 - 1;
            self.store.read_exact_at(&mut byte, end)?;
            bytes.push(byte[0]);
        }
        Ok(bytes)
    }
}

/// A write of each piece, and when all are to go on, another one behind each.
struct Burst {
    writes: Vec<Pending<std::io::Result<()>>>,
    go_on: Arc<AtomicBool>,
}

impl Burst {
    /// The second ones write `last`, the first ones what is below it.
    fn start(file: &Direct, last: u8) -> Burst {
        let go_on = Arc::new(AtomicBool::new(false));
        let write = |piece| {
            let (file, go_on) = (file.clone(), go_on.clone());
            Pending::start("a write", move || {
                file.write(piece * STRIDE, &vec![last - 1; PIECE])?;
                while !go_on.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                file.write(piece * STRIDE, &vec![last; PIECE])
            })
        };
        Burst {
            writes: (0..PIECES).map(write).collect(),
            go_on,
        }
    }

    fn finish(self) -> Result<()> {
        self.go_on.store(true, Ordering::Release);
        for write in self.writes {
            write.finish(PATIENCE)??;
        }
        Ok(())
    }
}
