// SPDX-License-Identifier: MIT

//! A disk set up to fail what nobody has claimed for a time does so, and goes on when a worker
//! comes; what a worker holds is its own. A disk set up without it waits.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::kit::{Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,no_server=400ms")?;
    let file = Direct::open(disk.path())?;
    let read = file.start_read(0, 4096).finish(PATIENCE)?;
    ensure!(read.is_err(), "read {} bytes from nobody", read?.len());
    ensure!(disk.status()?.errors > 0, "the failure was not counted");

    let mut worker = disk.puppet()?;
    let mut read = file.start_read(0, 4096);
    let held = worker.take_one()?;
    disk.wait_status("the time to be over twice", |status| {
        let age = status.oldest_taken.unwrap_or_default();
        age > Duration::from_millis(800)
    })?;
    ensure!(!read.is_over(), "a request failed that a worker holds");
    ensure!(worker.put(&held, Answer::Fill(7))?.is_none(), "refused");
    ensure!(
        read.finish(PATIENCE)?? == [7; 4096],
        "other bytes were read"
    );

    let patient = guest.disk("size=16M")?;
    let file = Direct::open(patient.path())?;
    let mut read = file.start_read(0, 4096);
    patient.wait_status("the time to be over there too", |status| {
        let age = status.oldest_queued.unwrap_or_default();
        age > Duration::from_millis(800)
    })?;
    ensure!(!read.is_over(), "failed although nobody said so");
    let mut worker = patient.puppet()?;
    let held = worker.take_one()?;
    ensure!(worker.put(&held, Answer::Fill(8))?.is_none(), "refused");
    ensure!(
        read.finish(PATIENCE)?? == [8; 4096],
        "other bytes were read"
    );
    Ok(())
}
