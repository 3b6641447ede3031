// SPDX-License-Identifier: MIT

//! Whatever a call writes to its caller is what the contract names: no byte behind it, no address of
//! the kernel, nothing of other requests, and zeros where there is nothing to say.

use abuse::abi::{self, Exchange, Info, Status, Take, XfrHdr};
use anyhow::{ensure, Result};

use crate::kit::raw::{Memory, Raw, PAGE};
use crate::kit::{Direct, Guest, PATIENCE};

const FILL: u8 = 0xd5;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let raw = Raw::open(&disk.control())?;
    let memory = Memory::new(4 * PAGE)?;
    let untouched = |memory: &Memory, from: usize, to: usize| {
        memory
            .bytes(from, to - from)
            .iter()
            .all(|&byte| byte == FILL)
    };

    memory.fill(FILL);
    memory.put(0, size_of::<Status>() as u32);
    raw.call_at(abi::IOC_STATUS, memory.address())?;
    ensure!(
        untouched(&memory, size_of::<Status>(), 4 * PAGE),
        "STATUS wrote too much"
    );
    let status: Status = memory.get(0);
    let name = status.driver.iter().take_while(|&&byte| byte != 0).count();
    ensure!(
        name > 0 && status.driver[name..].iter().all(|&byte| byte == 0),
        "{status:?}"
    );
    ensure!(status.config.reserved == [0; 5] && status.config.reserved0 == 0);
    no_address(&memory, size_of::<Status>())?;

    memory.fill(FILL);
    raw.call_at(abi::GET_STATUS, memory.address())?;
    ensure!(
        untouched(&memory, 48, 4 * PAGE),
        "GET_STATUS wrote too much"
    );
    let info: Info = memory.get(0);
    ensure!((info.device, info._pad) == (0, 0), "{info:?}");

    // Nothing pending: the caller's own bytes, but for the three fields that are set to zero.
    memory.fill(FILL);
    ensure!(raw.call_at(abi::GET_BIO, memory.address()).is_err());
    let header: XfrHdr = memory.get(0);
    ensure!(
        (header.id, header.vec_count, header.transfer_address) == (0, 0, 0),
        "{header:?}"
    );
    let own = u64::from_ne_bytes([FILL; 8]);
    let kept = header.sector == own && header.command == own as u32 && header.result == own as u32;
    ensure!(kept, "{header:x?}");
    ensure!(
        untouched(&memory, size_of::<XfrHdr>(), 4 * PAGE),
        "GET_BIO wrote too much"
    );

    let file = Direct::open(disk.path())?;
    for round in 0..50u8 {
        let write = file.start_write(0, vec![round; 3 * 512]);
        let read = file.start_read(8192, 512);
        disk.wait_queued(2)?;
        let vectors = Memory::new(2 * PAGE)?;
        vectors.fill(FILL);
        memory.fill(FILL);
        memory.put(
            0,
            XfrHdr {
                transfer_address: vectors.address(),
                ..XfrHdr::default()
            },
        );
        raw.call_at(abi::GET_BIO, memory.address())?;
        let header: XfrHdr = memory.get(0);
        let used = header.vec_count as usize * 16;
        ensure!(
            used > 0 && untouched(&vectors, used, 2 * PAGE),
            "too many vectors"
        );
        ensure!(vectors.get::<u64>(0) == 0, "a vector with an address");
        ensure!(untouched(&memory, size_of::<XfrHdr>(), 4 * PAGE));

        let (entries, arena) = (Memory::new(PAGE)?, Memory::new(8 * PAGE)?);
        entries.fill(FILL);
        arena.fill(FILL);
        memory.fill(FILL);
        let call = Exchange {
            size: size_of::<Exchange>() as u32,
            take: entries.address(),
            take_max: 8,
            arena: arena.address(),
            arena_bytes: arena.len(),
            ..Exchange::default()
        };
        memory.put(0, call);
        raw.call_at(abi::IOC_EXCHANGE, memory.address())?;
        let call: Exchange = memory.get(0);
        ensure!(call.taken == 2 && call.spin == 0, "{call:?}");
        ensure!(untouched(&memory, size_of::<Exchange>(), 4 * PAGE));
        let used = 2 * size_of::<Take>();
        ensure!(untouched(&entries, used, PAGE), "too many entries");
        for index in 0..2 {
            let take: Take = entries.get(index * size_of::<Take>());
            let at = (take.buffer - arena.address()) as usize;
            if take.op == abi::OP_WRITE {
                ensure!(arena.bytes(at, 3 * 512).iter().all(|&byte| byte == round));
                ensure!(
                    untouched(&arena, at + 3 * 512, at + PAGE),
                    "bytes behind a write"
                );
            } else {
                ensure!(untouched(&arena, at, at + PAGE), "bytes for a read");
            }
            // But for the address that is the caller's own.
            let place = index * size_of::<Take>();
            entries.put(place + std::mem::offset_of!(Take, buffer), 0u64);
            raw.finish(&take)?;
        }
        no_address(&entries, used)?;
        write.finish(PATIENCE)??;
        ensure!(read.finish(PATIENCE)?? == [0; 512]);
    }
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

/// Fails on a number that looks like an address of the kernel.
fn no_address(memory: &Memory, len: usize) -> Result<()> {
    for at in (0..len).step_by(8) {
        let number: u64 = memory.get(at);
        ensure!(number < 0xffff_0000_0000_0000, "{number:#x} at {at}");
    }
    Ok(())
}
