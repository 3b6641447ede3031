// SPDX-License-Identifier: MIT

//! The udev rule, with the udevd of the system: nodes are root's and group disk's; a disk that no
//! worker serves is not read, whatever is on it; one that is live has its links by UUID, by label and
//! by partition, also soon after a file system was made; they go with the disk. A disk whose
//! worker went while udevd looked at it holds up no other.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use abuse::{Device, Operation, State};
use anyhow::{ensure, Context, Result};

use crate::kit::udev;
use crate::kit::{wait_until, Disk, Guest, PATIENCE};

const FIRST: &str = "5ca1ab1e-0000-4000-8000-000000000001";
const SECOND: &str = "5ca1ab1e-0000-4000-8000-000000000002";
const PART: &str = "5ca1ab1e-0000-4000-8000-000000000003";

pub(super) fn run(guest: &Guest) -> Result<()> {
    ensure!(
        Path::new("/run/udev/control").exists(),
        "no udevd runs here, and it is what is tested"
    );
    for number in Device::numbers()? {
        belongs_to_disk(&PathBuf::from(format!("/dev/abctl{number}")))?;
    }
    let disk = guest.disk("size=32M")?;
    let file = format!("file:{},create", guest.file("disk.img").display());
    unread(&disk)?;
    belongs_to_disk(&disk.path())?;
    let mut server = disk.serve(&file)?;
    make(guest, &disk, FIRST, "abuse one")?;
    points(&by("uuid", FIRST), &disk.path())?;
    points(&by("label", "abuse\\x20one"), &disk.path())?;
    // Made anew, while it is live: the new names come, and the old ones go.
    make(guest, &disk, SECOND, "abuse-two")?;
    points(&by("uuid", SECOND), &disk.path())?;
    points(&by("label", "abuse-two"), &disk.path())?;
    gone(&by("uuid", FIRST))?;

    // All that is known of the disk goes with it.
    udev::settle()?;
    server.kill()?;
    disk.device().reset(true, Some(PATIENCE))?;
    gone(&by("uuid", SECOND))?;
    gone(&by("label", "abuse-two"))?;

    // Another disk, with the same file system on it: nobody reads it before it is live.
    let disk = guest.disk("size=32M")?;
    unread(&disk)?;
    let mut server = disk.serve(&file)?;
    points(&by("uuid", SECOND), &disk.path())?;

    // Its worker goes, somebody closes it after writing, and udevd looks: at the others, too.
    udev::settle()?;
    server.kill()?;
    drop(fs::OpenOptions::new().write(true).open(disk.path())?);
    disk.wait_status("udevd to look", |status| status.queued > 0)?;
    let other = guest.disk("size=32M,partscan")?;
    let _other_server = other.serve("ram:links")?;
    make(guest, &other, FIRST, "other")?;
    points(&by("uuid", FIRST), &other.path())?;
    ensure!(disk.status()?.queued > 0, "who answered the first disk?");
    let _server = disk.serve(&file)?;
    udev::settle()?;
    points(&by("uuid", SECOND), &disk.path())?;

    // Partitions have names of their own.
    let table = format!("label: gpt\nsize=8M, uuid={PART}\n");
    guest
        .command("sh")
        .args([
            "-c",
            "printf '%s' \"$1\" | sfdisk --quiet --wipe always \"$0\"",
        ])
        .arg(other.path())
        .arg(&table)
        .ok()?;
    let first = PathBuf::from(format!("{}p1", other.path().display()));
    points(&by("partuuid", PART), &first)?;
    belongs_to_disk(&first)?;
    gone(&by("uuid", FIRST))?;
    udev::settle()?;
    other.device().reset(true, Some(PATIENCE))?;
    gone(&by("partuuid", PART))
}

fn make(guest: &Guest, disk: &Disk<'_>, uuid: &str, label: &str) -> Result<()> {
    let made = guest
        .command("mkfs.ext4")
        .args(["-q", "-F", "-U", uuid, "-L", label])
        .arg(disk.path());
    made.ok().map(drop)
}

fn by(what: &str, name: &str) -> PathBuf {
    Path::new("/dev/disk").join(format!("by-{what}")).join(name)
}

/// Waits until the link is there.
fn points(link: &Path, to: &Path) -> Result<()> {
    wait_until(
        &format!("{} to be {}", link.display(), to.display()),
        PATIENCE,
        || fs::canonicalize(link).is_ok_and(|found| found == to),
    )
}

fn gone(link: &Path) -> Result<()> {
    wait_until(&format!("{} to go", link.display()), PATIENCE, || {
        fs::symlink_metadata(link).is_err()
    })
}

/// udevd has seen the disk, and has not read it: there is nobody who would have answered.
fn unread(disk: &Disk<'_>) -> Result<()> {
    udev::settle()?;
    let status = disk.status()?;
    let came: u64 = Operation::ALL
        .iter()
        .map(|&operation| status.counts(operation).queued)
        .sum();
    ensure!(
        status.state == State::Ready && came == 0 && status.openers == 0,
        "somebody read a disk that is not live: {status:?}"
    );
    Ok(())
}

/// A node of root and group disk, for nobody else.
fn belongs_to_disk(node: &Path) -> Result<()> {
    let disk: u32 = fs::read_to_string("/etc/group")?
        .lines()
        .find_map(|line| line.strip_prefix("disk:")?.split(':').nth(1)?.parse().ok())
        .context("the group disk")?;
    let there = || -> Option<()> {
        let found = fs::metadata(node).ok()?;
        let is_node = found.file_type().is_block_device() || found.file_type().is_char_device();
        let right = (found.uid(), found.gid(), found.mode() & 0o7777) == (0, disk, 0o660);
        (is_node && right).then_some(())
    };
    wait_until(
        &format!("{} to be the disk group's", node.display()),
        PATIENCE,
        || there().is_some(),
    )
    .with_context(|| format!("{:?}", fs::metadata(node)))
}
