// SPDX-License-Identifier: MIT
//! SIGKILL for a random worker at a random moment, and what came of it.

use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use abuse_scenarios::kit::command::send;
use abuse_scenarios::kit::supervisor::Worker;
use anyhow::{bail, Context};
use nix::sys::signal::Signal;

use crate::supervisor::{self, Supervisor};
use crate::watch::Watch;

/// How long a place may stay empty.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one kill did.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Who was shot.
    pub victim: Worker,
    /// Requests under way at that moment, the other worker's included.
    pub under_way: u32,
    /// Requests that it held, and that were offered again.
    pub resumed: u64,
    /// The longest time in which requests waited and none was completed, from the kill until the
    /// place was filled again.
    pub pause: Duration,
    /// From the kill until a new worker was ready in its place.
    pub replaced: Duration,
}

/// A random number below `limit`.
pub fn random(limit: u64) -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("/dev/urandom: cannot read")?;
    Ok(u64::from_ne_bytes(bytes) % limit)
}

/// Waits for a moment at which the disk is busy, for a second at most; `false`: it was idle.
pub fn busy(watch: &Watch) -> bool {
    let begun = Instant::now();
    while watch.sight().pending == 0 {
        if begun.elapsed() > Duration::from_secs(1) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Shoots a worker and waits for its successor.
pub fn shoot(supervisor: &mut Supervisor, watch: &Watch) -> anyhow::Result<Kill> {
    let workers = supervisor.workers();
    let victim = workers[random(workers.len() as u64)? as usize];
    let before = watch.sight();
    watch.begin();
    let shot = Instant::now();
    send(victim.pid, Signal::SIGKILL)
        .with_context(|| format!("worker {}: cannot be killed", victim.pid))?;
    let replaced = loop {
        match supervisor.worker(victim.place) {
            Some(worker) if worker.ready && worker.pid != victim.pid => break shot.elapsed(),
            _ => {}
        }
        supervisor.check()?;
        if shot.elapsed() > PATIENCE {
            bail!(
                "nobody took the place of worker {} within {} s:\n{}",
                victim.pid,
                PATIENCE.as_secs(),
                supervisor::tail()
            );
        }
        thread::sleep(Duration::from_millis(2));
    };
    Ok(Kill {
        victim,
        under_way: before.pending,
        resumed: watch.sight().resumed - before.resumed,
        pause: watch.longest(),
        replaced,
    })
}
