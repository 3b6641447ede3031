// SPDX-License-Identifier: MIT

//! A worker stands still with a read in its hands. The read is offered again and served by another;
//! when the first one goes on, its answer is refused.

use abuse::Selection;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let mut sleeper = disk.puppet()?;
    let mut read = file.start_read(4096, 4096);
    let held = sleeper.take_one()?;
    sleeper.stop()?;
    sleeper.say_put(&held, Answer::Fill(0xaa))?;

    let mut other = disk.puppet()?;
    ensure!(!read.is_over(), "a stopped worker answered");
    let offered = disk.device().requeue(&Selection::pid(sleeper.pid()))?;
    ensure!((offered.requeued, offered.refused) == (1, 0), "{offered:?}");
    let again = other.take_one()?;
    ensure!(other.put(&again, Answer::Fill(0xbb))?.is_none(), "refused");
    ensure!(
        read.finish(PATIENCE)?? == [0xbb; 4096],
        "other bytes were read"
    );

    sleeper.resume()?;
    let late = sleeper.hear_put()?;
    ensure!(late == Some(Errno::ESTALE as i32), "late, and got {late:?}");
    ensure!(disk.status()?.stale == 1, "the late answer was not counted");
    Ok(())
}
