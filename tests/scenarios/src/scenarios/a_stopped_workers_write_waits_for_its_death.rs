// SPDX-License-Identifier: MIT

//! A worker stands still with a write in its hands. No refusal could stop the write it may be in
//! the middle of, so the request is not offered again (EBUSY), by requeue, reconnect or age, until
//! the worker is dead; then it is, and another one completes it.

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
    let mut write = file.start_write(4096, vec![0x42; 4096]);
    let held = sleeper.take_one()?;
    sleeper.stop()?;
    let _server = disk.serve("ram:stopped-writer")?;

    let device = disk.device();
    for which in [
        Selection::all(),
        Selection::id(held.id),
        Selection::pid(sleeper.pid()),
        Selection::older_than(Duration::ZERO),
    ] {
        refused(device.requeue(&which), Errno::EBUSY)?;
    }
    // A new epoch begins all the same; the write stays where it is.
    let reconnected = device.reconnect(&Reconnect::default())?;
    ensure!(
        (reconnected.requeued, reconnected.refused) == (0, 1),
        "{reconnected:?}"
    );
    let status = disk.status()?;
    ensure!(status.taken == 1 && status.refused == 5, "{status:?}");
    ensure!(!write.is_over(), "nobody completed it, and yet it ended");

    sleeper.kill()?;
    write.finish(PATIENCE)??;
    ensure!(
        file.read(4096, 4096)? == [0x42; 4096],
        "other data were written"
    );
    Ok(())
}
