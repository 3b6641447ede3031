// SPDX-License-Identifier: MIT

//! `abuse-supervisor`, its workers, and what it writes down about them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use nix::sys::signal::Signal;

use super::command::{send, state_of};
use super::wait::{wait_closely, wait_for, PATIENCE};
use super::{Disk, Guest, Process};

/// A worker, as the supervisor's record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worker {
    /// Its place, counted from 0.
    pub place: usize,
    /// Its process id.
    pub pid: u32,
    /// Its owner token.
    pub token: u64,
    /// It said that it is ready.
    pub ready: bool,
    /// It waits to be promoted.
    pub parked: bool,
}

impl Worker {
    /// The worker in a place, as the record in the runtime directory has it.
    pub fn on_record(directory: &Path, number: u32, place: usize) -> Option<Worker> {
        let file = format!("abctl{number}.worker.{place}.lock");
        let record = std::fs::read_to_string(directory.join(file)).ok()?;
        let (mut pid, mut token, mut ready, mut parked) = (None, None, false, false);
        // What is just being written has no end yet.
        for line in record
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
        {
            match line.split_once('=') {
                Some(("pid", text)) => pid = text.parse().ok(),
                Some(("token", text)) => token = abuse::owner::parse(text),
                None if line == "ready" => ready = true,
                None if line == "standby" => parked = true,
                None if line == "active" => parked = false,
                _ => {}
            }
        }
        Some(Worker {
            place,
            pid: pid?,
            token: token?,
            ready,
            parked,
        })
    }
}

/// What became of a kill.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// When that was.
    pub shot: Instant,
    /// From the kill to the first completion after the death, or until nothing was pending.
    pub completion: Duration,
    /// From the kill to a new worker that is ready.
    pub replaced: Duration,
    /// Requests offered again.
    pub requeued: u64,
}

/// A supervisor that runs.
#[derive(Debug)]
pub struct Supervisor<'g> {
    /// The process.
    pub process: Process,
    guest: &'g Guest,
    disk: Disk<'g>,
    directory: Box<Path>,
    workers: usize,
    standby: usize,
}

/// How to supervise, before it is done.
#[must_use]
pub struct Supervise<'g> {
    guest: &'g Guest,
    disk: Disk<'g>,
    workers: usize,
    standby: usize,
    options: Vec<String>,
    program: PathBuf,
    command: Vec<String>,
    notify: Option<PathBuf>,
}

impl<'g> Supervise<'g> {
    /// So many `abusectl server --backend BACKEND`, replaced without a pause as soon as they were
    /// ready for a fifth of a second.
    pub fn new(guest: &'g Guest, disk: &Disk<'g>, workers: usize, backend: &str) -> Self {
        let command = format!("abusectl server {{ctl}} --backend {backend}");
        Supervise {
            guest,
            disk: disk.clone(),
            workers,
            standby: 0,
            options: vec!["--stable-after=200ms".into()],
            program: "abuse-supervisor".into(),
            command: command.split(' ').map(String::from).collect(),
            notify: None,
        }
    }

    /// Another command line for the workers.
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| word.to_string()).collect();
        self
    }

    /// Another `abuse-supervisor`.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.into();
        self
    }

    /// So many more that stand by.
    pub fn standby(mut self, standby: usize) -> Self {
        self.standby = standby;
        self
    }

    /// One more option of `abuse-supervisor run`, as `--intensity=3`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// Who is told that it is ready.
    pub fn notify(mut self, socket: &Path) -> Self {
        self.notify = Some(socket.to_path_buf());
        self
    }

    /// Starts it; returns at once.
    pub fn spawn(self) -> Result<Supervisor<'g>> {
        let directory = self.guest.file("run");
        let mut command = self
            .guest
            .command(&self.program)
            .args(["run", "--device", &self.disk.control()])
            .args(["--workers", &self.workers.to_string()])
            .args(["--standby", &self.standby.to_string()])
            .arg("--runtime-dir")
            .arg(&directory)
            .args(&self.options)
            .arg("--")
            .args(&self.command);
        if let Some(socket) = &self.notify {
            command = command.env("NOTIFY_SOCKET", socket);
        }
        Ok(Supervisor {
            process: command.spawn()?,
            guest: self.guest,
            disk: self.disk,
            directory: directory.into_boxed_path(),
            workers: self.workers,
            standby: self.standby,
        })
    }

    /// Starts it; returns when all its workers are ready.
    pub fn start(self) -> Result<Supervisor<'g>> {
        let mut supervisor = self.spawn()?;
        supervisor.wait_ready()?;
        Ok(supervisor)
    }
}

