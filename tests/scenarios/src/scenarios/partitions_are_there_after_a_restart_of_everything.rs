// SPDX-License-Identifier: MIT

//! A disk with a partition table, GPT or MBR, and a file system on the first partition: workers and
//! supervisor are killed, the device is reset, set up again over the same file and served by
//! others. The same partitions appear by themselves, with what was written to it.

use std::path::PathBuf;

use anyhow::{ensure, Context, Result};

use crate::kit::{servers_of, wait_for, wait_until, Disk, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    for label in ["gpt", "dos"] {
        restart(guest, label).context(label)?;
    }
    Ok(())
}

fn restart(guest: &Guest, label: &str) -> Result<()> {
    let disk = guest.disk("size=96M,partscan,discard")?;
    let backend = format!("file:{},create", guest.file(label).display());
    let mut supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let sfdisk = format!("printf ',48M\\n,\\n' | sfdisk --quiet --label {label} \"$1\"");
    let table = guest.command("sh").args(["-c", &sfdisk, "sfdisk"]);
    table.arg(disk.path()).ok()?;
    let before = partitions(guest, &disk)?;
    let first = &before[0];
    let mkfs = guest.command("mkfs.ext4").arg("-q").arg(&first.node);
    mkfs.ok()?;
    let mount = guest.mount(&first.node)?;
    std::fs::write(mount.path().join("file"), &first.id)?;
    mount.unmount()?;

    supervisor.process.kill()?;
    for worker in servers_of(&disk) {
        crate::kit::command::send(worker, nix::sys::signal::Signal::SIGKILL)?;
    }
    wait_until("the workers to be gone", PATIENCE, || {
        disk.status().is_ok_and(|status| status.workers == 0)
    })?;
    let device = disk.device();
    device.reset(true, Some(PATIENCE))?;
    ensure!(
        !before.iter().any(|place| place.node.exists()),
        "a partition outlived its disk"
    );
    device.setup(disk.setup())?;
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let after = partitions(guest, &disk)?;
    ensure!(after == before, "{after:?} was {before:?}");
    let mount = guest.mount(&first.node)?;
    let found = std::fs::read_to_string(mount.path().join("file"))?;
    ensure!(found == first.id, "{found:?} on {first:?}");
    mount.unmount()?;
    guest.command("e2fsck").arg("-fn").arg(&first.node).ok()?;
    disk.wait_idle(PATIENCE)?;
    supervisor.drain()?;
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Place {
    node: PathBuf,
    /// START+SECTORS and the partition's own UUID.
    id: String,
}

/// Waits for both partitions.
fn partitions(guest: &Guest, disk: &Disk<'_>) -> Result<Vec<Place>> {
    (1..=2)
        .map(|number| {
            let node = PathBuf::from(format!("{}p{number}", disk.path().display()));
            let name = node.file_name().context("a name")?.to_string_lossy();
            let start = wait_for("a partition", PATIENCE, || {
                Ok(disk.sysfs(&format!("{name}/start")).ok())
            })?;
            wait_until("its node", PATIENCE, || node.exists())?;
            let size = disk.sysfs(&format!("{name}/size"))?;
            let blkid = guest
                .command("blkid")
                .args(["-p", "-s", "PART_ENTRY_UUID", "-o", "value"]);
            let uuid = blkid.arg(&node).ok()?;
            ensure!(!uuid.trim().is_empty(), "{name} has no UUID");
            let id = format!("{start}+{size} {}", uuid.trim());
            Ok(Place { node, id })
        })
        .collect()
}
