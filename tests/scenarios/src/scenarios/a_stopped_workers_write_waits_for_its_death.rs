// SPDX-License-Identifier: MIT

//! A worker stands still with a write in its hands. No refusal could stop the write it may be in
//! the middle of, so the request is not offered again (EBUSY), by requeue, reconnect or age, until
//! the worker is dead; then it is, and another one completes it. Its read is not held back so.

use std::time::Duration;

use abuse::{Reconnect, Selection};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{refused, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let mut sleeper = disk.puppet()?;
    let read = file.start_read(0, 4096);
    disk.wait_queued(1)?;
    let mut write = file.start_write(4096, vec![0x42; 4096]);
    disk.wait_queued(2)?;
    let held = sleeper.take(2)?;
    ensure!(held.len() == 2, "the two did not come together: {held:?}");
    sleeper.stop()?;
    let _server = disk.serve("ram:stopped-writer")?;

    // A new epoch: the read moves on, the write stays where it is.
    let device = disk.device();
    let reconnected = device.reconnect(&Reconnect::default())?;
    ensure!(
        (reconnected.requeued, reconnected.refused) == (1, 1),
        "{reconnected:?}"
    );
    read.finish(PATIENCE)??;
    let id = held[1].id;
    for which in [
        Selection::all(),
        Selection::id(id),
        Selection::pid(sleeper.pid()),
        Selection::older_than(Duration::ZERO),
    ] {
        refused(device.requeue(&which), Errno::EBUSY)?;
    }
    refused(device.reconnect(&Reconnect::default()), Errno::EBUSY)?;
    let status = disk.status()?;
    ensure!(
        status.taken == 1 && status.refused == 6 && status.epoch == reconnected.new_epoch,
        "{status:?}"
    );
    ensure!(!write.is_over(), "nobody completed it, and yet it ended");

    sleeper.kill()?;
    write.finish(PATIENCE)??;
    ensure!(
        file.read(4096, 4096)? == [0x42; 4096],
        "other data were written"
    );
    Ok(())
}
