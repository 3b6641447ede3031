// SPDX-License-Identifier: MIT

//! A flush that is forwarded flushes the files it names, and a write with FUA, or to a disk without a
//! cache, is durable there when it ends: the device below counts its flushes. A plain write flushes
//! nothing.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use abuse::{Extent, Operation, Outcome};
use anyhow::{ensure, Context, Result};
use nix::fcntl::OFlag;

use crate::kit::forward::{serve_until_over, take};
use crate::kit::{Direct, Disk, Guest, Pending, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let below = guest.loop_device(&guest.file("below.img"), 1 << 20)?;
    for flags in [OFlag::O_DIRECT, OFlag::empty()] {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.bits());
        let file = options.open(below.path())?;
        let cached = guest.disk("size=1M")?;
        let (plain, durable) = (
            Direct::open(cached.path())?,
            Direct::open_durable(cached.path())?,
        );
        let work = plain.start_write(0, vec![1; 4096]);
        let seen = flushes(below.path(), &cached, &file, work)?;
        ensure!(seen == (Operation::Write, 0), "a plain write: {seen:?}");
        let seen = flushes(below.path(), &cached, &file, plain.start_flush())?;
        ensure!(
            seen.0 == Operation::Flush && seen.1 > 0,
            "a flush: {seen:?}"
        );
        let work = durable.start_write(4096, vec![2; 4096]);
        let seen = flushes(below.path(), &cached, &file, work)?;
        ensure!(seen.0 == Operation::Write && seen.1 > 0, "FUA: {seen:?}");
        ensure!(cached.status()?.unflushed == 0, "{:?}", cached.status()?);

        let through = guest.disk("size=1M,write_through")?;
        let plain = Direct::open(through.path())?;
        let work = plain.start_write(8192, vec![3; 4096]);
        let seen = flushes(below.path(), &through, &file, work)?;
        ensure!(
            seen.0 == Operation::Write && seen.1 > 0,
            "without a cache: {seen:?}"
        );

        // What is there is what was written.
        let there = Direct::open(below.path())?.read(0, 3 * 4096)?;
        let bytes: Vec<u8> = there.iter().step_by(4096).copied().collect();
        ensure!(bytes == [1, 2, 3], "{bytes:?}");
    }
    Ok(())
}

/// What a worker sees first of some work, which is forwarded; and how often the device below was flushed
/// for that.
fn flushes(
    below: &Path,
    disk: &Disk<'_>,
    file: &File,
    mut work: Pending<std::io::Result<()>>,
) -> Result<(Operation, u64)> {
    let before = count(below)?;
    let request = take(disk.device())?;
    let seen = request.operation();
    let to = [Extent::new(
        file.as_fd(),
        request.offset(),
        request.length() as u32,
    )];
    request.complete(Outcome::Forward {
        to: &to,
        returns: false,
    })?;
    disk.wait_status("the forward to end", |status| status.forwarding == 0)?;
    let flushes = count(below)? - before;
    // To O_DSYNC belongs an fsync.
    serve_until_over(disk.device(), &mut work)?;
    work.finish(PATIENCE)??;
    Ok((seen, flushes))
}

/// Flushes that a block device has completed.
fn count(device: &Path) -> Result<u64> {
    let name = device.file_name().context("a name")?.to_string_lossy();
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat"))?;
    let field = stat.split_whitespace().nth(15).context("flushes")?;
    Ok(field.parse()?)
}
