// SPDX-License-Identifier: MIT

//! GET and PUT know no connection: a process completes what another took, by the id alone, be it a
//! read or a write. The one who took it comes too late then.

use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let (mut taker, mut other) = (disk.puppet()?, disk.puppet()?);

    let read = file.start_read(4096, 8192);
    let held = taker.take_one()?;
    ensure!(other.put(&held, Answer::Fill(0x77))?.is_none(), "refused");
    ensure!(
        read.finish(PATIENCE)?? == [0x77; 8192],
        "other bytes were read"
    );
    let late = taker.put(&held, Answer::Fill(0x11))?;
    ensure!(late == Some(Errno::ESTALE as i32), "late, and got {late:?}");

    let write = file.start_write(0, vec![1; 4096]);
    let held = taker.take_one()?;
    ensure!(other.put(&held, Answer::Done)?.is_none(), "refused");
    write.finish(PATIENCE)??;
    let late = taker.put(&held, Answer::Error)?;
    ensure!(late == Some(Errno::ESTALE as i32), "late, and got {late:?}");

    let status = disk.status()?;
    ensure!(
        status.stale == 2 && status.errors == 0,
        "two were late and none failed: {status:?}"
    );
    Ok(())
}
