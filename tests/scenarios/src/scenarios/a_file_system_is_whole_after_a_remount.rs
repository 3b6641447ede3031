// SPDX-License-Identifier: MIT

//! ext4 lives on the disk: made, filled with a tree of files, unmounted, found clean, and after a
//! remount with another worker every file is what it was.

use std::path::Path;

use anyhow::Result;

use crate::kit::{Guest, Mount};

/// Some hundred files, links and directories that every guest has.
const TREE: &str = "usr/lib/udev";
const MORE: &str = "etc";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=256M")?;
    let image = guest.file("disk.img");
    let backend = format!("file:{},create", image.display());
    let server = disk.serve(&backend)?;

    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let archive = guest.file("tree.tar");
    let tar = || guest.command("tar").arg("-C");
    tar()
        .arg("/")
        .arg("-cf")
        .arg(&archive)
        .args([TREE, MORE])
        .ok()?;
    let mount = guest.mount(disk.path())?;
    tar().arg(mount.path()).arg("-xf").arg(&archive).ok()?;
    same(guest, &mount)?;
    mount.unmount()?;
    check(guest, &disk.path())?;

    // Not a byte of it can come from anywhere but the backing file.
    drop(server);
    let _server = disk.serve(&backend)?;
    let mount = guest.mount(disk.path())?;
    same(guest, &mount)?;
    mount.unmount()?;
    check(guest, &disk.path())
}

fn same(guest: &Guest, mount: &Mount<'_>) -> Result<()> {
    for tree in [TREE, MORE] {
        let (here, there) = (Path::new("/").join(tree), mount.path().join(tree));
        let diff = guest.command("diff").args(["-r", "--no-dereference"]);
        diff.arg(here).arg(there).ok()?;
    }
    Ok(())
}

fn check(guest: &Guest, disk: &Path) -> Result<()> {
    guest.command("e2fsck").arg("-fn").arg(disk).ok()?;
    Ok(())
}
