// SPDX-License-Identifier: MIT

//! Who looked at a device and removes it by number and sequence never hits another one that has got
//! the number since.

use abuse::{Device, NewDevice, Registry, Setup, State};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{refused, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let registry = Registry::open()?;
    let mine = registry.add(&NewDevice::numbered(40))?;
    registry.remove(40, Some(mine.sequence), false, Some(PATIENCE))?;
    let strangers = registry.add(&NewDevice::numbered(40))?;
    ensure!(strangers.sequence > mine.sequence);
    let disk = guest.disk_on(Device::open("40")?, &Setup::new(1 << 20))?;
    for force in [false, true] {
        let late = registry.remove(40, Some(mine.sequence), force, Some(PATIENCE));
        refused(late, Errno::ESTALE)?;
    }
    ensure!(disk.status()?.state == State::Ready);
    registry.remove(40, Some(strangers.sequence), true, Some(PATIENCE))?;
    refused(disk.device().status(), Errno::ENODEV)?;

    // Without a sequence whoever has the number is meant.
    registry.add(&NewDevice::numbered(40))?;
    registry.remove(40, None, false, Some(PATIENCE))?;
    Ok(())
}
