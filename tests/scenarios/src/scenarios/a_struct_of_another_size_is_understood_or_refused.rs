// SPDX-License-Identifier: MIT

//! Every struct of v2 may be longer if the rest is zero, and is refused when it is shorter, when the
//! rest is dirty, when a reserved field or an unknown flag is set, and when its memory is not there or
//! cannot take the answer; and then nothing was done.

use abuse::abi::{self, Exchange, Reconnect, Requeue, Reset, Setup, Status};
use abuse::State;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, file_of, free, node, Memory, Plain, Raw, NOWHERE, PAGE};
use crate::kit::{Guest, PATIENCE};

/// Offsets of u32 fields, with values that must be refused.
type Dirt = &'static [(&'static str, usize, u32)];

pub(super) fn run(_guest: &Guest) -> Result<()> {
    let device = free()?;
    let raw = Raw::open(&node(&device))?;
    let setup = Setup {
        bytes: 16 << 20,
        ..Setup::default()
    };
    // The order matters: SETUP makes the disk, RESET2 takes it away.
    sizes(&raw, "STATUS", abi::IOC_STATUS, Status::default(), &[])?;
    sizes(&raw, "SETUP", abi::IOC_SETUP, setup, &[])?;
    ensure!(device.status()?.state == State::Ready);
    let exchange = Exchange {
        take_max: 0,
        ..Exchange::default()
    };
    let dirt: Dirt = &[
        ("flags", 4, 0x4),
        ("flags", 4, 1 << 31),
        ("spin", 84, 1 << 31),
    ];
    sizes(&raw, "EXCHANGE", abi::IOC_EXCHANGE, exchange, dirt)?;
    let requeue = Requeue {
        flags: abi::RQ_ALL,
        ..Requeue::default()
    };
    let dirt: Dirt = &[
        ("no selector", 4, 0),
        ("force alone", 4, 0x100),
        ("flags", 4, 0x30),
        ("reserved", 44, 1),
        ("reserved1", 48, 1),
        ("reserved1", 52, 1 << 31),
    ];
    sizes(&raw, "REQUEUE", abi::IOC_REQUEUE, requeue, dirt)?;
    let dirt: Dirt = &[
        ("flags", 4, 0x40),
        ("flags", 4, 1 << 31),
        ("read-only and writable", 4, 0x6),
        ("policies without a mask", 24, abi::P_FENCED_BACKEND),
        ("unknown policies", 28, abi::P_ALL + 1),
        ("unknown policies", 28, 1 << 31),
        ("max_attempts without its flag", 32, 1),
        ("reserved0", 36, 1),
        ("lease without its flag", 40, 1),
        ("lease without its flag", 44, 1 << 31),
        ("no_server without its flag", 48, 1),
        ("no_server without its flag", 52, 1),
        ("reserved", 56, 1),
        ("reserved", 60, 1 << 31),
    ];
    sizes(
        &raw,
        "RECONNECT",
        abi::IOC_RECONNECT,
        Reconnect::default(),
        dirt,
    )?;
    let reset = Reset {
        flags: abi::RS_FORCE,
        timeout_ns: abi::FOREVER,
        ..Reset::default()
    };
    let dirt: Dirt = &[("flags", 4, 0x2), ("reserved", 24, 1), ("reserved", 28, 1)];
    sizes(&raw, "RESET2", abi::IOC_RESET, reset, dirt)?;
    ensure!(device.status()?.state == State::Empty);

    // On a device without a disk.
    let none = |number: u32| raw.call_at(number, 0);
    for number in [abi::IOC_STATUS, abi::IOC_SETUP, abi::IOC_EXCHANGE] {
        expect("NULL", none(number), Errno::EFAULT)?;
    }
    expect("no such call", none(abi::IOC_RESET + 1), Errno::ENOTTY)?;
    let memory = Memory::new(PAGE)?;
    for (what, number, flags) in [
        ("EXCHANGE", abi::IOC_EXCHANGE, 0),
        ("REQUEUE", abi::IOC_REQUEUE, abi::RQ_ALL),
        ("RECONNECT", abi::IOC_RECONNECT, 0),
        ("RESET2", abi::IOC_RESET, 0),
    ] {
        memory.fill(0);
        memory.put(0, 128u32);
        memory.put(4, flags);
        expect(what, raw.call_at(number, memory.address()), Errno::ENXIO)?;
    }
    device
        .reset(true, Some(PATIENCE))
        .err()
        .context("it was empty")?;
    Ok(())
}

