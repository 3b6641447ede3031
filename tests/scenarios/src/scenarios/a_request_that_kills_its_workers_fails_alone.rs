// SPDX-License-Identifier: MIT

//! With `max_attempts`, a request that kills every worker fails in the end, and those that were taken
//! together with it are served: from the second death on each is handed out alone, and only a
//! death alone counts. Without it, it is offered for ever.

use std::time::Duration;

use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{Answer, Direct, Disk, Guest, Held, PATIENCE};

/// The block whose reading is fatal.
const POISON: u64 = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,max_attempts=2")?;
    let file = Direct::open(disk.path())?;
    let mut reads = Vec::new();
    for place in 0..3 {
        reads.push(file.start_read(place * 4096, 4096));
        disk.wait_queued(place as u32 + 1)?;
    }
    for deaths in 0..2 {
        let held = die(&disk, 8)?;
        ensure!(
            held.len() == 3 && held.iter().all(|it| it.attempt == deaths),
            "not together: {held:?}"
        );
    }
    // Now each alone: the innocent are done, the guilty kills twice more.
    let mut alone = 0;
    let mut worker = disk.puppet()?;
    while disk.status()?.queued > 0 {
        let held = worker.take_within(8, Duration::from_secs(1))?;
        ensure!(held.len() == 1, "not alone: {held:?}");
        if held[0].offset == POISON {
            worker.kill()?;
            alone += 1;
            worker = disk.puppet()?;
        } else {
            ensure!(worker.put(&held[0], Answer::Fill(9))?.is_none());
        }
    }
    ensure!(alone == 2, "it killed {alone} alone");
    for (place, read) in reads.into_iter().enumerate() {
        let got = read.finish(PATIENCE)?;
        if place as u64 * 4096 == POISON {
            let errno = got.err().and_then(|error| error.raw_os_error());
            ensure!(errno == Some(Errno::EIO as i32), "the guilty: {errno:?}");
        } else {
            ensure!(got? == [9; 4096], "an innocent one");
        }
    }
    let status = disk.status()?;
    ensure!(status.errors == 1 && status.taken == 0, "{status:?}");

    // It is the death that counts, not the giving back.
    let read = file.start_read(0, 4096);
    for _ in 0..5 {
        let held = worker.take_one()?;
        ensure!(held.attempt == 0, "a living worker counted: {held:?}");
        disk.device().requeue(&abuse::Selection::all())?;
    }
    let held = worker.take_one()?;
    ensure!(worker.put(&held, Answer::Done)?.is_none());
    read.finish(PATIENCE)??;

    let endless = guest.disk("size=16M")?;
    let file = Direct::open(endless.path())?;
    let read = file.start_read(0, 4096);
    for deaths in 0..6 {
        let held = die(&endless, 1)?;
        ensure!(held[0].attempt == deaths, "{held:?}");
    }
    let mut worker = endless.puppet()?;
    let held = worker.take_one()?;
    ensure!(worker.put(&held, Answer::Fill(4))?.is_none());
    ensure!(read.finish(PATIENCE)?? == [4; 4096], "other bytes");
    Ok(())
}

/// A worker takes what it gets and dies with it.
fn die(disk: &Disk<'_>, most: u32) -> Result<Vec<Held>> {
    let mut worker = disk.puppet()?;
    let held = worker.take(most)?;
    worker.kill()?;
    Ok(held)
}
