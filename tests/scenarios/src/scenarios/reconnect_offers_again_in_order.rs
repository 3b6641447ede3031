// SPDX-License-Identifier: MIT

//! A new epoch: everything that was taken is offered again, in the order in which it came, under
//! new ids; the old ones are good for nothing any more.

use std::collections::HashSet;

use abuse::Reconnect;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{Answer, Direct, Guest, PATIENCE};

const REQUESTS: u32 = 6;
const BLOCK: u64 = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    // In an order that is not that of their places, so that none are merged or sorted.
    let places: Vec<u64> = (0..u64::from(REQUESTS))
        .map(|n| n * 5 % 6 * 16 * BLOCK)
        .collect();
    let mut reads = Vec::new();
    for (before, &place) in (0..).zip(&places) {
        reads.push(file.start_read(place, BLOCK as usize));
        disk.wait_queued(before + 1)?;
    }
    // Two workers hold them, neither in one piece.
    let (mut one, mut two) = (disk.puppet()?, disk.puppet()?);
    let mut old = one.take(2)?;
    old.extend(two.take(3)?);
    old.extend(one.take(1)?);
    ensure!(
        old.len() as u32 == REQUESTS,
        "only {} were taken",
        old.len()
    );

    let before = disk.status()?.epoch;
    let reconnected = disk.device().reconnect(&Reconnect::default())?;
    ensure!(
        reconnected.requeued == REQUESTS
            && reconnected.refused == 0
            && reconnected.old_epoch == before
            && reconnected.new_epoch == before + 1,
        "{reconnected:?}, the epoch was {before}"
    );
    for (index, held) in old.iter().enumerate() {
        let late = one.put(held, Answer::Fill(0xee))?;
        ensure!(late == Some(Errno::ESTALE as i32), "{index}: got {late:?}");
    }

    let new = two.take(REQUESTS)?;
    let came: Vec<u64> = new.iter().map(|held| held.offset).collect();
    ensure!(
        came == places,
        "in the order {came:?} instead of {places:?}"
    );
    let ids: HashSet<u64> = old.iter().chain(&new).map(|held| held.id).collect();
    ensure!(ids.len() as u32 == 2 * REQUESTS, "an id came again");
    ensure!(
        new.iter()
            .all(|held| held.epoch == before + 1 && held.attempt == 0),
        "not of the new epoch, or somebody is said to have died: {new:?}"
    );
    for (number, held) in (1..).zip(&new) {
        ensure!(two.put(held, Answer::Fill(number))?.is_none(), "refused");
    }
    for (number, read) in (1..).zip(reads) {
        ensure!(
            read.finish(PATIENCE)?? == [number; BLOCK as usize],
            "mixed up"
        );
    }
    Ok(())
}