impl Supervisor<'_> {
    /// The workers that serve, by its records: one that is dead, until its place has another.
    pub fn workers(&self) -> Vec<Worker> {
        self.on_record(false)
    }

    /// Those that stand by, by its records.
    pub fn standbys(&self) -> Vec<Worker> {
        self.on_record(true)
    }

    /// There is one place more than workers, for those that come before others go.
    fn on_record(&self, parked: bool) -> Vec<Worker> {
        let all = (0..=self.workers + self.standby).filter_map(|place| self.worker(place));
        all.filter(|worker| worker.parked == parked).collect()
    }

    /// Whether every worker and every standby there should be is there and ready, without this one.
    fn is_whole_without(&self, victim: &Worker) -> bool {
        let ready = |all: Vec<Worker>| {
            let others = all.iter().filter(|worker| worker.token != victim.token);
            others.filter(|worker| is_up(worker)).count()
        };
        ready(self.workers()) == self.workers && ready(self.standbys()) == self.standby
    }

    /// Waits until every worker and every standby is ready.
    pub fn wait_whole(&self) -> Result<()> {
        wait_for("all workers and standbys to be ready", PATIENCE, || {
            let up = |all: Vec<Worker>| all.iter().filter(|worker| is_up(worker)).count();
            let whole = up(self.workers()) == self.workers && up(self.standbys()) == self.standby;
            Ok(whole.then_some(()))
        })
    }

    /// The disk it looks after.
    pub fn disk(&self) -> &Disk<'_> {
        &self.disk
    }

    /// The worker in a place.
    pub fn worker(&self, place: usize) -> Option<Worker> {
        Worker::on_record(&self.directory, self.disk.device().number(), place)
    }

    /// Waits until all places have a worker that is ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        wait_for("all workers to be ready", PATIENCE, || {
            if !self.process.is_running()? {
                bail!("the supervisor ended: {}", self.log()?);
            }
            // The records alone could be those of an earlier supervisor.
            let served = format!("served by {0} of {0} workers", self.workers);
            Ok(self.log()?.contains(&served).then_some(()))
        })
    }

    /// What it logged.
    pub fn log(&self) -> Result<String> {
        self.process.stderr()
    }

    /// Waits until it has logged that.
    pub fn wait_log(&self, words: &str) -> Result<()> {
        wait_for(&format!("'{words}' in the log"), PATIENCE, || {
            Ok(self.log()?.contains(words).then_some(()))
        })
    }

    /// Waits for the worker behind `dead` in its place.
    pub fn successor(&self, dead: &Worker) -> Result<Worker> {
        wait_for("a new worker", PATIENCE, || {
            let now = self.worker(dead.place);
            Ok(now.filter(|worker| worker.token != dead.token && is_up(worker)))
        })
    }

    /// Kills a worker and waits for its successor.
    pub fn shoot(&self, victim: &Worker) -> Result<Failover> {
        let before = Counts::of(&self.disk)?;
        let shot = Instant::now();
        send(victim.pid, Signal::SIGKILL)?;
        let (mut at_death, mut completion, mut replaced) = (None, None, None);
        // Closely, as it is times that are to be told.
        let pause = Duration::from_millis(1);
        wait_closely("a new worker and a completion", PATIENCE, pause, || {
            let dead = state_of(victim.pid).is_none_or(|state| state == 'Z');
            let now = Counts::of(&self.disk)?;
            match at_death {
                // Before its death it may itself have completed something.
                None if dead => at_death = Some(now.done),
                Some(then) if now.done > then || now.pending == 0 => {
                    completion.get_or_insert_with(|| shot.elapsed());
                }
                // Nothing else is looked at while that is what is waited for.
                _ if self.standby > 0 => return Ok(None),
                _ => {}
            }
            if self.standby > 0 && completion.is_none() {
                return Ok(None);
            }
            let there = self.worker(victim.place);
            let successor = there.filter(|worker| worker.token != victim.token && worker.ready);
            if match self.standby {
                0 => successor.is_some(),
                _ => self.is_whole_without(victim),
            } {
                replaced.get_or_insert_with(|| shot.elapsed());
            }
            Ok(completion.and(replaced).map(|_| ()))
        })?;
        Ok(Failover {
            shot,
            completion: completion.context("a completion")?,
            replaced: replaced.context("a new worker")?,
            requeued: Counts::of(&self.disk)?.requeued - before.requeued,
        })
    }

    /// Has it replace every worker; returns when it has.
    pub fn restart(&self) -> Result<()> {
        let restart = self.guest.command("abuse-supervisor").arg("restart");
        let restart = restart.arg("--runtime-dir").arg(&*self.directory);
        let restart = restart.arg(self.disk.control()).within(PATIENCE * 2);
        restart.ok()?;
        Ok(())
    }

    /// SIGTERM, and an end with status 0 with nobody left.
    pub fn drain(mut self) -> Result<String> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(PATIENCE)?;
        let log = self.log()?;
        ensure!(status.success(), "the supervisor: {status}: {log}");
        let left = servers_of(&self.disk);
        ensure!(left.is_empty(), "workers were left: {left:?}");
        Ok(log)
    }
}

