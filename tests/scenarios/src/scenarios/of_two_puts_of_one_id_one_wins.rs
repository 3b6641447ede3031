// SPDX-License-Identifier: MIT

//! Two processes PUT one id at the same moment: one wins, the other is told ESTALE, and the reader
//! gets the winner's bytes, whole. A PUT meets a reset: the read ends once, with data or with an
//! error, and nothing is left.

use std::sync::{Arc, Barrier};

use abuse::abi::{Done, Take};
use abuse::State;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{Memory, Raw, PAGE};
use crate::kit::{wait_until, Direct, Disk, Guest, Pending, PATIENCE};

const ROUNDS: usize = 100;
const RESETS: usize = 12;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let file = Direct::open(disk.path())?;
    let mut won = [0; 2];
    for _ in 0..ROUNDS {
        let read = file.start_read(0, PAGE);
        let held = raw.take_one(&arena)?;
        let start = Arc::new(Barrier::new(2));
        let racers = [put(&disk, held, 1, &start)?, put(&disk, held, 2, &start)?];
        let mut statuses = Vec::new();
        for racer in racers {
            statuses.push(racer.finish(PATIENCE)??);
        }
        let winner = match statuses[..] {
            [0, STALE] => 0,
            [STALE, 0] => 1,
            _ => anyhow::bail!("both won, or none: {statuses:?}"),
        };
        won[winner] += 1;
        let byte = winner as u8 + 1;
        ensure!(
            read.finish(PATIENCE)?? == vec![byte; PAGE],
            "not the winner's bytes"
        );
    }
    let status = disk.status()?;
    ensure!(
        status.stale == ROUNDS as u64 && status.errors == 0,
        "{status:?}"
    );
    println!(
        "    of {ROUNDS} races one won {}, the other {}",
        won[0], won[1]
    );
    drop(file);
    disk.device().reset(true, Some(PATIENCE))?;

    for round in 0..RESETS {
        let disk = guest.disk("size=16M")?;
        let raw = Raw::open(&disk.control())?;
        let file = Direct::open(disk.path())?;
        let read = file.start_read(0, PAGE);
        let held = raw.take_one(&arena)?;
        let start = Arc::new(Barrier::new(2));
        let racer = put(&disk, held, 3, &start)?;
        start.wait();
        let ended = disk.device().reset(true, Some(PATIENCE))?;
        let status = racer.finish(PATIENCE)?;
        let got = read.finish(PATIENCE)?;
        match (status, &got) {
            (Ok(0), Ok(bytes)) => ensure!(bytes[..] == [3; PAGE], "other bytes"),
            // The copy was under way: its PUT was accepted, and its read is doomed.
            (Ok(0) | Ok(STALE) | Err(Errno::ENXIO), Err(_)) => {}
            other => anyhow::bail!("round {round}: {other:?}, {ended:?}"),
        }
        wait_until("the device to be empty", PATIENCE, || {
            disk.status()
                .is_ok_and(|status| status.state == State::Empty && status.draining == 0)
        })?;
    }
    Ok(())
}

const STALE: i32 = -(Errno::ESTALE as i32);

/// Completes a read with this byte, through a file of its own, as soon as all are there.
fn put(
    disk: &Disk<'_>,
    held: Take,
    byte: u8,
    start: &Arc<Barrier>,
) -> Result<Pending<nix::Result<i32>>> {
    let raw = Raw::open(&disk.control()).context("a file for a racer")?;
    let data = Memory::new(PAGE)?;
    data.fill(byte);
    let start = start.clone();
    Ok(Pending::start("a put", move || {
        let mut done = [Done {
            id: held.id,
            buffer: data.address(),
            length: held.length,
            ..Done::default()
        }];
        start.wait();
        raw.exchange(&mut done, &mut [], Default::default())
            .map(|_| done[0].status)
    }))
}
