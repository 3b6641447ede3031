// SPDX-License-Identifier: MIT

//! A supervisor that is told to end has a disk that nobody uses flushed and reset while its workers are
//! there, and the next one sets it up again, with what was on it. A disk that is mounted stays, and what
//! is written to it waits for the next supervisor; so does one that is to be kept.

use std::fs;

use abuse::State;
use anyhow::{ensure, Result};

use crate::kit::{udev, wait_until, Direct, Guest, Supervise, PATIENCE};

/// Behind what the file system has written.
const PLACE: u64 = 24 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=32M")?;
    let supervise = || {
        let supervise = Supervise::new(guest, &disk, 1, "ram:ended").standby(1);
        supervise.option("--setup=size=32M")
    };
    let supervisor = supervise().start()?;
    guest
        .command("mkfs.ext4")
        .args(["-q"])
        .arg(disk.path())
        .arg("16M")
        .ok()?;
    let mount = guest.mount(disk.path())?;
    let file = mount.path().join("kept");
    fs::write(&file, "written before the end")?;
    let log = supervisor.drain()?;
    ensure!(log.contains("the disk stays: "), "{log}");
    ensure!(log.contains("mounted on "), "{log}");
    ensure!(disk.status()?.state == State::Live, "a mounted disk went");

    let supervisor = supervise().start()?;
    mount.unmount()?;
    Direct::open(disk.path())?.write(PLACE, &[5; 4096])?;
    // It looks at a disk that was written to, on a slow kernel for longer than a reset waits.
    udev::settle()?;
    ensure!(disk.status()?.unflushed > 0, "somebody has flushed it");
    let log = supervisor.drain()?;
    ensure!(log.contains("nobody uses the disk: it was reset"), "{log}");
    ensure!(disk.status()?.state == State::Empty, "the disk is there");
    ensure!(disk.status()?.errors == 0, "requests failed");

    let supervisor = supervise().option("--at-end=keep").start()?;
    wait_until("the disk's node", PATIENCE, || disk.path().exists())?;
    let there = Direct::open(disk.path())?.read(PLACE, 4096)?;
    ensure!(there == [5; 4096], "what was written last is not there");
    let mount = guest.mount(disk.path())?;
    let kept = fs::read_to_string(mount.path().join("kept"))?;
    ensure!(kept == "written before the end", "the file has {kept:?}");
    mount.unmount()?;
    supervisor.drain()?;
    ensure!(disk.status()?.state != State::Empty, "it was to be kept");
    Ok(())
}
