// SPDX-License-Identifier: MIT

//! fsync of a file on ext4 ends only when the worker flushed: the disk counts flushes, and what was
//! synced is in the backing file when the worker is killed the moment after.

use std::fs::File;
use std::io::Write;

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("disk.img").display());
    let mut server = disk.serve(&backend)?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;

    let before = disk.counts(Operation::Flush)?.done;
    let mut file = File::create(mount.path().join("kept"))?;
    file.write_all(b"what was synced is kept")?;
    file.sync_all()?;
    let after = disk.counts(Operation::Flush)?.done;
    ensure!(after > before, "fsync ended and no flush was done");
    server.kill()?;
    drop(file);

    // As it is on the backing file, without what the killed worker or the page cache knew: the
    // journal is replayed from there.
    let copy = guest.file("copy.img");
    guest
        .command("cp")
        .arg(guest.file("disk.img"))
        .arg(&copy)
        .ok()?;
    let other = guest.mount_loop(&copy)?;
    let kept = std::fs::read(other.path().join("kept"))?;
    ensure!(kept == b"what was synced is kept", "the file has {kept:?}");
    other.unmount()?;

    let _server = disk.serve(&backend)?;
    mount.unmount()
}
