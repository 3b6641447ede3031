// SPDX-License-Identifier: MIT

//! A disk set up read-only refuses writes and is mounted read-only; it becomes writable while it
//! lives, and read-only again under a mounted file system, whose writes then end with an error
//! before any worker sees them. A worker that cannot write does not go on serving a disk that
//! became writable.

use abuse::{Operation, Status};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{wait_for, Direct, Disk, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let image = guest.file("image");
    std::fs::File::create(&image)?.set_len(32 << 20)?;
    let mkfs = guest.command("mkfs.ext4").args(["-q", "-b", "4096"]);
    mkfs.arg(&image).ok()?;
    let disk = guest.disk("size=32M,ro")?;
    let backend = format!("file:{}", image.display());
    let mut server = disk.serve(&backend)?;
    shows(guest, &disk, "1")?;
    // mount(8) makes it read-only by itself.
    let mount = guest.mount(disk.path())?;
    let error = std::fs::write(mount.path().join("file"), "x").err();
    let errno = error.and_then(|error| error.raw_os_error());
    ensure!(
        errno == Some(Errno::EROFS as i32),
        "mounted for writing: {errno:?}"
    );
    mount.unmount()?;
    let file = Direct::open(disk.path())?;
    ensure!(file.write(0, &[1; 4096]).is_err(), "it was written");
    ensure!(changed(&disk.status()?) == 0, "a worker saw a write");

    // Lifted: the worker that opened its file for reading only must go.
    let epoch = disk.status()?.epoch;
    reconnect(guest, &disk, "--read-write")?;
    shows(guest, &disk, "0")?;
    ensure!(disk.status()?.epoch == epoch + 1, "no new epoch");
    let write = file.start_write(31 << 20, vec![2; 4096]);
    let ended = server.wait(PATIENCE)?;
    let said = server.stderr()?;
    ensure!(!ended.success(), "it served on: {said}");
    ensure!(
        said.contains("cannot write and the disk is writable"),
        "{said}"
    );
    let _server = disk.serve(&backend)?;
    write.finish(PATIENCE)??;
    ensure!(file.read(31 << 20, 4096)? == [2; 4096]);
    drop(file);

    // Set again, under a file system that is mounted for writing.
    let mount = guest.mount(disk.path())?;
    std::fs::write(mount.path().join("before"), "kept")?;
    nix::unistd::sync();
    reconnect(guest, &disk, "--read-only")?;
    shows(guest, &disk, "1")?;
    disk.wait_status("nothing to be pending", |status| {
        status.queued + status.taken == 0
    })?;
    let before = changed(&disk.status()?);
    // The page cache may take it; the disk does not.
    let _ = std::fs::write(mount.path().join("after"), "lost");
    let synced = wait_for("an fsync to fail", PATIENCE, || {
        let file = std::fs::File::open(mount.path().join("before"))?;
        let dirty = std::fs::File::create(mount.path().join("more"));
        let synced = dirty.and_then(|_| file.sync_all());
        Ok(synced.err())
    })?;
    ensure!(synced.raw_os_error().is_some(), "{synced}");
    ensure!(
        changed(&disk.status()?) == before,
        "a worker saw what a mounted file system wrote"
    );
    mount.unmount()?;
    reconnect(guest, &disk, "--read-write")?;
    let mount = guest.mount(disk.path())?;
    ensure!(std::fs::read_to_string(mount.path().join("before"))? == "kept");
    ensure!(!mount.path().join("after").exists());
    mount.unmount()?;
    guest.command("e2fsck").arg("-fn").arg(disk.path()).ok()?;
    Ok(())
}

/// Requests that came and change data.
fn changed(status: &Status) -> u64 {
    [
        Operation::Write,
        Operation::Discard,
        Operation::WriteZeroes,
        Operation::SecureErase,
    ]
    .iter()
    .map(|&operation| status.counts(operation).queued)
    .sum()
}

fn reconnect(guest: &Guest, disk: &Disk<'_>, how: &str) -> Result<()> {
    let command = guest.command("abusectl").args(["reconnect", how]);
    command.arg(disk.control()).ok()?;
    Ok(())
}

fn shows(guest: &Guest, disk: &Disk<'_>, read_only: &str) -> Result<()> {
    disk.check_sysfs(&[("ro", read_only)])?;
    let blockdev = guest.command("blockdev").arg("--getro").arg(disk.path());
    ensure!(blockdev.ok()?.trim() == read_only);
    let lsblk = guest.command("lsblk").args(["-dno", "RO"]).arg(disk.path());
    ensure!(lsblk.ok()?.trim() == read_only);
    let setup = disk.status()?.setup;
    ensure!(setup.is_some_and(|setup| setup.read_only == (read_only == "1")));
    Ok(())
}
