// SPDX-License-Identifier: MIT

//! Every worker of a busy disk is killed, and nobody comes for a minute. Then two do, and fio, which
//! wrote all the time, sees no error and reads back what it wrote.

use std::time::{Duration, Instant};

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{wait_until, Fio, Guest};

const AWAY: Duration = Duration::from_secs(60);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let servers = [disk.serve("ram:away")?, disk.serve("ram:away")?];
    let options = ["rw=randwrite", "bs=4k", "iodepth=32", "size=16M"];
    let load = Fio::on(guest, disk.path(), &options).verify();
    let mut load = load.within(Duration::from_secs(150)).start()?;
    disk.wait_status("the load to be busy", |status| {
        status.counts(Operation::Write).done > 500
    })?;
    drop(servers);
    disk.wait_status("all of the load to wait", |status| status.queued >= 32)?;

    let alone = Instant::now();
    let mut ended = false;
    wait_until("the minute to pass", AWAY * 2, || {
        ended |= !load.process.is_running().unwrap_or(false);
        ended || alone.elapsed() >= AWAY
    })?;
    ensure!(!ended, "the load ended without a worker");
    let status = disk.status()?;
    ensure!(
        status.errors == 0 && status.oldest_queued >= Some(AWAY),
        "requests did not wait all the time: {status:?}"
    );

    let _servers = [disk.serve("ram:away")?, disk.serve("ram:away")?];
    load.finish()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    Ok(())
}
