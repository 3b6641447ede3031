// SPDX-License-Identifier: MIT

//! `trace-cmd record -e abuse` records the driver's tracepoints while a program reads a disk, and
//! `trace-cmd report` decodes them by the formats that the driver exports.

use anyhow::{ensure, Result};

use crate::kit::{trace, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let _server = disk.serve("ram:traced")?;
    let (node, record) = (disk.path().display().to_string(), guest.file("trace.dat"));
    guest
        .command("trace-cmd")
        .args(["record", "-q", "-e", "abuse", "-o"])
        .arg(&record)
        .args(["dd", &format!("if={node}"), "of=/dev/null", "bs=64k"])
        .args(["iflag=direct", "count=1", "skip=2"])
        .ok()?;
    let report = guest
        .command("trace-cmd")
        .args(["report", "-i"])
        .arg(&record)
        .ok()?;
    let events = trace::parse(&report, disk.device().number());
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    ensure!(names == ["queue", "get", "put", "end"], "{report}");
    for event in &events {
        ensure!(
            event.text.contains(" read sector=256 bytes=65536 "),
            "{event:?}"
        );
    }
    // While somebody serves what udevd reads now.
    drop(quiet);
    Ok(())
}
