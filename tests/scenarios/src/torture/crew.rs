// SPDX-License-Identifier: MIT

//! The workers of a round, with or without a supervisor.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use super::round::{Round, Store, ROOM};
use crate::kit::command::{send, states_of, stop, where_it_stands};
use crate::kit::{servers_of, wait_until, Disk, Guest, Process, Supervise, Supervisor, PATIENCE};

/// The workers.
pub struct Crew<'g> {
    guest: &'g Guest,
    disk: Disk<'g>,
    words: Vec<String>,
    places: usize,
    standby: usize,
    kind: Kind<'g>,
}

enum Kind<'g> {
    /// Nobody looks after them but this program.
    Alone(Vec<Process>),
    Supervised(Option<Box<Supervisor<'g>>>),
}

impl<'g> Crew<'g> {
    /// Starts them; returns when all are ready.
    pub fn start(guest: &'g Guest, disk: &Disk<'g>, round: &Round) -> Result<Crew<'g>> {
        let backend = match round.store {
            Store::File => format!(
                "file:{},create,size={}",
                guest.file("backing").display(),
                Round::BYTES + ROOM
            ),
            Store::Ram => "ram:torture".into(),
        };
        let words = format!(
            "abusectl server {} --backend {backend} --threads {} --batch {}",
            disk.control(),
            round.threads,
            round.batch
        );
        let mut crew = Crew {
            guest,
            disk: disk.clone(),
            words: words.split(' ').map(String::from).collect(),
            places: round.workers,
            standby: round.standby,
            kind: Kind::Alone(Vec::new()),
        };
        if round.supervised {
            let mut supervisor = crew.supervise()?;
            supervisor.wait_ready()?;
            crew.kind = Kind::Supervised(Some(Box::new(supervisor)));
        }
        crew.fill()?;
        let workers = u32::try_from(round.workers)?;
        disk.wait_status("all workers to wait", |status| status.workers == workers)?;
        Ok(crew)
    }

    fn supervise(&self) -> Result<Supervisor<'g>> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        Supervise::new(self.guest, &self.disk, self.places, "")
            .command(&words)
            .standby(self.standby)
            .option("--back-off=20ms..200ms")
            .spawn()
    }

    /// Starts a worker in every empty place. A supervisor does that by itself.
    pub fn fill(&mut self) -> Result<()> {
        let Kind::Alone(workers) = &mut self.kind else {
            return Ok(());
        };
        let mut alive = Vec::new();
        for mut worker in workers.drain(..) {
            if worker.is_running()? {
                alive.push(worker);
            }
        }
        *workers = alive;
        while workers.len() < self.places {
            let (program, arguments) = self.words.split_first().context("a command")?;
            let command = self.guest.command(program).args(arguments).quiet();
            workers.push(command.spawn()?);
        }
        Ok(())
    }

    /// Those that live, whoever started them.
    pub fn pids(&self) -> Vec<u32> {
        servers_of(&self.disk).into_iter().collect()
    }

    /// Where each of them stands, for the message that something did not come to its end.
    pub fn stand(&self) -> String {
        let each = self.pids().into_iter();
        let each = each.map(|pid| format!("{pid}: {}", where_it_stands(pid)));
        each.collect::<Vec<_>>().join("; ")
    }

    /// One of them.
    pub fn pick(&self, which: u64) -> Option<u32> {
        let pids = self.pids();
        let index = which.checked_rem(pids.len() as u64)?;
        pids.get(index as usize).copied()
    }

    /// SIGKILL; returns when it is dead. `false`: it was already.
    pub fn kill(&mut self, pid: u32) -> Result<bool> {
        let was_there = send(pid, Signal::SIGKILL).is_ok();
        wait_until("the end of a worker", PATIENCE, || self.is_dead(pid))?;
        Ok(was_there)
    }

    /// SIGTERM; returns when it has ended.
    pub fn end(&mut self, pid: u32) -> Result<bool> {
        let was_there = send(pid, Signal::SIGTERM).is_ok();
        wait_until("a worker to end", PATIENCE, || self.is_dead(pid)).with_context(|| {
            let all = self.pids();
            format!("of {all:?}, {pid} stands {}", where_it_stands(pid))
        })?;
        Ok(was_there)
    }

    fn is_dead(&mut self, pid: u32) -> bool {
        if let Kind::Alone(workers) = &mut self.kind {
            if let Some(worker) = workers.iter_mut().find(|worker| worker.pid() == pid) {
                // Only when it can be reaped is its place empty: its first thread may be over before the
                // others.
                return worker.is_running().is_ok_and(|running| !running);
            }
        }
        states_of(pid).into_iter().all(|state| state == 'Z')
    }

    /// SIGSTOP; `false`: it is dead.
    pub fn stop(&mut self, pid: u32) -> Result<bool> {
        match stop(pid) {
            Err(_) if self.is_dead(pid) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// SIGCONT.
    pub fn resume(&self, pid: u32) {
        let _ = send(pid, Signal::SIGCONT);
    }

    /// SIGKILL for the supervisor. `false`: there is none.
    pub fn kill_supervisor(&mut self) -> Result<bool> {
        let Kind::Supervised(supervisor) = &mut self.kind else {
            return Ok(false);
        };
        let Some(mut supervisor) = supervisor.take() else {
            return Ok(false);
        };
        supervisor.process.kill()?;
        Ok(true)
    }

    /// Has a supervisor replace every worker; how many it replaced. `None`: there is none.
    pub fn restart(&mut self) -> Result<Option<u64>> {
        let Kind::Supervised(Some(supervisor)) = &mut self.kind else {
            return Ok(None);
        };
        supervisor.wait_ready()?;
        supervisor.restart()?;
        Ok(Some((self.places + self.standby) as u64))
    }

    /// A new one, if there is none.
    pub fn restore_supervisor(&mut self) -> Result<()> {
        if let Kind::Supervised(None) = self.kind {
            let supervisor = self.supervise()?;
            self.kind = Kind::Supervised(Some(Box::new(supervisor)));
        }
        Ok(())
    }

    /// Fails if the supervisor ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if let Kind::Supervised(Some(supervisor)) = &mut self.kind {
            let running = supervisor.process.is_running()?;
            ensure!(running, "the supervisor ended: {}", supervisor.log()?);
        }
        Ok(())
    }

    /// Everybody is there again and runs.
    pub fn recover(&mut self) -> Result<()> {
        self.restore_supervisor()?;
        self.fill()?;
        for pid in self.pids() {
            self.resume(pid);
        }
        Ok(())
    }

    /// All end in peace.
    pub fn dismiss(mut self) -> Result<()> {
        self.recover()?;
        match self.kind {
            Kind::Supervised(Some(mut supervisor)) => {
                supervisor.wait_ready()?;
                supervisor.drain().map(drop)
            }
            Kind::Supervised(None) => Ok(()),
            Kind::Alone(workers) => {
                // One that was only just started knows no signal yet, and dies of it.
                let places = u32::try_from(self.places)?;
                self.disk
                    .wait_status("all workers", |status| status.workers == places)?;
                for worker in workers {
                    worker.signal(Signal::SIGTERM)?;
                    let output = worker.finish(PATIENCE + Duration::from_secs(1))?;
                    let (status, words) = (output.status, output.stderr);
                    ensure!(status.success(), "a worker: {status}: {words}");
                }
                Ok(())
            }
        }
    }
}
