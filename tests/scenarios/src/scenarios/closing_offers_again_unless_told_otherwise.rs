// SPDX-License-Identifier: MIT

//! What a worker held is offered again when its file is closed, unless the disk was set up with
//! `requeue_on_close=no`: then it stays taken, for whoever completes it or asks for it; and writes
//! are offered again only when their owner is dead. The death of a child that inherited the file and
//! closes it last is not its owner's, and is not counted.

use std::process::{Command, Stdio};

use abuse::Selection;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{Memory, Raw};
use crate::kit::{refused, Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let write = file.start_write(0, vec![1; 4096]);
    let mut worker = disk.puppet()?;
    let first = worker.take_one()?;
    worker.kill()?;
    disk.wait_queued(1)?;
    let mut other = disk.puppet()?;
    ensure!(other.put(&first, Answer::Done)? == Some(Errno::ESTALE as i32));
    let held = other.take_one()?;
    ensure!(held.attempt == 1 && other.put(&held, Answer::Done)?.is_none());
    write.finish(PATIENCE)??;

    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let read = file.start_read(0, 4096);
    let _ = raw.take_one(&arena)?;
    let mut heir = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(raw.file()?))
        .spawn()?;
    drop(raw);
    ensure!(disk.status()?.taken == 1, "offered again while it is open");
    heir.kill()?;
    heir.wait()?;
    disk.wait_queued(1)?;
    let held = other.take_one()?;
    ensure!(held.attempt == 0, "whose death was that? {held:?}");
    ensure!(other.put(&held, Answer::Done)?.is_none());
    read.finish(PATIENCE)??;

    let kept = guest.disk("size=16M,requeue_on_close=no")?;
    let file = Direct::open(kept.path())?;
    let write = file.start_write(0, vec![2; 4096]);
    let mut worker = kept.puppet()?;
    let first = worker.take_one()?;
    refused(kept.device().requeue(&Selection::all()), Errno::EBUSY)?;
    worker.kill()?;
    let status = kept.status()?;
    ensure!((status.taken, status.queued) == (1, 0), "{status:?}");
    // Its owner is gone, and its id is still good: whoever knows what became of it may say so.
    let mut other = kept.puppet()?;
    ensure!(other.put(&first, Answer::Done)?.is_none(), "refused");
    write.finish(PATIENCE)??;

    let write = file.start_write(0, vec![3; 4096]);
    let mut worker = kept.puppet()?;
    let _ = worker.take_one()?;
    worker.kill()?;
    let again = kept.device().requeue(&Selection::all())?;
    ensure!((again.requeued, again.refused) == (1, 0), "{again:?}");
    let held = other.take_one()?;
    ensure!(held.attempt == 1, "{held:?}");
    ensure!(other.put(&held, Answer::Done)?.is_none());
    write.finish(PATIENCE)??;
    Ok(())
}
