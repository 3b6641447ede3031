// SPDX-License-Identifier: MIT

//! A scan for partitions whose worker does not answer delays whoever opens the disk, and nobody
//! else: no call of the control node waits for it. It ends when a worker comes, by a reset, or, on
//! a disk that was set up to fail what nobody claims, when that time is over; and then the openers
//! go on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use abuse::{Reconnect, State};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::detectors::patience;
use crate::kit::{refused, wait_until, Disk, Guest, Held, Pending, Puppet, Stalls, PATIENCE};

/// What is *at once*, where the processor is emulated and shared.
const SOON: Duration = Duration::from_secs(5);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    freed_by_a_worker(guest).context("freed by a worker")?;
    freed_by_a_reset(guest).context("freed by a reset")?;
    freed_by_time(guest).context("freed by time")
}

/// A disk whose scan waits for this worker, and somebody who opens it.
fn scanned<'g>(
    guest: &'g Guest,
    keys: &str,
) -> Result<(Disk<'g>, Puppet, Held, Pending<io::Result<File>>)> {
    let disk = guest.disk(keys)?;
    let mut worker = disk.puppet()?;
    let held = worker.take_one()?;
    let path = disk.path();
    let mut opener = Pending::start("an open", move || File::open(path));
    // The rest of this scenario looks at it again and again: it would have ended long before.
    ensure!(!opener.is_over(), "the open did not wait");
    Ok((disk, worker, held, opener))
}

fn freed_by_a_worker(guest: &Guest) -> Result<()> {
    let (disk, mut worker, held, mut opener) = scanned(guest, "size=16M,partscan")?;
    let started = Instant::now();
    ensure!(disk.status()?.state == State::Live);
    refused(disk.device().reset(false, Some(SOON)), Errno::EBUSY)?;
    let offered = disk.device().reconnect(&Reconnect::default())?;
    ensure!(offered.requeued == 1, "{offered:?}");
    let again = worker.take_within(1, PATIENCE)?;
    ensure!(again.len() == 1 && again[0].id != held.id, "{again:?}");
    ensure!(
        worker.take_within(1, Duration::ZERO)?.is_empty(),
        "the scan has more than one read out"
    );
    let read_only = Reconnect {
        read_only: Some(true),
        ..Reconnect::default()
    };
    disk.device().reconnect(&read_only)?;
    let took = started.elapsed();
    ensure!(took < patience(SOON), "the calls took {took:?}");
    ensure!(!opener.is_over(), "the open did not wait for the scan");

    worker.kill()?;
    ensure!(!opener.is_over(), "the open did not wait for a worker");
    let _server = disk.serve("null")?;
    opener.finish(PATIENCE)??;
    disk.wait_idle(PATIENCE)?;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

/// Over and over, with the worker killed or not, and as many reads of the scan answered as there
/// are.
fn freed_by_a_reset(guest: &Guest) -> Result<()> {
    let stalls = Stalls::watch()?;
    for round in 0..8 {
        let (disk, mut worker, mut held, opener) = scanned(guest, "size=16M,partscan")?;
        for _ in 0..round / 2 {
            worker.say_put(&held, crate::kit::Answer::Done)?;
            ensure!(worker.hear_put()?.is_none(), "refused");
            let next = worker.take_within(1, Duration::from_secs(1))?;
            match next.first() {
                Some(next) => held = *next,
                None => break,
            }
        }
        if round % 2 == 1 {
            worker.kill()?;
        }
        let started = Instant::now();
        disk.device().reset(true, None)?;
        let took = stalls.had(started, Instant::now());
        ensure!(
            took < patience(Duration::from_secs(1)),
            "the reset took {took:?}"
        );
        // It may still get in, between the end of the scan and that of the disk.
        if let Ok(file) = opener.finish(SOON)? {
            let buried = || {
                disk.status()
                    .is_ok_and(|status| status.state == State::Empty)
            };
            wait_until("the disk to be gone", SOON, buried)?;
            ensure!(
                file.read_exact_at(&mut [0; 512], 8 << 20).is_err(),
                "a dead disk was read"
            );
        }
        // Waits for the old disk to be gone, and gets a new one.
        let setup = Pending::start("a set-up", {
            let (device, setup) = (disk.device().clone(), disk.setup().clone());
            move || device.setup(&setup)
        });
        setup.finish(SOON)??;
        disk.device().reset(true, Some(PATIENCE))?;
        ensure!(disk.status()?.state == State::Empty);
    }
    Ok(())
}

fn freed_by_time(guest: &Guest) -> Result<()> {
    let keys = "size=16M,partscan,no_server=100ms";
    let (disk, mut worker, _, opener) = scanned(guest, keys)?;
    worker.kill()?;
    let file = opener.finish(PATIENCE)??;
    drop(file);
    let status = disk.status()?;
    ensure!(
        status.state == State::Live && status.errors > 0,
        "the scan's reads did not fail: {status:?}"
    );
    let _server = disk.serve("null")?;
    let blockdev = guest.command("blockdev").arg("--rereadpt");
    blockdev.arg(disk.path()).ok()?;
    Ok(())
}
