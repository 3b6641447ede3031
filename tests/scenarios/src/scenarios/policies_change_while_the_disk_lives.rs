// SPDX-License-Identifier: MIT

//! RECONNECT changes the policies of a disk that is there, each way, at once, and nothing else of it;
//! in vain, because a living writer keeps what he holds, it changes none.

use std::time::Duration;

use abuse::{Reconnect, Setup};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::{refused, Answer, Direct, Disk, Guest, PATIENCE};

const TIME: Duration = Duration::from_millis(200);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,depth=8")?;
    let before = shape(&disk)?;
    let file = Direct::open(disk.path())?;
    let change = |how: Reconnect| -> Result<()> {
        let done = disk.device().reconnect(&how)?;
        ensure!(done.new_epoch == done.old_epoch + 1, "{done:?}");
        Ok(())
    };

    // A lease begins, and ends.
    let (mut one, mut two) = (disk.puppet()?, disk.puppet()?);
    let read = file.start_read(0, 4096);
    let held = one.take_one()?;
    change(Reconnect {
        lease: Some(Some(TIME)),
        ..Reconnect::default()
    })?;
    ensure!(
        one.put(&held, Answer::Done)? == Some(Errno::ESTALE as i32),
        "a reconnect left a request where it was"
    );
    let _ = one.take_one()?;
    disk.wait_status("the lease to be over", |status| status.queued == 1)?;
    change(Reconnect {
        lease: Some(None),
        ..Reconnect::default()
    })?;
    let held = two.take_one()?;
    disk.wait_status("the old lease to be over three times", |status| {
        status.oldest_taken.is_some_and(|age| age > TIME * 3)
    })?;
    ensure!(disk.status()?.queued == 0, "a lease that was ended goes on");
    ensure!(two.put(&held, Answer::Fill(5))?.is_none());
    ensure!(read.finish(PATIENCE)?? == [5; 4096], "other bytes");

    // What nobody claims fails after a time, and then not any more.
    let fail = Reconnect {
        no_server: Some(Some(TIME)),
        ..Reconnect::default()
    };
    change(fail)?;
    ensure!(
        file.start_read(0, 4096).finish(PATIENCE)?.is_err(),
        "somebody answered"
    );
    change(Reconnect {
        no_server: Some(None),
        ..Reconnect::default()
    })?;
    let read = file.start_read(0, 4096);
    disk.wait_status("the time to be over three times", |status| {
        status.oldest_queued.is_some_and(|age| age > TIME * 3)
    })?;

    // A file that is closed says nothing, and then it does again.
    guest
        .command("abusectl")
        .args(["reconnect", &disk.control(), "requeue_on_close=no"])
        .ok()?;
    let _ = one.take_one()?;
    one.kill()?;
    ensure!(disk.status()?.taken == 1, "offered again by the close");
    change(Reconnect {
        requeue_on_close: Some(true),
        ..Reconnect::default()
    })?;
    ensure!(disk.status()?.queued == 1);
    let mut one = disk.puppet()?;
    let _ = one.take_one()?;
    one.kill()?;
    ensure!(disk.status()?.queued == 1, "not offered again by the close");

    // Deaths count that were before: one more is enough.
    guest
        .command("abusectl")
        .args(["reconnect", &disk.control(), "max_attempts=1,lease=off"])
        .ok()?;
    let mut one = disk.puppet()?;
    let held = one.take_one()?;
    ensure!(held.attempt == 2, "{held:?}");
    one.kill()?;
    ensure!(read.finish(PATIENCE)?.is_err(), "it was offered again");

    // In vain it changes nothing at all; under the new policy it is not in vain.
    let write = file.start_write(0, vec![1; 4096]);
    let held = two.take_one()?;
    let was = (shape(&disk)?, disk.status()?.epoch);
    let vain = Reconnect {
        read_only: Some(true),
        requeue_on_close: Some(false),
        max_attempts: Some(7),
        lease: Some(Some(TIME)),
        no_server: Some(Some(TIME)),
        ..Reconnect::default()
    };
    refused(disk.device().reconnect(&vain), Errno::EBUSY)?;
    ensure!((shape(&disk)?, disk.status()?.epoch) == was, "it changed");
    change(Reconnect {
        fenced_backend: Some(true),
        ..Reconnect::default()
    })?;
    ensure!(disk.status()?.queued == 1, "the old policy decided");
    ensure!(two.put(&held, Answer::Done)? == Some(Errno::ESTALE as i32));
    let held = two.take_one()?;
    ensure!(two.put(&held, Answer::Done)?.is_none());
    write.finish(PATIENCE)??;

    // And that was all that changed.
    let expected = Setup {
        fenced_backend: true,
        max_attempts: 1,
        ..before
    };
    ensure!(shape(&disk)? == expected, "{:?}", shape(&disk)?);
    let output = guest
        .command("abusectl")
        .args(["reconnect", &disk.control(), "depth=4"])
        .run()?;
    ensure!(
        output.status.code() == Some(2) && output.stderr.contains("max_attempts"),
        "{output:?}"
    );
    Ok(())
}

fn shape(disk: &Disk<'_>) -> Result<Setup> {
    disk.status()?.setup.context("no disk")
}
