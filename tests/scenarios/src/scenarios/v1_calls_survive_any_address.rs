// SPDX-License-Identifier: MIT

//! Every call of 2009 with every kind of address that is not memory of the caller's, for its struct,
//! for the vectors and for the data: EFAULT (EINVAL for NULL, EFAULT from SET_STATUS), nothing done,
//! and the device goes on.

use abuse::abi::{self, Info, Vector, XfrHdr};
use abuse::State;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, file_of, free, node, Memory, Raw, NOWHERE, PAGE};
use crate::kit::{wait_until, Direct, Guest, PATIENCE};

/// Addresses that are no memory of any program.
const NO_MEMORY: [(&str, u64); 6] = [
    ("nowhere", NOWHERE),
    ("the end of user space", 0x7fff_ffff_f000),
    ("the hole behind it", 1 << 47),
    ("half of everything", 1 << 63),
    ("the kernel", 0xffff_8880_0000_0000),
    ("the very end", u64::MAX - 3),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let device = free()?;
    let raw = Raw::open(&node(&device))?;
    let (closed, read_only) = (Memory::new(PAGE)?, Memory::new(PAGE)?);
    let half = Memory::of_file(&file_of(PAGE)?, 2 * PAGE)?;
    let info = Info {
        bytes: 16 << 20,
        blocksize: 512,
        max_queue: 8,
        ..Info::default()
    };
    // The page behind `half` is not there; `read_only` has a struct that could be read.
    read_only.put(0, info);
    half.put(PAGE - 16, 16u64 << 20);
    closed.allow(false, false)?;
    read_only.allow(true, false)?;
    let unreadable = || {
        let more = [
            ("closed memory", closed.address()),
            ("over the end", half.address() + PAGE as u64 - 16),
        ];
        NO_MEMORY.into_iter().chain(more)
    };

    let empty = || -> Result<()> {
        let state = device.status()?.state;
        ensure!(state == State::Empty, "it was set up: {state}");
        Ok(())
    };
    for (what, at) in unreadable() {
        for (name, number) in [
            ("SET_STATUS", abi::SET_STATUS),
            ("GET_STATUS", abi::GET_STATUS),
            ("GET_BIO", abi::GET_BIO),
            ("PUT_BIO", abi::PUT_BIO),
        ] {
            let got = raw.call_at(number, at);
            expect(&format!("{name}, {what}, empty"), got, Errno::EFAULT)?;
        }
        empty()?;
    }
    raw.call_at(abi::SET_STATUS, read_only.address())
        .context("a struct that can only be read is enough")?;
    wait_until("the disk's node", PATIENCE, || device.disk_path().exists())?;
    let got = raw.call_at(abi::GET_STATUS, read_only.address());
    expect("GET_STATUS, read-only", got, Errno::EFAULT)?;

    let file = Direct::open(device.disk_path())?;
    let read = file.start_read(0, 8192);
    let pending = || -> Result<()> {
        let status = device.status()?;
        ensure!(
            (status.queued, status.taken, status.draining) == (1, 0, 0),
            "{status:?}"
        );
        Ok(())
    };
    wait_until("the read", PATIENCE, || pending().is_ok())?;
    let mut shown = XfrHdr::default();
    raw.call(abi::GET_BIO, &mut shown)?;
    ensure!(shown.vec_count > 0, "{shown:?}");
    let put = |change: &dyn Fn(&mut XfrHdr)| {
        let mut header = shown;
        change(&mut header);
        raw.call(abi::PUT_BIO, &mut header)
    };
    for (what, at) in unreadable().chain([("read-only memory", read_only.address())]) {
        let mut header = XfrHdr {
            transfer_address: at,
            ..XfrHdr::default()
        };
        let got = raw.call(abi::GET_BIO, &mut header);
        expect(&format!("GET_BIO, vectors: {what}"), got, Errno::EFAULT)?;
        pending()?;
    }
    let got = raw.call_at(abi::GET_BIO, read_only.address());
    expect("GET_BIO, header in read-only memory", got, Errno::EFAULT)?;
    let vectors = Memory::new(PAGE)?;
    for (what, at) in unreadable() {
        for (name, number) in [("GET_BIO", abi::GET_BIO), ("PUT_BIO", abi::PUT_BIO)] {
            let got = raw.call_at(number, at);
            expect(&format!("{name}, {what}"), got, Errno::EFAULT)?;
        }
        let got = put(&|header| header.transfer_address = at);
        expect(&format!("PUT_BIO, vectors: {what}"), got, Errno::EFAULT)?;
        for piece in 0..shown.vec_count as usize {
            for index in 0..shown.vec_count as usize {
                let address = if index == piece {
                    at
                } else {
                    vectors.address()
                };
                vectors.put(index * size_of::<Vector>(), address);
            }
            let got = put(&|header| header.transfer_address = vectors.address());
            expect(
                &format!("PUT_BIO, data of piece {piece}: {what}"),
                got,
                Errno::EFAULT,
            )?;
        }
        pending()?;
    }
    let got = put(&|header| header.transfer_address = 0);
    expect("PUT_BIO, vectors: NULL", got, Errno::EFAULT)?;
    for (what, changed) in [
        (
            "id",
            XfrHdr {
                id: shown.id ^ (1 << 40),
                ..shown
            },
        ),
        ("id 0", XfrHdr { id: 0, ..shown }),
        (
            "all of id",
            XfrHdr {
                id: u64::MAX,
                ..shown
            },
        ),
    ] {
        expect(what, put(&|header| *header = changed), Errno::ENOMSG)?;
    }
    for (what, changed) in [
        ("sector", XfrHdr { sector: 8, ..shown }),
        (
            "sector 2^63",
            XfrHdr {
                sector: 1 << 63,
                ..shown
            },
        ),
        (
            "command",
            XfrHdr {
                command: 1,
                ..shown
            },
        ),
        (
            "command 2",
            XfrHdr {
                command: 2,
                ..shown
            },
        ),
        (
            "command 2^32-1",
            XfrHdr {
                command: u32::MAX,
                ..shown
            },
        ),
        (
            "no vectors",
            XfrHdr {
                vec_count: 0,
                ..shown
            },
        ),
        (
            "257 vectors",
            XfrHdr {
                vec_count: 257,
                ..shown
            },
        ),
        (
            "2^32-1 vectors",
            XfrHdr {
                vec_count: u32::MAX,
                ..shown
            },
        ),
    ] {
        expect(what, put(&|header| *header = changed), Errno::EINVAL)?;
    }
    pending()?;

    // And after all that it works.
    let data = Memory::new(8192)?;
    data.fill(0x42);
    let mut at = data.address();
    let mut header = XfrHdr {
        transfer_address: vectors.address(),
        ..XfrHdr::default()
    };
    raw.call(abi::GET_BIO, &mut header)?;
    for index in 0..header.vec_count as usize {
        let place = index * size_of::<Vector>();
        let mut vector: Vector = vectors.get(place);
        vector.address = at;
        at += u64::from(vector.len);
        vectors.put(place, vector);
    }
    raw.call(abi::PUT_BIO, &mut header)?;
    ensure!(read.finish(PATIENCE)?? == [0x42; 8192], "other bytes");
    raw.call_at(abi::RESET, NOWHERE)
        .context("RESET has no argument")?;
    wait_until("the device to be empty", PATIENCE, || empty().is_ok())
}
