// SPDX-License-Identifier: MIT

//! A disk does not shrink while it is open, nor below the end of a partition, unless forced; otherwise
//! it does. What was queued behind the new end ends all the same, and nothing new gets there.

use abuse::Operation;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{refused, wait_until, Answer, Direct, Guest, PATIENCE};

const MIB: u64 = 1 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M,partscan")?;
    let (device, number) = (disk.device(), disk.device().number().to_string());
    let server = disk.serve("ram:shrink")?;
    let parted = guest.command("parted").arg("-s").arg(disk.path());
    parted
        .args(["mklabel", "gpt", "mkpart", "one", "1MiB", "32MiB"])
        .ok()?;
    let part = disk.path().display().to_string() + "p1";
    wait_until(&part, PATIENCE, || std::path::Path::new(&part).exists())?;
    // parted itself waits for udevd.
    crate::kit::udev::settle()?;
    let _udev = guest.hold_udev()?;
    disk.wait_idle(PATIENCE)?;

    let file = Direct::open(disk.path())?;
    refused(device.resize(48 * MIB, false), Errno::EBUSY)?;
    let said = guest.abusectl(5, &["resize", &number, "48M"])?;
    ensure!(said.contains("force"), "{said}");
    // To stay as large as it is takes nothing from anybody.
    ensure!(device.resize(64 * MIB, false)? == 64 * MIB);
    drop(file);
    let file = Direct::open(&part)?;
    refused(device.resize(48 * MIB, false), Errno::EBUSY)?;
    drop(file);
    refused(device.resize(32 * MIB - 4096, false), Errno::EBUSY)?;
    ensure!(device.resize(32 * MIB, false)? == 64 * MIB);
    ensure!(disk.sysfs("size")?.parse::<u64>()? == 32 << 11);
    guest.abusectl(0, &["resize", &number, "16M", "--force"])?;
    ensure!(device.resize(64 * MIB, false)? == 16 * MIB);

    drop(server);
    let file = Direct::open(disk.path())?;
    let (far, near) = (48 * MIB, 8 * MIB);
    let reads = [file.start_read(far, 4096), file.start_read(near, 4096)];
    disk.wait_queued(2)?;
    refused(device.resize(16 * MIB, false), Errno::EBUSY)?;
    ensure!(device.resize(16 * MIB, true)? == 64 * MIB);
    let mut puppet = disk.puppet()?;
    for held in puppet.take(2)? {
        ensure!(puppet.put(&held, Answer::Done)?.is_none());
    }
    for read in reads {
        read.finish(PATIENCE)??;
    }
    let taken = disk.counts(Operation::Read)?.taken;
    ensure!(file.read(far, 4096).is_err(), "it reads behind the end");
    ensure!(
        file.write(far, &[1; 4096]).is_err(),
        "it writes behind the end"
    );
    ensure!(disk.counts(Operation::Read)?.taken == taken);
    drop(file);
    puppet.kill()?;
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}
