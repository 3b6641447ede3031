// SPDX-License-Identifier: MIT

//! When a device is removed, everybody who waits for it wakes with ENODEV: workers asleep in EXCHANGE,
//! whoever polls (HUP and ERR), and whoever waits in SETUP. Every later call on an old descriptor
//! answers ENODEV, whatever its argument, and the number is free although that is still open.

use std::time::Duration;

use abuse::abi::{self, Exchange, Take, FOREVER};
use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, node, within, Memory, Raw};
use crate::kit::{refused, wait_until, Direct, Guest, Pending, PATIENCE};

const SOON: Duration = Duration::from_secs(10);
const IN: i16 = 1;
const ERR: i16 = 8;
const HUP: i16 = 16;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    for set_up in [true, false] {
        let device = guest.add()?;
        if set_up {
            let disk = guest.disk_on(device.clone(), &Setup::new(1 << 20))?;
            wakes(&device, Some(&Direct::open(disk.path())?))?;
        } else {
            wakes(&device, None)?;
        }
    }
    Ok(())
}

fn wakes(device: &Device, file: Option<&Direct>) -> Result<()> {
    let registry = Registry::open()?;
    let sequence = device.status()?.sequence;
    let raw = Raw::open(&node(device))?;
    let patience = |min: u32| -> Result<Pending<nix::Result<Exchange>>> {
        let raw = Raw::open(&node(device))?;
        Ok(Pending::start("an EXCHANGE", move || {
            let arena = Memory::new(1 << 20)?;
            let how = Exchange {
                take_min: min,
                timeout_ns: FOREVER,
                ..within(&arena, Duration::ZERO)
            };
            raw.exchange(&mut [], &mut [Take::default(); 100], how)
        }))
    };
    let mut sleepers = Vec::new();
    let mut pending = Vec::new();
    if let Some(file) = file {
        // One that waits for any request, and some that wait for more than there will be.
        sleepers = (0..4).map(|_| patience(100)).collect::<Result<_>>()?;
        wait_until("sleepers", PATIENCE, || {
            device.status().is_ok_and(|status| status.waiting == 4)
        })?;
        let polled = Device::open(node(device))?;
        let poller = Pending::start("a poll", move || polled.poll(None));
        pending = (0..2).map(|at| file.start_read(at * 4096, 4096)).collect();
        wait_until("two reads", PATIENCE, || {
            device.status().is_ok_and(|status| status.queued == 2)
        })?;
        // Was woken by the reads; a second one waits for what does not come.
        ensure!(poller.finish(SOON)??);
        let polled = Raw::open(&node(device))?;
        let mut taken = [Take::default(); 2];
        let arena = Memory::new(1 << 20)?;
        arena.fill(0);
        let took = raw.exchange(&mut [], &mut taken, within(&arena, SOON))?;
        ensure!(took.taken == 2);
        let silent = Pending::start("a poll", move || polled.poll(IN, 30_000));
        let got = registry.remove(device.number(), Some(sequence), false, None);
        refused(got, Errno::EBUSY)?;
        ensure!(
            device.status()?.taken == 2,
            "an unforced removal did something"
        );
        let gone = registry.remove(device.number(), Some(sequence), true, Some(SOON))?;
        ensure!(gone.failed == 2 && gone.draining == 0, "{gone:?}");
        let events = silent.finish(SOON)??;
        ensure!(events & (ERR | HUP) == ERR | HUP, "poll: {events:#x}");
    } else {
        let gone = registry.remove(device.number(), Some(sequence), false, Some(SOON))?;
        ensure!(gone.failed == 0, "{gone:?}");
    }
    for sleeper in sleepers {
        expect("a sleeper", sleeper.finish(SOON)?, Errno::ENODEV)?;
    }
    for read in pending {
        let error = read.finish(SOON)?.err();
        let errno = error.and_then(|error| error.raw_os_error());
        ensure!(errno == Some(Errno::EIO as i32), "a read: {errno:?}");
    }
    let events = raw.poll(IN, 0)?;
    ensure!(events & (ERR | HUP) == ERR | HUP, "poll: {events:#x}");
    refused(device.poll(Some(SOON)), Errno::ENODEV)?;
    for number in [
        abi::GET_STATUS,
        abi::SET_STATUS,
        abi::RESET,
        abi::GET_BIO,
        abi::PUT_BIO,
        abi::IOC_STATUS,
        abi::IOC_SETUP,
        abi::IOC_EXCHANGE,
        abi::IOC_REQUEUE,
        abi::IOC_RECONNECT,
        abi::IOC_RESET,
        abi::IOC_RESIZE,
        0x4122,
        0,
    ] {
        let what = format!("call {number:#x}");
        expect(&what, raw.call_at(number, 0), Errno::ENODEV)?;
    }
    refused(Device::open(node(device)), Errno::ENOENT)?;

    // The number is somebody else's now, and the old descriptor is none of his.
    let again = registry.add(&NewDevice::numbered(device.number()))?;
    refused(device.status(), Errno::ENODEV)?;
    Device::open(node(device))?.setup(&Setup::new(1 << 20))?;
    refused(device.reset(true, None), Errno::ENODEV)?;
    registry.remove(device.number(), Some(again.sequence), true, Some(SOON))?;
    Ok(())
}
