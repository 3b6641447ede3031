// SPDX-License-Identifier: MIT

//! Four tags serve two thousand requests. Every id there was is put again, while the tags are in use:
//! each is refused as stale, none is given twice, and the requests of the moment are untouched.

use std::collections::HashSet;

use abuse::abi::{Done, DONE_ZERO};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{well, Memory, Raw};
use crate::kit::{Direct, Guest, Pending, PATIENCE};

const TAGS: usize = 4;
const REQUESTS: usize = 2000;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,depth=4")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    arena.fill(0);
    let file = Direct::open(disk.path())?;
    let readers: Vec<_> = (0..TAGS)
        .map(|_| {
            let file = file.clone();
            Pending::start("a reader", move || {
                (0..REQUESTS / TAGS).try_for_each(|_| file.read(0, 512 * 8).map(drop))
            })
        })
        .collect();
    let mut old = HashSet::new();
    let mut tags = HashSet::new();
    while old.len() < REQUESTS {
        let taken = raw.take(TAGS, &arena)?;
        ensure!(!taken.is_empty(), "the readers stopped at {}", old.len());
        let mut done: Vec<Done> = taken.iter().map(well).collect();
        for take in &taken {
            ensure!(old.insert(take.id), "{:#x} was given twice", take.id);
            tags.insert(take.id & 0xffff);
        }
        ensure!(raw.put(&mut done)? == 0, "{done:?}");
    }
    for reader in readers {
        reader.finish(PATIENCE)??;
    }
    ensure!(tags.len() <= TAGS, "{} tags", tags.len());

    // All tags are in use again.
    let reads: Vec<_> = (0..TAGS).map(|_| file.start_read(0, 4096)).collect();
    disk.wait_queued(TAGS as u32)?;
    let held = raw.take(TAGS, &arena)?;
    ensure!(held.len() == TAGS);
    let before = disk.status()?.stale;
    let entry = |&id: &u64| Done {
        id,
        flags: DONE_ZERO,
        ..Done::default()
    };
    let mut replay: Vec<Done> = old.iter().map(entry).collect();
    ensure!(raw.put(&mut replay)? as usize == REQUESTS, "one was taken");
    let stale = -(Errno::ESTALE as i32);
    ensure!(
        replay.iter().all(|entry| entry.status == stale),
        "another answer than ESTALE"
    );
    let status = disk.status()?;
    ensure!(
        status.taken as usize == TAGS && status.stale == before + REQUESTS as u64,
        "{status:?}"
    );
    let mut done: Vec<Done> = held.iter().map(well).collect();
    ensure!(raw.put(&mut done)? == 0, "{done:?}");
    for read in reads {
        read.finish(PATIENCE)??;
    }
    Ok(())
}