struct Counts {
    done: u64,
    requeued: u64,
    pending: u32,
}

impl Counts {
    fn of(disk: &Disk<'_>) -> Result<Counts> {
        let status = disk.status()?;
        let sum = |count: fn(&abuse::OpCounts) -> u64| status.ops.iter().map(count).sum();
        Ok(Counts {
            done: sum(|op| op.done),
            requeued: sum(|op| op.requeued),
            pending: status.queued + status.taken + status.draining,
        })
    }
}

fn is_up(worker: &Worker) -> bool {
    worker.ready && state_of(worker.pid).is_some_and(|state| state != 'Z')
}

/// The processes that serve a disk with `abusectl server`, whoever started them.
pub fn servers_of(disk: &Disk<'_>) -> BTreeSet<u32> {
    let control = disk.control();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&&b"server"[..]) && words.contains(&control.as_bytes())
        })
        .collect()
}

/// How long something took, each time.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Of these.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Times {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Times(times)
    }

    /// So many percent took no longer than this; zero if there were none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        let found = self.0.get(rank - 1).or(self.0.last());
        found.copied().unwrap_or_default()
    }

    /// Fails unless half, 99 of a hundred and all took no longer than these.
    pub fn keep_within(&self, what: &str, limits: [Duration; 3]) -> Result<()> {
        for (percent, limit) in [50, 99, 100].into_iter().zip(limits) {
            let took = self.percentile(percent);
            ensure!(
                took <= limit,
                "{what}: p{percent} is {took:?}, over {limit:?}: {self}"
            );
        }
        Ok(())
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        let (half, most, all) = (ms(50), ms(99), ms(100));
        write!(f, "p50 {half:.1} ms, p99 {most:.1} ms, max {all:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis));
        assert_eq!(times.percentile(50), Duration::from_millis(100));
        assert_eq!(times.percentile(99), Duration::from_millis(198));
        assert_eq!(times.percentile(100), Duration::from_millis(200));
        assert_eq!(
            times.to_string(),
            "p50 100.0 ms, p99 198.0 ms, max 200.0 ms"
        );
        assert_eq!(Times::default().percentile(50), Duration::ZERO);
        let limits = |last| [100, 198, last].map(Duration::from_millis);
        times.keep_within("a test", limits(200)).unwrap();
        times.keep_within("a test", limits(199)).unwrap_err();
    }
}
