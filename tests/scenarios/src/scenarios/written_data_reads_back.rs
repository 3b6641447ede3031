// SPDX-License-Identifier: MIT

//! What was written reads back, one request at a time and sixty-four at once.
//!
//! fio writes a disk at random places and reads everything back with checksums, past the page cache
//! so that every block goes through a worker, with queue depths 1 and 64.

use anyhow::{ensure, Result};

use crate::kit::{Fio, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M,bs=512")?;
    let _server = disk.serve("ram:read-back")?;
    for (depth, size) in [("1", "2M"), ("64", "16M")] {
        let (depth, size) = (format!("iodepth={depth}"), format!("size={size}"));
        let job = ["rw=randwrite", "bs=4k", &depth, &size];
        let report = Fio::on(guest, disk.path(), &job).verify().run()?;
        ensure!(
            report.reads == report.writes && report.writes > 0,
            "{depth}: {} blocks written, {} verified",
            report.writes,
            report.reads
        );
    }
    Ok(())
}
