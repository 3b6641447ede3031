// SPDX-License-Identifier: MIT

//! Space that nobody needs any more goes back to where the backing file is: by blkdiscard and mkfs,
//! by fstrim, and by ext4 and xfs that are mounted with `discard`. What is zeroed and must stay
//! allocated stays.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use abuse::Operation;
use anyhow::{ensure, Context, Result};

use crate::kit::{wait_for, Direct, Disk, Guest, Mount, PATIENCE};

const MIB: u64 = 1 << 20;
const FILE: u64 = 32 * MIB;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=512M,discard,write_zeroes")?;
    let backing = guest.file("backing.img");
    let server = disk.serve(&format!("file:{},create", backing.display()))?;
    by_hand(guest, &disk, &backing)?;

    for (name, make, check) in [
        ("ext4", "mkfs.ext4 -q -E discard", "e2fsck -fn"),
        ("xfs", "mkfs.xfs -q -f", "xfs_repair -n"),
    ] {
        let (make, check) = (words(make), words(check));
        let before = disk.counts(Operation::Discard)?.bytes;
        guest
            .command(make[0])
            .args(&make[1..])
            .arg(disk.path())
            .ok()?;
        let discarded = disk.counts(Operation::Discard)?.bytes - before;
        ensure!(discarded >= 500 * MIB, "{name}: mkfs discarded {discarded}");

        let mount = guest.mount(disk.path())?;
        let empty = settled(&mount, &backing)?;
        fill(&mount, &backing, empty).context(name)?;
        std::fs::remove_file(mount.path().join("large"))?;
        nix::unistd::sync();
        guest.command("fstrim").arg(mount.path()).ok()?;
        given_back(guest, &mount, &backing, empty).context(format!("{name}, fstrim"))?;
        mount.unmount()?;

        let mount = guest.mount_with(&disk.path(), "discard")?;
        let empty = settled(&mount, &backing)?;
        fill(&mount, &backing, empty).context(name)?;
        std::fs::remove_file(mount.path().join("large"))?;
        given_back(guest, &mount, &backing, empty).context(format!("{name}, mounted so"))?;
        mount.unmount_and_check(&check)?;
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    drop(server);
    Ok(())
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Bytes that a file takes.
fn space(file: &Path) -> Result<u64> {
    Ok(std::fs::metadata(file)?.blocks() * 512)
}

fn by_hand(guest: &Guest, disk: &Disk<'_>, backing: &Path) -> Result<()> {
    let file = Direct::open(disk.path())?;
    let write = || -> Result<()> {
        for at in 0..8 {
            file.write(at * MIB, &[1; MIB as usize])?;
        }
        ensure!(space(backing)? >= 8 * MIB, "{} bytes", space(backing)?);
        Ok(())
    };
    for (command, keeps) in [
        ("blkdiscard -f -l 8M", false),
        ("fallocate -p -o 0 -l 8M", false),
        ("blkdiscard -f -z -l 8M", true),
    ] {
        write()?;
        let command = words(command);
        guest
            .command(command[0])
            .args(&command[1..])
            .arg(disk.path())
            .ok()?;
        let left = space(backing)?;
        ensure!(
            (left >= 8 * MIB) == keeps && (keeps || left <= MIB),
            "{command:?} leaves {left} bytes"
        );
        ensure!(
            file.read(0, 8 * MIB as usize)?
                .iter()
                .all(|&byte| byte == 0),
            "{command:?} left data"
        );
    }
    Ok(())
}

/// What the backing file takes when the file system has written all it has.
fn settled(mount: &Mount<'_>, backing: &Path) -> Result<u64> {
    std::fs::File::open(mount.path())?.sync_all()?;
    space(backing)
}

fn fill(mount: &Mount<'_>, backing: &Path, empty: u64) -> Result<()> {
    let data = vec![0x3c; FILE as usize];
    std::fs::write(mount.path().join("large"), data)?;
    nix::unistd::sync();
    let full = space(backing)?;
    ensure!(full >= empty + FILE / 4 * 3, "{full} bytes, {empty} before");
    Ok(())
}

/// Waits until nearly all of the file's space was given back. Logs grow meanwhile.
fn given_back(guest: &Guest, mount: &Mount<'_>, backing: &Path, empty: u64) -> Result<()> {
    wait_for("the space to come back", PATIENCE, || {
        guest.command("sync").arg("-f").arg(mount.path()).ok()?;
        Ok((space(backing)? <= empty + FILE / 4).then_some(()))
    })
    .with_context(|| format!("{:?} bytes are left of {empty}", space(backing)))
}
