// SPDX-License-Identifier: MIT

//! EXCHANGE refuses counts that cannot be meant and memory that is not there, and loses nothing by it.
//!
//! A write waits. Each wrong call is refused with its errno, and the write is still unclaimed after it,
//! under the same id; then a right call takes it. A caller that completed something in the same call is
//! told of that, and of the bad pointer by its next call.

use abuse::abi::{self, Done, Exchange, Take};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, file_of, well, within, Memory, Raw, NOWHERE, PAGE};
use crate::kit::{Direct, Guest, PATIENCE};

type Change = fn(&mut Exchange);

const REFUSED: [(&str, Errno, Change); 12] = [
    ("flag 4", Errno::EINVAL, |it| it.flags = 4),
    ("flag 2^31", Errno::EINVAL, |it| it.flags = 1 << 31),
    ("1000001 looks", Errno::EINVAL, |it| it.spin = 1_000_001),
    ("65537 to take", Errno::EINVAL, |it| it.take_max = 65537),
    ("2^32-1 to take", Errno::EINVAL, |it| it.take_max = u32::MAX),
    ("65537 done", Errno::EINVAL, |it| it.done_count = 65537),
    ("2^32-1 done", Errno::EINVAL, |it| it.done_count = u32::MAX),
    ("2 of 1", Errno::EINVAL, |it| it.take_min = 2),
    ("2 of none", Errno::EINVAL, |it| {
        (it.take_max, it.take_min) = (0, 2)
    }),
    ("done nowhere", Errno::EFAULT, |it| {
        (it.done, it.done_count) = (NOWHERE, 1)
    }),
    ("take nowhere", Errno::EFAULT, |it| it.take = NOWHERE),
    ("arena nowhere", Errno::EFAULT, |it| it.arena = NOWHERE),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let file = Direct::open(disk.path())?;
    let write = file.start_write(0, vec![0xa5; 8192]);
    disk.wait_queued(1)?;
    let entries = Memory::new(PAGE)?;
    let good = Exchange {
        size: size_of::<Exchange>() as u32,
        take: entries.address(),
        take_max: 1,
        timeout_ns: 0,
        ..within(&arena, std::time::Duration::ZERO)
    };
    for (what, errno, change) in REFUSED {
        let mut call = good;
        change(&mut call);
        expect(what, raw.call(abi::IOC_EXCHANGE, &mut call), errno)?;
        let status = disk.status()?;
        ensure!(
            (status.queued, status.taken) == (1, 0),
            "{what}: {status:?}"
        );
    }

    // Memory that is there in part, or for reading only.
    let closed = Memory::new(1 << 20)?;
    closed.allow(false, false)?;
    let read_only = Memory::new(1 << 20)?;
    read_only.allow(true, false)?;
    let cut = Memory::of_file(&file_of(PAGE)?, 1 << 20)?;
    for (what, memory) in [
        ("closed", &closed),
        ("read-only", &read_only),
        ("cut", &cut),
    ] {
        let mut call = Exchange {
            arena: memory.address(),
            ..good
        };
        let got = raw.call(abi::IOC_EXCHANGE, &mut call);
        expect(&format!("{what} arena"), got, Errno::EFAULT)?;
        let at = memory.address() + PAGE as u64 - 8;
        let mut call = Exchange { take: at, ..good };
        let got = raw.call(abi::IOC_EXCHANGE, &mut call);
        expect(&format!("{what} entries"), got, Errno::EFAULT)?;
        ensure!(disk.status()?.queued == 1, "{what} memory took the request");
    }
    for room in [0, 512, 8191] {
        let mut call = Exchange {
            arena_bytes: room,
            ..good
        };
        let got = raw.call(abi::IOC_EXCHANGE, &mut call);
        expect(&format!("room for {room} bytes"), got, Errno::EMSGSIZE)?;
        ensure!(disk.status()?.queued == 1, "a small arena took the request");
    }

    let taken = raw.take_one(&arena)?;
    ensure!(taken.attempt == 0 && taken.length == 8192, "{taken:?}");
    ensure!(arena.bytes(0, 8192).iter().all(|&byte| byte == 0xa5));
    // Completing took effect: the call succeeds although there is nowhere to take to.
    let next = file.start_write(8192, vec![0x5a; 512]);
    disk.wait_queued(1)?;
    let mut done = [well(&taken)];
    done[0].flags = 0;
    let mut call = Exchange {
        done: crate::kit::raw::address_of(&mut done),
        done_count: 1,
        take: NOWHERE,
        ..good
    };
    raw.call(abi::IOC_EXCHANGE, &mut call)?;
    ensure!(
        (call.done_failed, call.taken, call.queued) == (0, 0, 1),
        "{call:?}"
    );
    write.finish(PATIENCE)??;

    // Without data the arena may be nowhere, and as small as it likes.
    let mut entry = [Take::default()];
    let how = Exchange {
        flags: abi::X_NO_DATA,
        ..Exchange::default()
    };
    let got = raw.exchange(&mut [], &mut entry, how)?;
    ensure!(got.taken == 1 && entry[0].buffer == 0, "{entry:?}");
    ensure!(
        raw.put(&mut [Done {
            id: entry[0].id,
            ..Done::default()
        }])? == 0
    );
    next.finish(PATIENCE)??;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}
