// SPDX-License-Identifier: MIT

//! Each argument of a set-up that cannot be meant is refused, with its errno, and nothing is made.

use abuse::abi::{self, Setup};
use abuse::State;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, free, node, Raw};
use crate::kit::{Guest, PATIENCE};

type Change = fn(&mut Setup);

const REFUSED: [(&str, Errno, Change); 27] = [
    ("no bytes", Errno::EINVAL, |it| it.bytes = 0),
    ("half a block", Errno::EINVAL, |it| it.bytes = 6144),
    ("a byte too many", Errno::EINVAL, |it| it.bytes += 1),
    ("2^63 bytes", Errno::EFBIG, |it| it.bytes = 1 << 63),
    ("nearly 2^64 bytes", Errno::EFBIG, |it| {
        it.bytes = u64::MAX - 4095
    }),
    ("block 1", Errno::EINVAL, |it| it.logical_block = 1),
    ("block 256", Errno::EINVAL, |it| it.logical_block = 256),
    ("block 3000", Errno::EINVAL, |it| it.logical_block = 3000),
    ("block 128K", Errno::EINVAL, |it| {
        it.logical_block = 128 << 10
    }),
    ("block 2^31", Errno::EINVAL, |it| it.logical_block = 1 << 31),
    ("physical 3000", Errno::EINVAL, |it| {
        it.physical_block = 3000
    }),
    ("physical 2^32-1", Errno::EINVAL, |it| {
        it.physical_block = u32::MAX
    }),
    ("granularity 3000", Errno::EINVAL, |it| {
        it.discard_granularity = 3000
    }),
    ("feature 0x100", Errno::EINVAL, |it| it.features = 0x100),
    ("feature 2^31", Errno::EINVAL, |it| it.features = 1 << 31),
    ("policy 4", Errno::EINVAL, |it| it.policies = 4),
    ("policy 2^31", Errno::EINVAL, |it| it.policies = 1 << 31),
    ("reserved0", Errno::EINVAL, |it| it.reserved0 = 1),
    ("reserved[0]", Errno::EINVAL, |it| it.reserved[0] = 1),
    ("reserved[1]", Errno::EINVAL, |it| it.reserved[1] = 1 << 63),
    ("reserved[2]", Errno::EINVAL, |it| it.reserved[2] = 1),
    ("reserved[3]", Errno::EINVAL, |it| it.reserved[3] = 1),
    ("reserved[4]", Errno::EINVAL, |it| it.reserved[4] = 1 << 63),
    ("size 0", Errno::EINVAL, |it| it.size = 0),
    ("size 127", Errno::EINVAL, |it| it.size -= 1),
    ("size 5000", Errno::E2BIG, |it| it.size = 5000),
    ("size 2^32-1", Errno::E2BIG, |it| it.size = u32::MAX),
];

pub(super) fn run(_guest: &Guest) -> Result<()> {
    let device = free()?;
    let raw = Raw::open(&node(&device))?;
    let good = Setup {
        size: size_of::<Setup>() as u32,
        bytes: 16 << 20,
        ..Setup::default()
    };
    for (what, errno, change) in REFUSED {
        let mut setup = good;
        change(&mut setup);
        expect(what, raw.call(abi::IOC_SETUP, &mut setup), errno)?;
        ensure!(device.status()?.state == State::Empty, "{what} made a disk");
        ensure!(!device.disk_path().exists(), "{what} made a node");
    }
    // `adjusted` is the driver's to write: what a caller left there means nothing.
    let mut setup = Setup {
        adjusted: u32::MAX,
        ..good
    };
    raw.call(abi::IOC_SETUP, &mut setup).context("a good one")?;
    ensure!(setup.adjusted == 0, "adjusted: {:#x}", setup.adjusted);
    let again = raw.call(abi::IOC_SETUP, &mut good.clone());
    expect("set up already", again, Errno::EBUSY)?;
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}
