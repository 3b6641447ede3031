// SPDX-License-Identifier: MIT

//! A device that is removed under load: fio gets its errors at once, every request ends exactly once,
//! and workers and supervisor end with status 4.

use abuse::{Registry, Setup};
use anyhow::{ensure, Result};

use crate::kit::{servers_of, wait_until, Fio, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk_on(guest.add()?, &Setup::new(64 << 20))?;
    let mut supervisor = Supervise::new(guest, &disk, 2, "ram:remove-under").start()?;
    let load = Fio::under_way(guest, &disk, "rw=randrw")?;
    let sequence = disk.status()?.sequence;
    let number = disk.device().number();
    Registry::open()?.remove(number, Some(sequence), true, Some(PATIENCE))?;
    let status = supervisor.process.wait(PATIENCE)?;
    ensure!(
        status.code() == Some(4),
        "{status}: {}",
        supervisor.process.stderr()?
    );
    wait_until("the workers to end", PATIENCE, || {
        servers_of(&disk).is_empty()
    })?;
    ensure!(load.finish().is_err(), "fio noticed nothing");
    Ok(())
}
