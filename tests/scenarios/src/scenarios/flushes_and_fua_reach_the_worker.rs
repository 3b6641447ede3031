// SPDX-License-Identifier: MIT

//! What must be durable reaches the worker as such. A disk with a volatile cache sees a flush for
//! an fsync and FUA for a synchronous write; one without FUA sees the write and a flush; one that
//! is write-through never sees either, as its writes are durable anyway.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{Direct, Disk, Guest, Held, Pending, Puppet};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let cached = guest.disk("size=16M")?;
    let seen = synced(&cached)?;
    ensure!(
        seen.iter().any(|held| held.operation == Operation::Flush),
        "{seen:?}"
    );
    let seen = written(&cached)?;
    ensure!(
        seen[0].operation == Operation::Write && seen[0].fua,
        "the write came without FUA: {seen:?}"
    );

    let plain = guest.disk("size=16M,nofua")?;
    let seen = written(&plain)?;
    let operations: Vec<Operation> = seen.iter().map(|held| held.operation).collect();
    ensure!(
        operations.starts_with(&[Operation::Write, Operation::Flush]) && !seen[0].fua,
        "not a write and then a flush: {seen:?}"
    );

    let through = guest.disk("size=16M,write_through")?;
    for seen in [synced(&through)?, written(&through)?] {
        ensure!(
            seen.iter()
                .all(|held| held.operation == Operation::Write && !held.fua),
            "a write-through disk saw more than writes: {seen:?}"
        );
    }
    Ok(())
}

/// What a worker sees of a write and an fsync.
fn synced(disk: &Disk<'_>) -> Result<Vec<Held>> {
    let file = Direct::open(disk.path())?;
    let work = Pending::start("write and fsync", move || {
        file.write(0, &[1; 4096])?;
        file.flush()
    });
    served(disk.puppet()?, work)
}

/// What a worker sees of a write with O_DSYNC.
fn written(disk: &Disk<'_>) -> Result<Vec<Held>> {
    let file = Direct::open_durable(disk.path())?;
    served(disk.puppet()?, file.start_write(4096, vec![2; 4096]))
}

/// Everything that came until the work ended.
fn served(mut puppet: Puppet, mut work: Pending<std::io::Result<()>>) -> Result<Vec<Held>> {
    let seen = puppet.serve_until(|| Ok(work.is_over()))?;
    work.finish(crate::kit::PATIENCE)??;
    Ok(seen)
}
