// SPDX-License-Identifier: MIT

//! A disk with a lease: what a worker holds for longer is offered again without anybody asking,
//! but not a write whose owner lives. Without a lease it is not.

use std::time::Duration;

use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{wait_until, Answer, Direct, Guest, PATIENCE};

/// What the disk is set up with; long enough for a machine that is busy.
const LEASE: Duration = Duration::from_millis(400);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,lease=400ms")?;
    let file = Direct::open(disk.path())?;
    let mut slow = disk.puppet()?;
    let mut other = disk.puppet()?;

    let read = file.start_read(0, 4096);
    let held = slow.take_one()?;
    disk.wait_status("the lease to be over", |status| status.queued == 1)?;
    let again = other.take_one()?;
    ensure!(again.attempt == 0, "a lease counted as a death: {again:?}");
    ensure!(other.put(&again, Answer::Fill(1))?.is_none(), "refused");
    ensure!(
        read.finish(PATIENCE)?? == [1; 4096],
        "other bytes were read"
    );
    let late = slow.put(&held, Answer::Fill(2))?;
    ensure!(late == Some(Errno::ESTALE as i32), "late, and got {late:?}");

    let mut write = file.start_write(0, vec![3; 4096]);
    let held = slow.take_one()?;
    disk.wait_status("the lease to have been over twice", |status| {
        status.oldest_taken.is_some_and(|age| age > LEASE * 2)
    })?;
    ensure!(!write.is_over(), "a write ended that nobody completed");
    let status = disk.status()?;
    ensure!((status.queued, status.taken) == (0, 1), "{status:?}");
    slow.kill()?;
    wait_until(
        "the dead writer's request to be offered again",
        PATIENCE,
        || disk.status().is_ok_and(|status| status.queued == 1),
    )?;
    let again = other.take_one()?;
    ensure!(again.id != held.id, "the same id was given twice");
    ensure!(other.put(&again, Answer::Done)?.is_none(), "refused");
    write.finish(PATIENCE)??;
    Ok(())
}
