// SPDX-License-Identifier: MIT

//! In one EXCHANGE that completes forty requests, every third entry is wrong in its own way: each gets
//! its own answer and keeps its request, and all the others are completed.

use abuse::abi::{self, Done};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{well, Memory, Raw, NOWHERE, PAGE};
use crate::kit::{Direct, Guest, PATIENCE};

const MANY: usize = 40;

type Wrong = (&'static str, i32, fn(&mut Done, &Memory));

const WRONG: [Wrong; 13] = [
    ("wrong length", -(Errno::EINVAL as i32), |it, _| {
        (it.flags, it.length) = (0, 511)
    }),
    ("twice the length", -(Errno::EINVAL as i32), |it, _| {
        (it.flags, it.length) = (0, 1024)
    }),
    ("no length", -(Errno::EINVAL as i32), |it, _| it.flags = 0),
    ("flag 2", -(Errno::EINVAL as i32), |it, _| it.flags = 2),
    ("flag 2^15", -(Errno::EINVAL as i32), |it, _| {
        it.flags |= 1 << 15
    }),
    ("result 7", -(Errno::EINVAL as i32), |it, _| it.result = 7),
    ("result 2^16-1", -(Errno::EINVAL as i32), |it, _| {
        it.result = u16::MAX
    }),
    ("reserved", -(Errno::EINVAL as i32), |it, _| it.reserved = 1),
    ("data nowhere", -(Errno::EFAULT as i32), |it, _| {
        (it.flags, it.length, it.buffer) = (0, 512, NOWHERE)
    }),
    (
        "data in closed memory",
        -(Errno::EFAULT as i32),
        |it, closed| (it.flags, it.length, it.buffer) = (0, 512, closed.address()),
    ),
    ("id 0", -(Errno::ENOENT as i32), |it, _| it.id = 0),
    ("an id of the future", -(Errno::ENOENT as i32), |it, _| {
        it.id += 1 << 40
    }),
    ("another tag", -(Errno::ENOENT as i32), |it, _| {
        it.id = (it.id | 0xffff) + (1 << 40)
    }),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let closed = Memory::new(PAGE)?;
    closed.allow(false, false)?;
    let file = Direct::open(disk.path())?;
    let reads: Vec<_> = (0..MANY)
        .map(|place| file.start_read(place as u64 * 4096, 512))
        .collect();
    disk.wait_queued(MANY as u32)?;
    let taken = raw.take(MANY, &arena)?;
    ensure!(taken.len() == MANY, "{} taken", taken.len());

    let mut done: Vec<Done> = taken.iter().map(well).collect();
    let spoilt = |index: usize| (index % 3 == 1).then(|| &WRONG[index / 3]);
    for (index, entry) in done.iter_mut().enumerate() {
        if let Some((_, _, change)) = spoilt(index) {
            change(entry, &closed);
        }
    }
    let failed = raw.put(&mut done)?;
    ensure!(failed as usize == WRONG.len(), "{failed} refused");
    for (index, entry) in done.iter().enumerate() {
        let (what, status) = match spoilt(index) {
            Some((what, status, _)) => (*what, *status),
            None => ("a good one", 0),
        };
        ensure!(
            entry.status == status,
            "{what}: {}, not {status}",
            entry.status
        );
    }
    let status = disk.status()?;
    ensure!(
        status.taken as usize == WRONG.len(),
        "{} are still held",
        status.taken
    );

    // The good ones are history; one id twice in a call counts once.
    let stale = -(Errno::ESTALE as i32);
    let mut again = [well(&taken[0]), well(&taken[2])];
    ensure!(
        raw.put(&mut again)? == 2 && again.iter().all(|it| it.status == stale),
        "{again:?}"
    );
    let mut twice = [well(&taken[1]), well(&taken[1])];
    ensure!(raw.put(&mut twice)? == 1);
    ensure!(
        (twice[0].status, twice[1].status) == (0, stale),
        "{twice:?}"
    );
    ensure!(disk.status()?.stale == 3, "{} stale", disk.status()?.stale);

    // Entries that cannot be written to are told by the count alone.
    let memory = Memory::new(PAGE)?;
    memory.put(0, well(&taken[4]));
    memory.put(32, well(&taken[4]));
    memory.allow(true, false)?;
    let mut call = abi::Exchange {
        size: size_of::<abi::Exchange>() as u32,
        done: memory.address(),
        done_count: 2,
        ..Default::default()
    };
    raw.call(abi::IOC_EXCHANGE, &mut call)
        .context("entries in read-only memory")?;
    ensure!(call.done_failed == 1, "{call:?}");

    let held: Vec<_> = (7..MANY).filter(|index| index % 3 == 1).collect();
    let mut rest: Vec<Done> = held.iter().map(|&index| well(&taken[index])).collect();
    ensure!(raw.put(&mut rest)? == 0, "{rest:?}");
    for read in reads {
        read.finish(PATIENCE)??;
    }
    Ok(())
}
