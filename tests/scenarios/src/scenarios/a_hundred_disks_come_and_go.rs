// SPDX-License-Identifier: MIT

//! A hundred times a device is added, set up, served, written, read and removed, with udevd looking on
//! and with udevd held back in turns: none hangs, each reads back what was written to it and nothing of
//! the one before, and its worker is told that the device is gone.

use abuse::{backend, Device, NewDevice, Registry, Setup, Worker};
use anyhow::{anyhow, ensure, Result};

use crate::kit::{wait_until, Direct, Guest, PATIENCE};

const ROUNDS: usize = 100;
const BYTES: u64 = 4 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let registry = Registry::open()?;
    for round in 0..guest.times(ROUNDS) {
        let held = match round % 2 {
            0 => None,
            _ => Some(guest.hold_udev()?),
        };
        let added = registry.add(&NewDevice::default())?;
        let device = Device::open(added.number.to_string())?;
        let setup = Setup {
            partscan: round % 4 < 2,
            ..Setup::new(BYTES)
        };
        device.setup(&setup)?;
        let name = "come-and-go";
        let memory = backend::Ram::open(name, BYTES)?;
        backend::Ram::remove(name)?;
        let worker = Worker::new(Device::open(device.number().to_string())?).harden(false);
        let served = std::thread::spawn(move || worker.run(memory));
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        let file = Direct::open(&path)?;
        let (byte, offset) = (round as u8 | 1, (round as u64 % 512) * 4096);
        ensure!(
            file.read(0, 1 << 20)?.iter().all(|&byte| byte == 0),
            "something of an earlier disk is there"
        );
        file.write(offset, &[byte; 8192])?;
        file.flush()?;
        let back = file.read(offset, 8192)?;
        ensure!(back == [byte; 8192], "round {round}: other bytes came back");
        if round % 3 == 0 {
            drop(file);
        }
        // Open in two rounds of three, and looked at by udevd in every other.
        let (number, sequence) = (added.number, Some(added.sequence));
        registry.remove(number, sequence, true, Some(PATIENCE))?;
        let ended = served.join().map_err(|_| anyhow!("the worker panicked"))?;
        let errno = ended.err().and_then(|error| error.errno());
        let gone = Some(nix::errno::Errno::ENODEV as i32);
        ensure!(errno == gone, "the worker ended with {errno:?}");
        drop(held);
    }
    Ok(())
}
