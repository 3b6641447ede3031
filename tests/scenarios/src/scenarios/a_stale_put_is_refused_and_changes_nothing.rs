// SPDX-License-Identifier: MIT

//! An id is good for one completion by whoever may. After a re-offer the old id is refused with
//! ESTALE and the request goes on waiting for its new owner, whose answer counts; after the
//! completion every id of it is refused with ESTALE; one that was never given out, with ENOENT.

use abuse::{Outcome, Selection};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{refused, Answer, Direct, Guest, PATIENCE};

const STALE: Option<i32> = Some(Errno::ESTALE as i32);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let (mut old, mut new) = (disk.puppet()?, disk.puppet()?);

    let mut read = file.start_read(0, 4096);
    let first = old.take_one()?;
    let offered = disk.device().requeue(&Selection::id(first.id))?;
    ensure!(offered.requeued == 1, "nothing was re-offered: {offered:?}");
    ensure!(old.put(&first, Answer::Fill(0xaa))? == STALE, "re-offered");
    let status = disk.wait_queued(1)?;
    ensure!(status.stale == 1 && status.taken == 0, "{status:?}");
    ensure!(!read.is_over(), "a refused answer ended the read");

    let second = new.take_one()?;
    ensure!(
        second.id != first.id && second.offset == first.offset,
        "{second:?} does not follow {first:?}"
    );
    ensure!(old.put(&first, Answer::Error)? == STALE, "taken by another");
    ensure!(!read.is_over(), "a refused error ended the read");
    ensure!(new.put(&second, Answer::Fill(0xbb))?.is_none(), "refused");
    ensure!(
        read.finish(PATIENCE)?? == [0xbb; 4096],
        "not the owner's bytes"
    );

    ensure!(old.put(&first, Answer::Fill(0xcc))? == STALE, "completed");
    ensure!(new.put(&second, Answer::Fill(0xcc))? == STALE, "completed");
    for invented in [0, !0, second.id ^ (1 << 63), second.id + (1 << 40)] {
        let put = disk.device().put(invented, Outcome::Done);
        refused(put, Errno::ENOENT)?;
    }
    let status = disk.status()?;
    ensure!(status.stale == 4 && status.errors == 0, "{status:?}");
    Ok(())
}
