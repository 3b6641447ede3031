// SPDX-License-Identifier: MIT

//! `abusectl drain` returns when nothing is pending any more and says how many requests ended. In time
//! or not at all: with --timeout it gives up with status 124, and a disk that is reset meanwhile is
//! no disk that was drained.

use anyhow::{ensure, Result};

use crate::kit::{wait_until, Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let control = disk.control();
    let drain = || guest.command("abusectl").args(["drain", &control]);
    drain().run()?.says(0, ": 0 requests drained")?;

    let file = Direct::open(disk.path())?;
    let (one, two) = (file.start_read(0, 4096), file.start_read(8192, 4096));
    disk.wait_queued(2)?;
    let late = drain().args(["--timeout", "100ms"]).run()?;
    late.says(124, ": 2 requests still pending after 100ms")?;
    ensure!(late.stderr.contains("Nobody serves it"), "{}", late.stderr);

    let mut puppet = disk.puppet()?;
    let held = puppet.take(2)?;
    let late = drain().args(["--timeout", "100ms"]).run()?;
    late.says(124, ": 2 requests still pending after 100ms")?;
    let mut waiting = drain().spawn()?;
    puppet.put(&held[0], Answer::Done)?;
    disk.wait_status("one to be left", |status| status.taken == 1)?;
    ensure!(waiting.is_running()?, "one was pending, and it ended");
    puppet.put(&held[1], Answer::Error)?;
    let output = waiting.finish(PATIENCE)?;
    ensure!(
        output.status.success() && output.stdout.contains(" drained\n"),
        "{}: {}",
        output.status,
        output.stdout
    );
    for read in [one, two] {
        let _ = read.finish(PATIENCE)?;
    }

    let read = file.start_read(0, 4096);
    disk.wait_queued(1)?;
    let mut waiting = drain().args(["--timeout", "1h"]).spawn()?;
    let wchan = format!("/proc/{}/wchan", waiting.pid());
    wait_until("a sleep between two looks", PATIENCE, || {
        std::fs::read_to_string(&wchan).is_ok_and(|place| place.contains("nanosleep"))
    })?;
    ensure!(waiting.is_running()?, "one was pending, and it ended");
    disk.device().reset(true, Some(PATIENCE))?;
    ensure!(read.finish(PATIENCE)?.is_err());
    waiting.finish(PATIENCE)?.says(3, "reset meanwhile")?;
    drain().run()?.says(3, "not set up")?;
    drop(quiet);
    Ok(())
}
