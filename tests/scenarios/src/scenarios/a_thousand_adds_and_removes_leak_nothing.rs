// SPDX-License-Identifier: MIT

//! A thousand devices added and removed in a row leave no memory behind; every tenth has a disk with a
//! request in it.

use std::time::Duration;

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{kernel_memory, udev, wait_until, Direct, Guest, PATIENCE};

const ROUNDS: u32 = 1000;
const WARM: u32 = 100;
/// What udevd may take over the events of a thousand devices.
const BUSY: Duration = Duration::from_secs(180);
/// Kilobytes that may come and go with what else the machine does: less than the node of each.
const TOLERANCE: i64 = 4 << 10;

pub(super) fn run(guest: &Guest) -> Result<()> {
    guest.allow(Duration::from_secs(540));
    let registry = Registry::open()?;
    let number = registry.add(&NewDevice::default())?.number;
    registry.remove(number, None, false, Some(PATIENCE))?;
    let mut before = 0;
    for round in 0..ROUNDS {
        // udevd is told of each node that comes and goes; it must not fall too far behind.
        if round % WARM == 0 {
            udev::settle_within(BUSY)?;
        }
        if round == WARM {
            before = kernel_memory::kilobytes()?;
        }
        let added = registry.add(&NewDevice::default())?;
        ensure!(added.number == number, "{added:?}: a number was lost");
        if round % 10 == 0 {
            let device = Device::open(number.to_string())?;
            device.setup(&Setup::new(1 << 20))?;
            let path = device.disk_path();
            wait_until("the disk's node", PATIENCE, || path.exists())?;
            let read = Direct::open(&path)?.start_read(0, 4096);
            wait_until("the read", PATIENCE, || {
                device.status().is_ok_and(|status| status.queued > 0)
            })?;
            registry.remove(number, Some(added.sequence), true, Some(PATIENCE))?;
            let error = read.finish(PATIENCE)?.err();
            let errno = error.and_then(|error| error.raw_os_error());
            ensure!(errno == Some(Errno::EIO as i32), "{errno:?}");
        } else {
            registry.remove(number, Some(added.sequence), false, Some(PATIENCE))?;
        }
    }
    udev::settle_within(BUSY)?;
    let grown = kernel_memory::kilobytes()? - before;
    guest.figure(format!("the kernel's memory grew by {grown} kB"));
    ensure!(grown < TOLERANCE, "the kernel's memory grew by {grown} kB");
    Ok(())
}
