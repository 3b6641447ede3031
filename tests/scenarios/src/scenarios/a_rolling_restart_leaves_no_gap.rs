// SPDX-License-Identifier: MIT

//! Workers are replaced by those of an upgraded program under load that is verified: nothing is offered
//! again, nothing fails, and between two completions there is no longer pause than where a standby is
//! promoted.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use crate::kit::supervisor::{Times, Worker};
use crate::kit::{
    servers_of, Direct, Fio, Guest, Pending, Stalls, Supervise, Supervisor, PATIENCE,
};

const TURNS: usize = 2;
/// Where nobody else writes.
const MINE: u64 = 32 << 20;
/// What a process that is started, and one that leaves, take of two processors from those who serve.
const BESIDE: Duration = Duration::from_millis(200);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let program = guest.install("abusectl")?.display().to_string();
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 1, "")
        .command(&[&program, "server", "{ctl}", "--backend", &backend])
        .standby(1)
        .start()?;
    supervisor.wait_whole()?;
    let job = [
        "rw=randwrite",
        "bs=4k",
        "iodepth=4",
        "size=16M",
        "time_based",
    ];
    let job = [&job[..], &["runtime=600", "verify_backlog=64"]].concat();
    let mut load = Fio::on(guest, disk.path(), &job).verify().start()?;
    disk.wait_status("requests under way", |status| status.taken > 0)?;
    let watch = Watch::start(&disk.path())?;

    let mut promoted = Vec::new();
    for _ in 0..guest.times(TURNS) {
        supervisor.wait_whole()?;
        let begun = Instant::now();
        supervisor.shoot(&supervisor.workers()[0])?;
        promoted.push(watch.longest(begun));
    }
    supervisor.wait_whole()?;
    let requeued = requeues(&supervisor)?;
    let mut rolled = Vec::new();
    for _ in 0..guest.times(TURNS) {
        let before: BTreeSet<u32> = servers_of(&disk);
        guest.install("abusectl")?;
        let begun = Instant::now();
        supervisor.restart()?;
        rolled.push(watch.longest(begun));
        supervisor.wait_whole()?;
        let now = servers_of(&disk);
        ensure!(before.is_disjoint(&now), "{before:?} became {now:?}");
        for worker in [supervisor.workers(), supervisor.standbys()].concat() {
            runs(&worker, &program)?;
        }
    }
    ensure!(
        requeues(&supervisor)? == requeued,
        "a request of a worker that left was offered again"
    );
    ensure!(load.process.is_running()?, "the load ended");
    load.process.signal(nix::sys::signal::Signal::SIGINT)?;
    let report = load.report()?;
    ensure!(report.errors == 0 && report.reads > 0, "{report:?}");
    watch.end()?;

    let (promoted, rolled) = (Times::of(promoted), Times::of(rolled));
    guest.figure(format!(
        "longest pauses: a standby is promoted, {promoted}; all are replaced, {rolled}"
    ));
    let limit = promoted.percentile(100) + BESIDE;
    rolled.keep_within("a rolling restart", [limit; 3])?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    Ok(())
}

fn requeues(supervisor: &Supervisor<'_>) -> Result<u64> {
    let status = supervisor.disk().status()?;
    Ok(status.ops.iter().map(|counts| counts.requeued).sum())
}

/// It runs the program that lies there now, and not the one that was there before.
fn runs(worker: &Worker, program: &str) -> Result<()> {
    let (is, should) = (
        fs::metadata(format!("/proc/{}/exe", worker.pid))?,
        fs::metadata(program)?,
    );
    ensure!(is.ino() == should.ino(), "{worker:?} runs another program");
    Ok(())
}

/// Somebody who writes one block after the other, and notes when each was completed.
struct Watch {
    completions: Arc<Mutex<Vec<Instant>>>,
    over: Arc<AtomicBool>,
    writer: Pending<std::io::Result<()>>,
    stalls: Stalls,
}

impl Watch {
    fn start(disk: &std::path::Path) -> Result<Watch> {
        let file = Direct::open(disk)?;
        let completions = Arc::new(Mutex::new(vec![Instant::now()]));
        let over = Arc::new(AtomicBool::new(false));
        let writer = {
            let (completions, over) = (completions.clone(), over.clone());
            Pending::start("the writer", move || {
                while !over.load(Ordering::Relaxed) {
                    file.write(MINE, &[1; 4096])?;
                    let mut all = completions.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Instant::now());
                }
                Ok(())
            })
        };
        Ok(Watch {
            completions,
            over,
            writer,
            stalls: Stalls::watch()?,
        })
    }

    /// The longest time without a completion since then that the guest had.
    fn longest(&self, since: Instant) -> Duration {
        let all = self.completions.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        let pauses = all.windows(2).filter(|pair| pair[1] > since);
        let had = pauses.map(|pair| self.stalls.had(pair[0].max(since), pair[1]));
        had.max().unwrap_or_default()
    }

    fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        Ok(self.writer.finish(PATIENCE)??)
    }
}
