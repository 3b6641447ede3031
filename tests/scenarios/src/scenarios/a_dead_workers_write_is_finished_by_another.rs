// SPDX-License-Identifier: MIT

//! A worker is killed between taking a write and completing it. Another one, which has been there
//! all the time, gets the write with its data, and the writer sees nothing but a pause.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let mut victim = disk.puppet()?;
    let mut write = file.start_write(8192, vec![0x5a; 12288]);
    let held = victim.take_one()?;
    ensure!(
        held.operation == Operation::Write && held.offset == 8192 && held.first == 0x5a,
        "the victim took something else: {held:?}"
    );

    let _other = disk.serve("ram:finished-by-another")?;
    disk.wait_status("the other to wait", |status| status.waiting == 1)?;
    ensure!(!write.is_over(), "nobody completed it, and yet it ended");
    let counts = disk.counts(Operation::Write)?;
    ensure!(
        counts.done == 0 && counts.requeued == 0,
        "it was re-offered while its owner lived: {counts:?}"
    );

    victim.kill()?;
    write.finish(PATIENCE)??;
    ensure!(
        file.read(8192, 12288)? == [0x5a; 12288],
        "other data were written"
    );
    ensure!(file.read(4096, 4096)? == [0; 4096], "the data went astray");
    let counts = disk.counts(Operation::Write)?;
    ensure!(
        (counts.taken, counts.requeued, counts.done) == (2, 1, 1),
        "it was not taken twice and completed once: {counts:?}"
    );
    Ok(())
}