/// Tries a call in all wrong ways, then in two right ones; the last is done.
fn sizes<T: Plain>(raw: &Raw, name: &str, number: u32, good: T, dirt: Dirt) -> Result<()> {
    let size = size_of::<T>();
    let memory = Memory::new(2 * PAGE)?;
    let (closed, read_only) = (Memory::new(PAGE)?, Memory::new(PAGE)?);
    let at = |memory: &Memory, size: u32| {
        memory.put(0, good);
        memory.put(0, size);
    };
    let told = size as u32;
    for short in [0, 4, told - 8, told - 1] {
        at(&memory, short);
        let got = raw.call_at(number, memory.address());
        expect(&format!("{name} of {short} bytes"), got, Errno::EINVAL)?;
    }
    at(&memory, told);
    for (what, offset, value) in dirt {
        at(&memory, told);
        memory.put(*offset, *value);
        let got = raw.call_at(number, memory.address());
        expect(&format!("{name}: {what} {value:#x}"), got, Errno::EINVAL)?;
    }
    for dirty in [size, size + 63, size + 64, 4092] {
        memory.fill(0);
        at(&memory, 4096);
        memory.put(dirty, 1u32 << if dirty % 4 == 0 { 0 } else { 24 });
        let got = raw.call_at(number, memory.address());
        expect(&format!("{name}: dirt at {dirty}"), got, Errno::E2BIG)?;
    }
    memory.fill(0);
    at(&memory, 4097);
    let got = raw.call_at(number, memory.address());
    expect(&format!("{name}: a size over 4096"), got, Errno::E2BIG)?;

    // Nothing, the end of user space, the hole behind it, the kernel's own memory, and the very end.
    for nowhere in [
        0,
        NOWHERE,
        0x7fff_ffff_f000,
        1 << 47,
        1 << 63,
        0xffff_8880_0000_0000,
        u64::MAX - 3,
    ] {
        let got = raw.call_at(number, nowhere);
        expect(&format!("{name} at {nowhere:#x}"), got, Errno::EFAULT)?;
    }
    closed.allow(false, false)?;
    let got = raw.call_at(number, closed.address());
    expect(&format!("{name} in closed memory"), got, Errno::EFAULT)?;
    at(&read_only, told);
    read_only.allow(true, false)?;
    let before = raw.status()?;
    let got = raw.call_at(number, read_only.address());
    expect(&format!("{name} in read-only memory"), got, Errno::EFAULT)?;
    let after = raw.status()?;
    let same = (after.state, after.epoch) == (before.state, before.epoch);
    ensure!(same, "{name} in read-only memory did something");
    // The end of the struct is on a page that is not there.
    let half = Memory::of_file(&file_of(PAGE)?, 2 * PAGE)?;
    half.put(PAGE - 4, told);
    let got = raw.call_at(number, half.address() + PAGE as u64 - 4);
    expect(
        &format!("{name} over the end of its memory"),
        got,
        Errno::EFAULT,
    )?;

    // Longer, with zeros: as from a program of a later version.
    let two_ways = if number == abi::IOC_SETUP || number == abi::IOC_RESET {
        &[4096u32][..]
    } else {
        &[4096, told][..]
    };
    for &long in two_ways {
        memory.fill(0);
        at(&memory, long);
        let got = raw.call_at(number, memory.address());
        got.with_context(|| format!("{name} of {long} bytes"))?;
        let rest = memory.bytes(size, 2 * PAGE - size);
        ensure!(
            rest.iter().all(|&byte| byte == 0),
            "{name} wrote behind its struct"
        );
    }
    Ok(())
}
