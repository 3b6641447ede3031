// SPDX-License-Identifier: MIT

//! The only worker of a busy disk is killed. Nothing fails: what it held waits, more requests
//! gather, and a new worker goes on where it ended.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{Fio, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let mut server = disk.serve("ram:only")?;
    let options = ["rw=randwrite", "bs=4k", "iodepth=32", "size=16M"];
    let mut load = Fio::on(guest, disk.path(), &options).verify().start()?;
    for milestone in [300, 1500] {
        disk.wait_status("the load to be busy", |status| {
            status.counts(Operation::Write).done > milestone
        })?;
        server.kill()?;
        let status = disk.wait_status("all of the load to wait", |status| status.queued >= 32)?;
        ensure!(status.taken == 0, "a dead worker still holds something");
        ensure!(status.errors == 0, "requests failed: {status:?}");
        ensure!(load.process.is_running()?, "the load ended early");
        server = disk.serve("ram:only")?;
    }
    load.finish()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    Ok(())
}
