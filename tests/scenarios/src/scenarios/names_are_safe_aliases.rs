// SPDX-License-Identifier: MIT

//! A device that was added under a name can be called by it wherever a device is asked for, and its disk
//! is at /dev/abuse/by-name as long as there is one. What a name means is what the driver says, whatever
//! anybody has made of the links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use abuse::{Device, NewDevice, Registry, Selection, Setup};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{refused, udev, wait_until, Direct, Guest, PATIENCE};

const LINK: &str = "/dev/abuse/by-name/scratch";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let node = guest.abusectl(0, &["add", "--name", "scratch"])?;
    let number = Device::open("scratch")?.number();
    ensure!(node == format!("/dev/abctl{number}\n"), "{node}");
    ensure!(!Path::new(LINK).exists(), "a link without a disk");
    let device = Device::open("scratch")?;
    device.setup(&Setup::new(8 << 20))?;
    udev::settle()?;
    let target = fs::canonicalize(LINK)?;
    ensure!(target == device.disk_path(), "{}", target.display());

    let mut server = guest
        .command("abusectl")
        .args(["server", "scratch", "--backend", "ram:scratch"])
        .spawn()?;
    wait_until("the server", PATIENCE, || {
        device.status().is_ok_and(|status| status.workers > 0)
    })?;
    Direct::open(LINK)?.write(0, &[1; 4096])?;
    for words in [
        &["info", "scratch"][..],
        &["list", "-o", "ALIAS", "scratch"],
    ] {
        let said = guest.abusectl(0, words)?;
        ensure!(said.contains("scratch"), "{words:?}: {said}");
    }
    guest.abusectl(0, &["resize", "scratch", "16M"])?;
    let requeued = Device::open(LINK)?.requeue(&Selection::all())?;
    ensure!(requeued.requeued == 0);

    // Somebody who may make links turns this one to a disk of another's, and makes some more.
    let other = guest.disk("size=1M")?;
    let _udev = guest.hold_udev()?;
    fs::remove_file(LINK)?;
    symlink(other.path(), LINK)?;
    for lie in ["other", "abuse0x"] {
        symlink(other.path(), Path::new(LINK).with_file_name(lie))?;
        guest.abusectl(4, &["info", lie])?;
        guest.abusectl(
            4,
            &["reset", &format!("/dev/abuse/by-name/{lie}"), "--force"],
        )?;
        fs::remove_file(Path::new(LINK).with_file_name(lie))?;
    }
    ensure!(Device::open(LINK)?.number() == number);
    let said = guest.abusectl(0, &["reset", LINK])?;
    ensure!(
        said.contains(&format!("/dev/abctl{number}: reset")),
        "{said}"
    );
    ensure!(other.status()?.setup.is_some(), "the wrong disk was reset");
    server.wait(PATIENCE)?;
    drop(_udev);
    udev::settle()?;
    // udevd leaves alone what somebody else put there; its own link is gone.
    if let Ok(target) = fs::read_link(LINK) {
        ensure!(target == other.path(), "a link without a disk: {target:?}");
        fs::remove_file(LINK)?;
    }

    // The name goes with the device, and may come back with another.
    guest.abusectl(0, &["remove", "scratch"])?;
    guest.abusectl(4, &["info", "scratch"])?;
    let registry = Registry::open()?;
    let spare = guest.add()?;
    ensure!(spare.number() == number);
    registry.add(&NewDevice::named("scratch"))?;
    ensure!(Device::open("scratch")?.number() != number);
    refused(registry.add(&NewDevice::named("scratch")), Errno::EEXIST)?;
    guest.abusectl(0, &["remove", "scratch"])?;
    Ok(())
}
