// SPDX-License-Identifier: MIT

//! A worker is killed between taking a read and completing it. Another one, which has been there
//! all the time, serves the read, and the reader gets the right bytes.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let writer = disk.serve("ram:read-by-another")?;
    file.write(65536, &[0xc3; 8192])?;
    drop(writer);

    let mut victim = disk.puppet()?;
    let mut read = file.start_read(65536, 8192);
    let held = victim.take_one()?;
    ensure!(
        held.operation == Operation::Read && held.offset == 65536 && held.length == 8192,
        "the victim took something else: {held:?}"
    );
    let _other = disk.serve("ram:read-by-another")?;
    disk.wait_status("the other to wait", |status| status.waiting == 1)?;
    ensure!(!read.is_over(), "nobody completed it, and yet it ended");

    victim.kill()?;
    ensure!(
        read.finish(PATIENCE)?? == [0xc3; 8192],
        "other bytes were read"
    );
    let counts = disk.counts(Operation::Read)?;
    ensure!(
        (counts.taken, counts.requeued, counts.done) == (2, 1, 1),
        "it was not taken twice and completed once: {counts:?}"
    );
    Ok(())
}
