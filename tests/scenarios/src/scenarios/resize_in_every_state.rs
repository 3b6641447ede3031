// SPDX-License-Identifier: MIT

//! RESIZE answers in every state of a device: with ENXIO where there is no disk, with ENODEV where there
//! is no device, and otherwise it resizes; also in a race with set-ups, resets and removals. Sizes that
//! cannot be meant are refused.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;

use abuse::abi::{self, Resize};
use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, node, Raw, NOWHERE};
use crate::kit::{refused, Guest, PATIENCE};

const MIB: u64 = 1 << 20;
const ROUNDS: u32 = 40;
/// Resizes that go well between two steps of a device's life: udevd is told of each.
const AT_ONCE: u32 = 8;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let device = guest.add()?;
    refused(device.resize(MIB, false), Errno::ENXIO)?;
    let disk = guest.disk_on(device.clone(), &Setup::new(MIB))?;
    ensure!(device.resize(2 * MIB, false)? == MIB, "ready");
    let server = disk.serve("null")?;
    ensure!(device.resize(3 * MIB, false)? == 2 * MIB, "live");
    ensure!(device.resize(MIB, false)? == 3 * MIB, "live");
    refuses(&device)?;
    ensure!(device
        .status()?
        .setup
        .is_some_and(|setup| setup.bytes == MIB));
    device.reset(true, Some(PATIENCE))?;
    drop(server);
    refused(device.resize(MIB, true), Errno::ENXIO)?;
    Registry::open()?.remove(device.number(), None, false, Some(PATIENCE))?;
    refused(device.resize(MIB, true), Errno::ENODEV)?;
    races(device.number())
}

fn refuses(device: &Device) -> Result<()> {
    let raw = Raw::open(&node(device))?;
    let good = Resize {
        size: size_of::<Resize>() as u32,
        bytes: 4 * MIB,
        ..Resize::default()
    };
    type Case = (&'static str, Errno, fn(&mut Resize));
    let cases: [Case; 11] = [
        ("no bytes", Errno::EINVAL, |it| it.bytes = 0),
        ("half a block", Errno::EINVAL, |it| it.bytes += 512),
        ("2^63 bytes", Errno::EFBIG, |it| it.bytes = 1 << 63),
        ("2^64 bytes, nearly", Errno::EFBIG, |it| it.bytes = !4095),
        ("flag 2", Errno::EINVAL, |it| it.flags = 2),
        ("flag 2^31", Errno::EINVAL, |it| it.flags = 1 << 31),
        ("reserved[0]", Errno::EINVAL, |it| it.reserved[0] = 1),
        ("reserved[1]", Errno::EINVAL, |it| it.reserved[1] = 1 << 63),
        ("size 0", Errno::EINVAL, |it| it.size = 0),
        ("size 39", Errno::EINVAL, |it| it.size -= 1),
        ("size 5000", Errno::E2BIG, |it| it.size = 5000),
    ];
    for (what, errno, change) in cases {
        let mut resize = good;
        change(&mut resize);
        expect(what, raw.call(abi::IOC_RESIZE, &mut resize), errno)?;
    }
    for nowhere in [0, NOWHERE, u64::MAX - 3] {
        let got = raw.call_at(abi::IOC_RESIZE, nowhere);
        expect("nowhere", got, Errno::EFAULT)?;
    }
    let looks = Raw::open_read_only(&node(device))?;
    let got = looks.call(abi::IOC_RESIZE, &mut { good });
    expect("a reader", got, Errno::EBADF)
}

/// One resizes all the time, while another makes and takes away disk and device.
fn races(number: u32) -> Result<()> {
    let registry = Registry::open()?;
    let over = AtomicBool::new(false);
    let step = AtomicU32::new(0);
    thread::scope(|scope| {
        let resizer = scope.spawn(|| -> Result<[u32; 3]> {
            let mut seen = [0; 3];
            let mut size = 0;
            while !over.load(Relaxed) {
                let Ok(device) = Device::open(number.to_string()) else {
                    thread::yield_now();
                    continue;
                };
                loop {
                    size = (size + 1) % 7;
                    let done = device.resize((size + 1) * MIB, size % 2 == 0);
                    match done.map_err(|error| error.errno()) {
                        Ok(_) => {
                            seen[0] += 1;
                            let now = step.load(Relaxed);
                            while seen[0] % AT_ONCE == 0
                                && step.load(Relaxed) == now
                                && !over.load(Relaxed)
                            {
                                thread::yield_now();
                            }
                        }
                        Err(Some(libc)) if libc == Errno::ENXIO as i32 => seen[1] += 1,
                        Err(Some(libc)) if libc == Errno::EBUSY as i32 => {}
                        Err(Some(libc)) if libc == Errno::ENODEV as i32 => {
                            seen[2] += 1;
                            break;
                        }
                        Err(other) => bail!("errno {other:?}"),
                    }
                }
            }
            Ok(seen)
        });
        // Said before each step, so that resizes meet it.
        let next = || step.fetch_add(1, Relaxed);
        let life = || -> Result<()> {
            for round in 0..ROUNDS {
                next();
                let added = registry.add(&NewDevice::numbered(number))?;
                let device = Device::open(number.to_string())?;
                for _ in 0..3 {
                    next();
                    device.setup(&Setup::new(MIB))?;
                    thread::yield_now();
                    if round % 3 > 0 {
                        next();
                        device.reset(true, Some(PATIENCE))?;
                    } else {
                        break;
                    }
                }
                next();
                registry.remove(number, Some(added.sequence), true, Some(PATIENCE))?;
            }
            Ok(())
        };
        let lived = life();
        over.store(true, Relaxed);
        let seen = resizer.join().ok().context("the resizer panicked")??;
        lived?;
        ensure!(seen.iter().all(|&times| times > 0), "{seen:?}");
        Ok(())
    })
}
