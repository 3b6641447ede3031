// SPDX-License-Identifier: MIT

//! The examples that only say where the bytes are: a disk striped over three files, each byte of
//! which is in the file where it belongs; and on top of a copy of that a snapshot, which reads like
//! its origin, keeps what is written to it, and leaves the origin alone. Both are killed and started
//! again meanwhile.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{ensure, Result};

use crate::kit::example::start;
use crate::kit::{raw, Direct, Fio, Guest, PATIENCE};

const STRIPE: u64 = 64 << 10;
const BYTES: u64 = 64 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let names = ["one", "two", "three"].map(|name| guest.file(name));
    let files: Vec<&Path> = names.iter().map(AsRef::as_ref).collect();
    let origin = guest.file("origin");
    striped(guest, &files, &origin)?;
    snapshot(guest, &origin, &guest.file("changes"))
}

fn data() -> Vec<u8> {
    (0..4u32 << 20).map(|n| (n >> 4) as u8 ^ n as u8).collect()
}

/// What is on it at last is in `copy`.
fn striped(guest: &Guest, files: &[&Path], copy: &Path) -> Result<()> {
    let device = raw::free()?;
    let mut example = start(guest, &["striped_disk-rust"], &device, files)?;
    let options = ["rw=randrw", "bsrange=4k-256k", "iodepth=16", "size=8M"];
    Fio::on(guest, device.disk_path(), &options)
        .verify()
        .run()?;
    let make = guest.command("mkfs.ext4").arg("-q");
    make.arg(device.disk_path()).ok()?;
    let mount = guest.mount(device.disk_path())?;
    std::fs::write(mount.path().join("data"), data())?;
    example.kill()?;
    let example = start(guest, &["striped_disk-rust"], &device, files)?;
    mount.unmount()?;
    let check = guest.command("e2fsck").arg("-fn");
    check.arg(device.disk_path()).ok()?;

    let disk = Direct::open(device.disk_path())?;
    let copied = File::create(copy)?;
    let open: Vec<File> = files.iter().map(File::open).collect::<Result<_, _>>()?;
    let mut piece = vec![0; STRIPE as usize];
    for at in 0..BYTES / STRIPE {
        let there = disk.read(at * STRIPE, piece.len())?;
        open[at as usize % 3].read_exact_at(&mut piece, at / 3 * STRIPE)?;
        ensure!(there == piece, "stripe {at} is elsewhere");
        copied.write_all_at(&there, at * STRIPE)?;
    }
    ensure!(device.status()?.errors == 0, "{:?}", device.status()?);
    drop((disk, example));
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}

fn snapshot(guest: &Guest, origin: &Path, changes: &Path) -> Result<()> {
    let before = std::fs::read(origin)?;
    let device = raw::free()?;
    let files = [origin, changes];
    let mut example = start(guest, &["snapshot_disk-rust"], &device, &files)?;
    let disk = Direct::open(device.disk_path())?;
    for at in (0..BYTES).step_by(1 << 20) {
        let there = disk.read(at, 1 << 20)?;
        ensure!(
            there == before[at as usize..][..1 << 20],
            "it differs at {at}"
        );
    }
    let mount = guest.mount(device.disk_path())?;
    ensure!(
        std::fs::read(mount.path().join("data"))? == data(),
        "other bytes came"
    );
    std::fs::write(mount.path().join("more"), data())?;
    nix::unistd::sync();
    example.kill()?;
    let example = start(guest, &["snapshot_disk-rust"], &device, &files)?;
    mount.unmount()?;
    let mount = guest.mount(device.disk_path())?;
    for name in ["data", "more"] {
        let there = std::fs::read(mount.path().join(name))?;
        ensure!(there == data(), "{name} has other bytes");
    }
    mount.unmount()?;
    let check = guest.command("e2fsck").arg("-fn");
    check.arg(device.disk_path()).ok()?;
    ensure!(std::fs::read(origin)? == before, "the origin has changed");
    let taken = changes.metadata()?.blocks() * 512;
    ensure!(
        (4 << 20..BYTES / 2).contains(&taken),
        "the changes take {taken} bytes"
    );
    ensure!(device.status()?.errors == 0, "{:?}", device.status()?);
    drop((disk, example));
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}
