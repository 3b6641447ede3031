// SPDX-License-Identifier: MIT

//! One thread of a worker takes eight requests, and the first of them meets a device that does not
//! answer. Another thread of that worker, which was asleep, begins the other seven; all the while the
//! first is still the stuck thread's, and is answered when the device is.

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::{Direct, Guest, Layer, PATIENCE};

const HALF: u64 = 8 << 20;
const BLOCK: usize = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    // The second half of what the file backend sees can be made to wait, the first cannot.
    let below = guest.loop_device(&guest.file("below"), 2 * HALF)?;
    let second = Layer::linear(guest, below.path(), HALF)?;
    let both = Layer::joined(guest, &[(below.path(), HALF), (second.path(), 0)], HALF)?;
    // Before there is a disk: what it has begun to read would stay with it.
    let udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let backend = format!("file:{}", both.path().display());

    let filler = disk.serve(&backend)?;
    let file = Direct::open(disk.path())?;
    for block in 0..7u8 {
        file.write(u64::from(block) * BLOCK as u64, &[block + 1; BLOCK])?;
    }
    filler.signal(Signal::SIGTERM)?;
    filler.finish(PATIENCE)?;

    second.suspend()?;
    let stuck = file.start_read(HALF, BLOCK);
    disk.wait_queued(1)?;
    let mut reads = Vec::new();
    for block in 0..7u64 {
        reads.push(file.start_read(block * BLOCK as u64, BLOCK));
    }
    disk.wait_queued(8)?;
    let server = disk.serve_with(&backend, &["--threads", "2", "--batch", "8"])?;
    for (block, read) in reads.into_iter().enumerate() {
        let data = read.finish(PATIENCE)??;
        ensure!(data == vec![block as u8 + 1; BLOCK], "another block");
    }
    let mut stuck = stuck;
    ensure!(!stuck.is_over(), "the second half answered");
    disk.wait_status("the first to be left", |status| status.taken == 1)?;
    // dmsetup waits for it.
    drop(udev);
    second.resume()?;
    stuck.finish(PATIENCE)??;

    server.signal(Signal::SIGTERM)?;
    let words = server.finish(PATIENCE)?.stderr;
    let helped = helped(&words).with_context(|| format!("the server said: {words}"))?;
    ensure!(helped >= 7, "only {helped} were begun by another thread");
    Ok(())
}

/// `...: stopped, 8 requests served, 7 of them by a thread that had not taken them`
fn helped(words: &str) -> Option<u64> {
    let (before, _) = words.split_once(" of them by a thread that had not taken them")?;
    before.rsplit(' ').next()?.replace(',', "").parse().ok()
}
