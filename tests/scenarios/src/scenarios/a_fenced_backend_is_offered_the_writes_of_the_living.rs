// SPDX-License-Identifier: MIT

//! Where the backend rejects old writers by itself, a lease that is over and whoever asks offer again
//! what a living worker holds, writes too; its late PUT is refused. Elsewhere that is EBUSY.

use abuse::{Operation, Selection};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{refused, Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,fenced_backend,lease=300ms")?;
    let file = Direct::open(disk.path())?;
    let (mut slow, mut other) = (disk.puppet()?, disk.puppet()?);
    let write = file.start_write(0, vec![1; 4096]);
    let late = slow.take_one()?;
    disk.wait_status("the lease to be over", |status| status.queued == 1)?;
    let held = other.take_one()?;
    ensure!(held.attempt == 0, "a lease counted as a death: {held:?}");
    ensure!(slow.put(&late, Answer::Error)? == Some(Errno::ESTALE as i32));
    let again = disk.device().requeue(&Selection::pid(other.pid()))?;
    ensure!((again.requeued, again.refused) == (1, 0), "{again:?}");
    let held = other.take_one()?;
    ensure!(other.put(&held, Answer::Done)?.is_none(), "refused");
    write.finish(PATIENCE)??;
    ensure!(disk.counts(Operation::Write)?.requeued == 2);

    let plain = guest.disk("size=16M")?;
    let file = Direct::open(plain.path())?;
    let mut slow = plain.puppet()?;
    let write = file.start_write(0, vec![1; 4096]);
    let held = slow.take_one()?;
    let asked = plain.device().requeue(&Selection::pid(slow.pid()));
    refused(asked, Errno::EBUSY)?;
    ensure!(slow.put(&held, Answer::Done)?.is_none(), "refused");
    write.finish(PATIENCE)??;
    Ok(())
}
