// SPDX-License-Identifier: MIT

//! One thread of a worker takes eight requests, and the first of them meets a device that does not
//! answer. Another thread of that worker, which was asleep, begins the other seven; all the while the
//! first is still the stuck thread's, and is answered when the device is.

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::{Direct, Guest, Layer, PATIENCE};

const HALF: u64 = 8 << 20;
const BLOCK: usize = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    // The first half of what the file backend sees can be made to wait, the second cannot.
    let below = guest.loop_device(&guest.file("below"), 2 * HALF)?;
    let first = Layer::linear(guest, below.path(), HALF)?;
    let both = Layer::joined(guest, &[(first.path(), 0), (below.path(), HALF)], HALF)?;
    let disk = guest.disk("size=16M")?;
    let backend = format!("file:{}", both.path().display());

    let filler = disk.serve(&backend)?;
    let file = Direct::open(disk.path())?;
    for block in 0..7u8 {
        file.write(HALF + u64::from(block) * BLOCK as u64, &[block + 1; BLOCK])?;
    }
    filler.signal(Signal::SIGTERM)?;
    filler.finish(PATIENCE)?;

    first.suspend()?;
    let stuck = file.start_read(0, BLOCK);
    disk.wait_queued(1)?;
    let mut reads = Vec::new();
    for block in 0..7u64 {
        reads.push(file.start_read(HALF + block * BLOCK as u64, BLOCK));
    }
    disk.wait_queued(8)?;
    let server = disk.serve_with(&backend, &["--threads", "2", "--batch", "8"])?;
    for (block, read) in reads.into_iter().enumerate() {
        let data = read.finish(PATIENCE)??;
        ensure!(data == vec![block as u8 + 1; BLOCK], "another block");
    }
    let mut stuck = stuck;
    ensure!(!stuck.is_over(), "the first half answered");
    disk.wait_status("the first to be left", |status| status.taken == 1)?;
    first.resume()?;
    stuck.finish(PATIENCE)??;

    server.signal(Signal::SIGTERM)?;
    let words = server.finish(PATIENCE)?.stderr;
    ensure!(
        words.contains("stopped, 8 requests served, 7 of them by a thread that had not taken them"),
        "the server said: {words}"
    );
    Ok(())
}
