// SPDX-License-Identifier: MIT
//! The supervisor of the demo, and who its workers are.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use abuse_scenarios::kit::supervisor::Worker;
use anyhow::{bail, Context};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::shell;

const LOG: &str = "/run/abuse-demo.log";
const RECORDS: &str = "/run/abuse";

/// A running supervisor.
pub struct Supervisor {
    child: Child,
    workers: usize,
}

impl Supervisor {
    /// Starts it; its log goes to a file.
    pub fn start(lines: &[&str], workers: usize) -> anyhow::Result<Supervisor> {
        let line = lines.join(" ");
        shell::show(&format!("{} &", lines.join(" \\\n      ")));
        let log = File::create(LOG).with_context(|| format!("{LOG}: cannot create"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", words[0]))?;
        let mut supervisor = Supervisor { child, workers };
        let begun = Instant::now();
        while !supervisor.workers().iter().all(|worker| worker.ready)
            || supervisor.workers().len() < workers
        {
            if let Some(status) = supervisor.child.try_wait()? {
                bail!("the supervisor ended ({status}):\n{}", tail());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("the workers were not ready within 30 s:\n{}", tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(supervisor)
    }

    /// The workers that live, as far as the records say.
    pub fn workers(&self) -> Vec<Worker> {
        (0..self.workers).filter_map(worker).collect()
    }

    /// The worker in a place.
    pub fn worker(&self, place: usize) -> Option<Worker> {
        worker(place)
    }

    /// That it still runs.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the supervisor ended ({status}):\n{}", tail()),
            None => Ok(()),
        }
    }

    /// Waits for its end: it has one when there is nothing left to serve.
    pub fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("the supervisor has not ended within 20 s:\n{}", tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The guest goes anyway; but nobody should be left behind on another machine.
        if let Ok(None) = self.child.try_wait() {
            if let Ok(pid) = self.child.id().try_into() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
    }
}

fn worker(place: usize) -> Option<Worker> {
    Worker::on_record(Path::new(RECORDS), 0, place)
}

/// The last lines of its log.
pub fn tail() -> String {
    let text = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
