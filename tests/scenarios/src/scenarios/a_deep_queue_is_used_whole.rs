// SPDX-License-Identifier: MIT

//! On a disk of depth 4096 that many requests wait for a worker, and not one more; on one with a
//! hardware queue for each processor, each has its own. A worker then finishes all of them.

use anyhow::{ensure, Result};

use crate::kit::{Fio, Guest};

const DEPTH: u32 = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk(&format!("size=64M,depth={DEPTH}"))?;
    let load = Fio::on(
        guest,
        disk.path(),
        &[
            "rw=randwrite",
            "bs=4k",
            "iodepth=5000",
            "size=32M",
            "norandommap",
        ],
    );
    let load = load.start()?;
    let status = disk.wait_queued(DEPTH)?;
    ensure!(status.taken == 0, "{status:?}");
    let _server = disk.serve("ram:deep")?;
    let report = load.finish()?;
    ensure!(report.writes == 8192, "{report:?}");
    ensure!(disk.status()?.errors == 0);

    let cpus = std::thread::available_parallelism()?.get();
    let wide = guest.disk("size=64M,depth=2,queues=4096")?;
    ensure!(wide.setup().queues as usize == cpus, "{:?}", wide.setup());
    let jobs = format!("numjobs={cpus}");
    let options = [
        "rw=randread",
        "bs=4k",
        "iodepth=8",
        "size=4M",
        "cpus_allowed_policy=split",
    ];
    let pinned = format!("cpus_allowed=0-{}", cpus - 1);
    let mut options = options.to_vec();
    options.extend([jobs.as_str(), pinned.as_str()]);
    let load = Fio::on(guest, wide.path(), &options).start()?;
    wide.wait_queued(2 * cpus as u32)?;
    let _server = wide.serve("ram:wide")?;
    load.finish()?;
    Ok(())
}
