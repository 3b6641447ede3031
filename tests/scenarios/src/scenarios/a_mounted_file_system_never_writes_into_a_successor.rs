// SPDX-License-Identifier: MIT

//! A filesystem that is still mounted across a reset and a new set-up gets errors for ever, and not one
//! byte of it reaches the new disk.
//!
//! ext4 has dirty data when the device is reset and set up again with the same size. It is written to,
//! synced and unmounted; the new disk, served from fresh memory, was never written.

use std::fs;
use std::io::Write;

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{wait_until, Direct, Guest, PATIENCE};

const SIZE: usize = 32 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=32M")?;
    let server = disk.serve("ram:predecessor")?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    let place = mount.path().join("file");
    fs::write(&place, vec![0xa5; 1 << 20])?;
    let mut open = fs::OpenOptions::new().append(true).open(&place)?;
    open.write_all(&vec![0x5a; 1 << 20])?;

    disk.device().reset(true, Some(PATIENCE))?;
    drop(server);
    disk.device().setup(disk.setup())?;
    wait_until("the disk's node", PATIENCE, || disk.path().exists())?;
    let _server = disk.serve("ram:successor")?;

    let late = open.write_all(b"late").and_then(|()| open.sync_all());
    ensure!(late.is_err(), "the old filesystem could still be synced");
    let other = fs::write(mount.path().join("other"), "late").is_ok();
    let synced = fs::File::open(mount.path())
        .and_then(|file| file.sync_all())
        .is_ok();
    ensure!(!(other && synced), "the old filesystem took a new file");
    let _ = guest.command("sync").run()?;
    drop(open);
    let _ = guest.command("umount").arg(mount.path()).run()?;

    let writes = disk.counts(Operation::Write)?;
    ensure!(writes.queued == 0, "the new disk was written: {writes:?}");
    let file = Direct::open(disk.path())?;
    for place in (0..SIZE).step_by(1 << 20) {
        let read = file.read(place as u64, 1 << 20)?;
        ensure!(
            read.iter().all(|&byte| byte == 0),
            "the new disk is not empty at {place}"
        );
    }
    Ok(())
}
