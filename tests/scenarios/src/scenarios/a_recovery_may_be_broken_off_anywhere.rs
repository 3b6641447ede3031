// SPDX-License-Identifier: MIT

//! A worker dies with everything in its hands, and the one that takes it over dies when it has
//! completed none of it, one, two, and so on to all. Each time a third gets exactly the rest, in order,
//! under ids that are new; every write ends well, and so does the fsync among them.

use std::collections::HashSet;

use abuse::Operation;
use anyhow::{ensure, Context, Result};

use crate::kit::{Answer, Direct, Disk, Guest, Held, Puppet, PATIENCE};

const WRITES: u32 = 5;
/// With the flush.
const ALL: u32 = WRITES + 1;
const BLOCK: usize = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    for done in 0..=ALL {
        broken_off(&disk, done as usize).with_context(|| format!("after {done} of {ALL}"))?;
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    Ok(())
}

/// The one who takes over completes so many, and dies.
fn broken_off(disk: &Disk<'_>, done: usize) -> Result<()> {
    let file = Direct::open(disk.path())?;
    let mut writes = Vec::new();
    for number in 0..WRITES {
        // In an order that is not that of their places, so that none are merged or sorted.
        let place = u64::from(number * 3 % WRITES) * 16 * BLOCK as u64;
        writes.push(file.start_write(place, vec![number as u8 + 1; BLOCK]));
        disk.wait_queued(number + 1)?;
    }
    let fsync = file.start_flush();
    disk.wait_queued(ALL)?;

    let mut seen = HashSet::new();
    let mut first = disk.puppet()?;
    let held = all(&mut first, &mut seen)?;
    ensure!(held.len() == ALL as usize, "{} were taken", held.len());
    ensure!(
        held.iter().any(|one| one.operation == Operation::Flush),
        "no flush came"
    );
    first.kill()?;

    disk.wait_queued(ALL)?;
    let mut second = disk.puppet()?;
    let again = all(&mut second, &mut seen)?;
    ensure!(what(&again) == what(&held), "{again:?} instead of {held:?}");
    for one in &again[..done] {
        let refused = second.put(one, Answer::Done)?;
        ensure!(refused.is_none(), "refused: {refused:?}");
    }
    second.kill()?;

    disk.wait_queued(ALL - done as u32)?;
    if done < again.len() {
        let mut third = disk.puppet()?;
        let rest = all(&mut third, &mut seen)?;
        let left = &again[done..];
        ensure!(what(&rest) == what(left), "{rest:?} instead of {left:?}");
        for one in &rest {
            let refused = third.put(one, Answer::Done)?;
            ensure!(refused.is_none(), "refused: {refused:?}");
        }
    }
    for write in writes {
        write.finish(PATIENCE)??;
    }
    fsync.finish(PATIENCE)??;
    Ok(())
}

/// Takes all there is; no id of it may have been seen before.
fn all(worker: &mut Puppet, seen: &mut HashSet<u64>) -> Result<Vec<Held>> {
    let held = worker.take(ALL)?;
    for one in &held {
        ensure!(seen.insert(one.id), "an id came twice: {one:?}");
    }
    Ok(held)
}

/// What stays the same when a request is offered again.
fn what(held: &[Held]) -> Vec<(Operation, u64, u8)> {
    let one = |held: &Held| (held.operation, held.offset, held.first);
    held.iter().map(one).collect()
}
