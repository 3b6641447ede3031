// SPDX-License-Identifier: MIT

//! SIGTERM under load: the workers complete what they took and leave, the supervisor ends with
//! status 0, and what had not been taken waits for the next supervisor without an error.

use anyhow::{ensure, Result};

use crate::kit::{Fio, Guest, Supervise};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    for _ in 0..2 {
        let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
        let job = ["rw=randwrite", "bs=4k", "iodepth=32", "size=8M"];
        let load = Fio::on(guest, disk.path(), &job).verify().start()?;
        disk.wait_status("requests under way", |status| {
            status.taken > 0 && status.ops[1].done > 64
        })?;
        let log = supervisor.drain()?;
        let status = disk.status()?;
        let requeued: u64 = status.ops.iter().map(|op| op.requeued).sum();
        ensure!(
            status.taken == 0 && requeued == 0,
            "left unfinished: {status:?}"
        );
        ensure!(log.contains("ended with status 0"), "{log}");
        let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
        load.finish()?;
        supervisor.drain()?;
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    Ok(())
}
