// SPDX-License-Identifier: MIT

//! The module cannot be unloaded while a control node is open or a device is set up; otherwise it can,
//! leaves nothing behind, and can be loaded again.

use std::path::Path;

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Context, Result};

use crate::kit::raw::{free, node, Memory, Raw};
use crate::kit::{wait_for, wait_until, Direct, Guest, PATIENCE};

const MODULE: &str = "/run/abuse/abuse.ko";

pub(super) fn run(guest: &Guest) -> Result<()> {
    if !Path::new(MODULE).exists() {
        return crate::kit::skip("the module is somewhere else");
    }
    let _udev = guest.hold_udev()?;
    let rmmod = || guest.command("rmmod").arg("abuse").run();
    let refused = |what: &str| -> Result<()> {
        let said = rmmod()?;
        ensure!(!said.status.success(), "{what}: the module went");
        ensure!(said.stderr.contains("in use"), "{what}: {}", said.stderr);
        Ok(())
    };
    for round in 0..10 {
        let path = {
            let device = free()?;
            let path = node(&device);
            refused("a node is open")?;
            device.setup(&Setup::new(1 << 20))?;
            let disk = device.disk_path();
            wait_until("the disk's node", PATIENCE, || disk.exists())?;
            drop(device);
            refused("a device is set up")?;
            let file = Direct::open(&disk)?;
            let read = file.start_read(0, 4096);
            let raw = Raw::open(&path)?;
            let taken = raw.take_one(&Memory::new(1 << 20)?)?;
            refused("a request is taken")?;
            if round % 2 == 0 {
                raw.finish(&taken)?;
                read.finish(PATIENCE)??;
            }
            path
        };
        Device::open(&path)?.reset(true, Some(PATIENCE))?;
        added_and_removing()?;
        // The last work of the reset may be about to end.
        wait_for("the module to go", PATIENCE, || {
            Ok(rmmod()?.status.success().then_some(()))
        })?;
        ensure!(Device::numbers()?.is_empty(), "control nodes were left");
        for left in ["/sys/module/abuse", "/sys/class/abuse", "/sys/block/abuse0"] {
            ensure!(!Path::new(left).exists(), "{left} was left");
        }
        guest
            .command("insmod")
            .arg(MODULE)
            .ok()
            .context("loading it again")?;
        wait_until("the control nodes", PATIENCE, || Path::new(&path).exists())?;
    }
    Ok(())
}

/// Devices that were added, with and without a name, and one whose removal nobody waits for.
fn added_and_removing() -> Result<()> {
    let registry = Registry::open()?;
    registry.add(&NewDevice::named("stays"))?;
    registry.add(&NewDevice::numbered(500))?;
    let goes = registry.add(&NewDevice::numbered(501))?;
    Device::open("501")?.setup(&Setup::new(1 << 20))?;
    registry.remove(501, Some(goes.sequence), true, None)?;
    Ok(())
}
