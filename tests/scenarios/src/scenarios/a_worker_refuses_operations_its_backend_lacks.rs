// SPDX-License-Identifier: MIT

//! A worker whose backend lacks what the disk was set up with refuses to serve it and names what is
//! missing, before it takes a request. What the backend is made of decides: a file system without
//! holes has no discard, and a block device has what the device below it has.

use std::path::Path;

use abuse::{Operation, State};
use anyhow::{ensure, Context, Result};

use crate::kit::{Disk, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let file = format!("file:{},create", guest.file("plain.img").display());
    let vfat = guest.file("vfat.img");
    std::fs::File::create(&vfat)?.set_len(64 << 20)?;
    guest.command("mkfs.vfat").arg(&vfat).ok()?;
    let mount = guest.mount_loop(&vfat)?;
    let on_vfat = format!("file:{},create", mount.path().join("disk").display());
    let below = guest.disk("size=16M,secure_erase")?;
    let device = |disk: &Disk<'_>| format!("file:{}", disk.path().display());
    let _lower = below.serve("null")?;

    for (backend, keys, missing) in [
        ("ram:lacking", "secure_erase", Operation::SecureErase),
        (&file, "secure_erase", Operation::SecureErase),
        (&on_vfat, "discard", Operation::Discard),
        (&device(&below), "discard", Operation::Discard),
    ] {
        let disk = guest.disk(&format!("size=16M,{keys}"))?;
        refuses(guest, &disk, backend, missing).context(backend.to_string())?;
    }
    // The same backends serve disks without it.
    for backend in [&on_vfat, &device(&below)] {
        let disk = guest.disk("size=16M,write_zeroes")?;
        let _server = disk.serve(backend).context(backend.to_string())?;
        guest
            .command("blkdiscard")
            .arg("-fz")
            .arg(disk.path())
            .ok()?;
        ensure!(disk.counts(Operation::WriteZeroes)?.done > 0);
    }
    mount.unmount()?;

    // What the device below has goes all the way down.
    let disk = guest.disk("size=16M,secure_erase")?;
    let _server = disk.serve(&device(&below))?;
    erase(guest, &disk.path())?;
    for disk in [&disk, &below] {
        let erased = disk.counts(Operation::SecureErase)?.bytes;
        ensure!(erased == 16 << 20, "{}: {erased}", disk.path().display());
    }
    Ok(())
}

fn erase(guest: &Guest, disk: &Path) -> Result<()> {
    guest.command("blkdiscard").arg("-fs").arg(disk).ok()?;
    Ok(())
}

fn refuses(guest: &Guest, disk: &Disk<'_>, backend: &str, missing: Operation) -> Result<()> {
    let said = guest
        .command("abusectl")
        .args(["server", &disk.control(), "--backend", backend])
        .run()?;
    ensure!(said.status.code() == Some(1), "{said:?}");
    let words = format!("set up with {missing}, which the backend lacks");
    ensure!(
        said.stderr.contains(&words),
        "no '{words}': {}",
        said.stderr
    );
    let status = disk.status()?;
    ensure!(
        status.state == State::Ready && status.workers == 0,
        "it took requests: {status:?}"
    );
    Ok(())
}
