// SPDX-License-Identifier: MIT

//! A device that is reset under load: its workers end with status 3, so does the supervisor, and
//! nobody is started again. Whoever waited gets an error at once.

use anyhow::{ensure, Result};

use crate::kit::{servers_of, Fio, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let mut supervisor = Supervise::new(guest, &disk, 2, "ram:reset-under").start()?;
    let load = Fio::under_way(guest, &disk, "rw=randwrite")?;
    guest
        .command("abusectl")
        .args(["reset", &disk.control(), "--force"])
        .ok()?;
    let status = supervisor.process.wait(PATIENCE)?;
    let log = supervisor.log()?;
    ensure!(status.code() == Some(3), "{status}: {log}");
    ensure!(
        log.contains("ended with status 3 (the device is not set up)"),
        "{log}"
    );
    ensure!(log.matches("started as owner").count() == 2, "{log}");
    ensure!(servers_of(&disk).is_empty(), "workers were left: {log}");
    let report = load.report()?;
    ensure!(report.errors > 0 || !report.ended_well, "fio saw no error");
    Ok(())
}
