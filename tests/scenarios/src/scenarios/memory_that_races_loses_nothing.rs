// SPDX-License-Identifier: MIT

//! A worker whose arena is taken away and put back all the time, while the driver copies, loses
//! nothing: it is refused or it gets the data, and what it reports is what was taken.
//!
//! One thread maps and unmaps the arena, closes and opens it, and truncates the file behind another;
//! a worker goes on with EXCHANGE; fio writes, eight at once. In the end every request was completed
//! once, and none is left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use abuse::abi::{Done, Take};
use abuse::Operation;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{file_of, well, within, Memory, Raw};
use crate::kit::{Fio, Guest, PATIENCE};

const ARENA: usize = 1 << 20;
const ROUNDS: u64 = 3000;

#[derive(Default)]
struct Counts {
    changes: AtomicU64,
    refused: AtomicU64,
    taken: AtomicU64,
}

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=64M,bs=512,max_bytes=64K")?;
    let file = file_of(ARENA)?;
    let (plain, shared) = (Memory::new(ARENA)?, Memory::of_file(&file, ARENA)?);
    let (over, counts) = (AtomicBool::new(false), Counts::default());
    let raw = Raw::open(&disk.control())?;

    thread::scope(|scope| -> Result<()> {
        let racer = scope.spawn(|| -> Result<()> {
            while !over.load(Relaxed) {
                plain.renew()?;
                file.set_len(4096)?;
                plain.allow(false, false)?;
                file.set_len(ARENA as u64)?;
                plain.allow(true, false)?;
                plain.vacate()?;
                thread::yield_now();
                plain.renew()?;
                counts.changes.fetch_add(1, Relaxed);
                // Peace for a moment, or nothing would ever get through.
                thread::sleep(Duration::from_micros(300));
            }
            Ok(())
        });
        let worker = scope.spawn(|| {
            let served = serve(&raw, [&plain, &shared], &over, &counts);
            over.store(true, Relaxed);
            served
        });
        let mut written = Ok(());
        while counts.changes.load(Relaxed) < ROUNDS && written.is_ok() && !over.load(Relaxed) {
            let job = ["rw=randwrite", "bs=64k", "size=16M", "iodepth=8"];
            written = Fio::on(guest, disk.path(), &job).run().map(drop);
        }
        over.store(true, Relaxed);
        racer.join().ok().context("the racer panicked")??;
        worker.join().ok().context("the worker panicked")??;
        written
    })?;
    let writes = disk.counts(Operation::Write)?;
    let (taken, refused) = (counts.taken.load(Relaxed), counts.refused.load(Relaxed));
    ensure!(writes.failed == 0 && writes.requeued == 0, "{writes:?}");
    let status = disk.status()?;
    let all: u64 = Operation::ALL
        .iter()
        .map(|&operation| status.counts(operation).taken)
        .sum();
    ensure!(all == taken, "the worker was given {taken} of {all}");
    ensure!(
        refused > 20,
        "the race was won {refused} times only; it proves nothing"
    );
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

fn serve(raw: &Raw, arenas: [&Memory; 2], over: &AtomicBool, counts: &Counts) -> Result<()> {
    let mut done: Vec<Done> = Vec::new();
    let mut round = 0;
    loop {
        round += 1;
        let how = within(arenas[round % 2], Duration::from_millis(20));
        let mut take = [Take::default(); 8];
        match raw.exchange(&mut done, &mut take, how) {
            Ok(exchange) => {
                ensure!(exchange.done_failed == 0, "refused: {done:?}");
                let taken = exchange.taken as usize;
                counts.taken.fetch_add(taken as u64, Relaxed);
                done = take[..taken].iter().map(well).collect();
                if taken == 0 && over.load(Relaxed) {
                    return Ok(());
                }
            }
            Err(Errno::EFAULT | Errno::EAGAIN) => {
                counts.refused.fetch_add(1, Relaxed);
                ensure!(done.is_empty(), "completions were refused as a whole");
            }
            Err(other) => anyhow::bail!("EXCHANGE: {other}"),
        }
    }
}
