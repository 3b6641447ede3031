// SPDX-License-Identifier: MIT

//! A device has one supervisor: the second one ends with status 5 and a message that names the
//! first, which does not notice.

use anyhow::{ensure, Result};

use crate::kit::{servers_of, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let first = Supervise::new(guest, &disk, 2, "ram:second").start()?;
    let before = (first.workers(), servers_of(&disk));
    let mut second = Supervise::new(guest, &disk, 2, "ram:second").spawn()?;
    let status = second.process.wait(PATIENCE)?;
    let log = second.log()?;
    ensure!(status.code() == Some(5), "{status}: {log}");
    let named = format!("(pid {})", first.process.pid());
    ensure!(log.contains(&named), "{log}");
    ensure!(
        before == (first.workers(), servers_of(&disk)),
        "the first one's workers changed"
    );
    first.drain()?;
    Ok(())
}
