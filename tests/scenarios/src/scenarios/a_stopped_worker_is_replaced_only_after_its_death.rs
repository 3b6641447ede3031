// SPDX-License-Identifier: MIT

//! A supervised worker that stands still keeps its writes: nobody may offer them again while it
//! lives. Killed, it loses them at once, and the other worker completes them.

use std::time::Duration;

use anyhow::{ensure, Result};
use nix::errno::Errno;

use abuse::Selection;

use crate::kit::{refused, Fio, Guest, Supervise};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let job = ["rw=randwrite", "bs=4k", "iodepth=32", "size=8M"];
    for round in 0..5 {
        let load = Fio::on(guest, disk.path(), &job).verify().start()?;
        let victim = supervisor.workers()[round % 2];
        let token = Selection::owner(victim.token);
        disk.stop_amid_writes(&victim)?;
        std::thread::sleep(Duration::from_millis(200));
        refused(disk.device().requeue(&token), Errno::EBUSY)?;
        let before = disk.status()?;
        ensure!(before.taken > 0, "it holds nothing");
        let failover = supervisor.shoot(&victim)?;
        ensure!(failover.requeued > 0, "its death offered nothing again");
        load.finish()?;
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    Ok(())
}
