// SPDX-License-Identifier: MIT

//! A device that is set up for a scenario.

use std::path::PathBuf;
use std::time::Duration;

use abuse::{Device, OpCounts, Operation, Selection, Setup, Status};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::supervisor::Worker;
use super::wait::{wait_for, wait_until, PATIENCE};
use super::{command, Guest, Process, Puppet};

/// A device that is set up. The guest resets it when the scenario is over.
#[derive(Clone, Debug)]
pub struct Disk<'g> {
    guest: &'g Guest,
    device: Device,
    setup: Setup,
}

impl<'g> Disk<'g> {
    pub(super) fn new(guest: &'g Guest, device: Device, setup: Setup) -> Disk<'g> {
        Disk {
            guest,
            device,
            setup,
        }
    }

    /// The machine it is on.
    pub fn guest(&self) -> &'g Guest {
        self.guest
    }

    /// Its control node.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `/dev/abuseN`
    pub fn path(&self) -> PathBuf {
        self.device.disk_path()
    }

    /// `/dev/abctlN`
    pub fn control(&self) -> String {
        self.device.control_path().display().to_string()
    }

    /// What a file below `/sys/block/abuseN` says.
    pub fn sysfs(&self, file: &str) -> Result<String> {
        let number = self.device.number();
        let place = format!("/sys/block/abuse{number}/{file}");
        let text = std::fs::read_to_string(&place).context(place)?;
        Ok(text.trim().to_string())
    }

    /// Fails unless files below `/sys/block/abuseN` say this.
    pub fn check_sysfs(&self, files: &[(&str, &str)]) -> Result<()> {
        for (file, value) in files {
            let found = self.sysfs(file)?;
            ensure!(found == *value, "{file}: {found}, not {value}");
        }
        Ok(())
    }

    /// What the driver made of the keys.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// How the device is doing.
    pub fn status(&self) -> Result<Status> {
        Ok(self.device.status()?)
    }

    /// The counts of one operation.
    pub fn counts(&self, operation: Operation) -> Result<OpCounts> {
        Ok(*self.status()?.counts(operation))
    }

    /// Starts `abusectl server --backend BACKEND`; returns when it takes requests.
    pub fn serve(&self, backend: &str) -> Result<Process> {
        self.serve_with(backend, &[])
    }

    /// The same with more arguments, as `--threads 4`.
    pub fn serve_with(&self, backend: &str, arguments: &[&str]) -> Result<Process> {
        let mut server = self
            .guest
            .command("abusectl")
            .args(["server", &self.control(), "--backend", backend])
            .args(arguments)
            .spawn()?;
        server.wait_serving()?;
        Ok(server)
    }

    /// Starts a worker that does only what it is told.
    pub fn puppet(&self) -> Result<Puppet> {
        Puppet::start(self)
    }

    /// Waits until the status is like that.
    pub fn wait_status(&self, what: &str, good: impl Fn(&Status) -> bool) -> Result<Status> {
        wait_for(what, PATIENCE, || Ok(Some(self.status()?).filter(&good)))
            .with_context(|| format!("status: {:?}", self.device.status()))
    }

    /// Waits until so many requests are unclaimed.
    pub fn wait_queued(&self, queued: u32) -> Result<Status> {
        self.wait_status(&format!("{queued} unclaimed requests"), |status| {
            status.queued == queued
        })
    }

    /// Stops a worker in the middle of writes: one that stands still and lives keeps those.
    pub fn stop_amid_writes(&self, worker: &Worker) -> Result<()> {
        loop {
            self.wait_status("writes", |status| status.taken > 0)?;
            command::stop(worker.pid)?;
            match self.device.requeue(&Selection::owner(worker.token)) {
                Err(error) if error.errno() == Some(Errno::EBUSY as i32) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(_) => command::send(worker.pid, Signal::SIGCONT)?,
            }
        }
    }

    /// Waits until udev has read what it wanted, and nobody but the caller has the disk open.
    pub fn wait_alone(&self) -> Result<()> {
        super::udev::settle()?;
        self.wait_status("nobody else to use the disk", |status| {
            status.is_idle() && status.openers == 1
        })?;
        Ok(())
    }

    /// Waits until nothing is pending and nobody has the disk open.
    pub fn wait_idle(&self, limit: Duration) -> Result<()> {
        wait_until("the disk to be idle", limit, || {
            self.device.status().is_ok_and(|status| is_idle(&status))
        })
        .with_context(|| format!("status: {:?}", self.device.status()))
    }
}

/// Nothing pending and nobody there.
pub(super) fn is_idle(status: &Status) -> bool {
    status.queued + status.taken + status.draining + status.openers == 0
}

/// Fails unless every request of an idle device was ended exactly once.
pub fn every_request_ended(status: &Status) -> Result<()> {
    for operation in Operation::ALL {
        let counts = status.counts(operation);
        ensure!(
            counts.queued == counts.done + counts.failed,
            "requests were lost or ended twice: {operation}: {counts:?}"
        );
        // Clients of 2009 take nothing.
        ensure!(
            counts.taken == 0 || counts.taken >= counts.done,
            "more ended than were taken: {operation}: {counts:?}"
        );
    }
    Ok(())
}
