// SPDX-License-Identifier: MIT

//! A worker that stands still cannot drain: the first SIGTERM waits for it, the second one kills it.
//! What it held is offered again and completed by the next worker.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::detectors::patience;
use crate::kit::{command, Direct, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let _udev = guest.hold_udev()?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let mut supervisor = Supervise::new(guest, &disk, 1, &backend).start()?;
    let worker = supervisor.workers()[0];
    disk.wait_idle(PATIENCE)?;
    command::stop(worker.pid)?;
    let write = Direct::open(disk.path())?.start_write(0, vec![7; 4096]);
    disk.wait_status("the write", |status| status.queued + status.taken == 1)?;

    supervisor.process.signal(Signal::SIGTERM)?;
    supervisor.wait_log("told to finish and leave")?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(supervisor.process.is_running()?, "it did not wait");
    let told = Instant::now();
    supervisor.process.signal(Signal::SIGTERM)?;
    let status = supervisor.process.wait(PATIENCE)?;
    let took = told.elapsed();
    ensure!(
        took < patience(Duration::from_secs(10)),
        "that took {took:?}"
    );
    ensure!(status.success(), "{status}: {}", supervisor.log()?);
    ensure!(disk.status()?.taken == 0, "something is still taken");

    let next = Supervise::new(guest, &disk, 1, &backend).start()?;
    write.finish(PATIENCE)??;
    let read = Direct::open(disk.path())?.read(0, 4096)?;
    ensure!(read == [7; 4096], "other bytes came back");
    next.drain()?;
    Ok(())
}
