// SPDX-License-Identifier: MIT

//! A device whose disk is mounted is not removed, and `abusectl remove` says where it is mounted; with
//! `--force` it goes at once, the file system gets errors for ever, and the number can be used again
//! while that is still mounted.

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::{refused, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let device = guest.add()?;
    let number = device.number();
    let disk = guest.disk_on(device, &Setup::new(32 << 20))?;
    let mut server = disk.serve("ram:mounted")?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    std::fs::write(mount.path().join("file"), "there")?;

    let registry = Registry::open()?;
    let sequence = Some(disk.status()?.sequence);
    refused(registry.remove(number, sequence, false, None), Errno::EBUSY)?;
    let name = number.to_string();
    let said = guest.abusectl(5, &["remove", &name])?;
    let place = mount.path().display().to_string();
    ensure!(
        said.contains(&format!("mounted on {place}")) && said.contains("--force"),
        "{said}"
    );
    ensure!(std::fs::read_to_string(mount.path().join("file"))? == "there");

    let said = guest.abusectl(0, &["remove", &name, "--force"])?;
    ensure!(said.contains("removed") && said.contains(&place), "{said}");
    ensure!(
        server.wait(PATIENCE)?.code() == Some(4),
        "{}",
        server.stderr()?
    );
    let write = std::fs::File::create(mount.path().join("late")).and_then(|file| file.sync_all());
    ensure!(write.is_err(), "a file was made on a disk that is gone");

    registry.add(&NewDevice::numbered(number))?;
    let fresh = guest.disk_on(Device::open(&name)?, &Setup::new(32 << 20))?;
    let _server = fresh.serve("null")?;
    std::fs::File::create(mount.path().join("later"))
        .and_then(|file| file.sync_all())
        .err()
        .context("the old file system writes to the new disk")?;
    mount.unmount()?;
    fresh.wait_idle(PATIENCE)?;
    ensure!(fresh.counts(abuse::Operation::Write)?.queued == 0);
    Ok(())
}
