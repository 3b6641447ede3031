// SPDX-License-Identifier: MIT

//! `abusectl partscan` finds the partitions of a disk that was not set up to be scanned, when it is
//! asked and not before. Without a worker, with a partition in use, or without the right it is refused
//! and says why.

use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Result};

use crate::kit::{Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let (node, control) = (disk.path().display().to_string(), disk.control());
    let partition = PathBuf::from(format!("{node}p1"));
    let partscan = || guest.command("abusectl").args(["partscan", &control]);

    partscan().run()?.says(1, "no worker has come yet")?;
    let server = disk.serve("ram:partscan")?;
    disk.wait_status("a first look, if there were one", |status| {
        status.openers == 0 && status.is_idle()
    })?;
    partscan()
        .run()?
        .says(0, &format!("{node}: no partitions"))?;

    let image = guest.file("table");
    fs::File::create(&image)?.set_len(16 << 20)?;
    guest
        .command("sh")
        .arg("-c")
        .arg(format!(
            "echo 'label: gpt\n,4M\n,' | sfdisk {}",
            image.display()
        ))
        .ok()?;
    guest
        .command("dd")
        .arg(format!("if={}", image.display()))
        .args([&format!("of={node}"), "bs=1M", "oflag=direct"])
        .args(["conv=notrunc", "status=none"])
        .ok()?;
    ensure!(!partition.exists(), "somebody looked before it was asked");
    partscan()
        .run()?
        .says(0, &format!("{node}p1\n{node}p2\n"))?;
    ensure!(partition.exists(), "{} is not there", partition.display());

    let held = fs::File::open(&partition)?;
    let busy = partscan().run()?;
    busy.says(5, "Device or resource busy")?;
    ensure!(
        busy.stderr.contains("nmount"),
        "no next step: {}",
        busy.stderr
    );
    drop(held);
    partscan().run()?.says(0, &format!("{node}p1\n"))?;

    let denied = guest
        .command("setpriv")
        .args(["--reuid=65534", "--regid=6", "--clear-groups"])
        .args(["--inh-caps=-all", "abusectl", "partscan", &control])
        .run()?;
    denied.says(1, "ermi")?;
    drop(quiet);
    drop(server);
    disk.device().reset(true, Some(PATIENCE))?;
    partscan().run()?.says(3, "not set up")
}
