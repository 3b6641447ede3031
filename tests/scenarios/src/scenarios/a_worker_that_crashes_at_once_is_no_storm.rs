// SPDX-License-Identifier: MIT

//! A worker that ends as soon as it was started is started again with pauses that grow up to their
//! limit, and given up where the operator set a limit to that, too.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::kit::{wait_until, Guest, Supervise, PATIENCE};

const CRASH: &[&str] = &["sh", "-c", "kill -SEGV $$"];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let supervisor = Supervise::new(guest, &disk, 1, "null")
        .command(CRASH)
        .option("--back-off=50ms..1s")
        .spawn()?;
    let starts = |log: &str| log.matches("started as owner").count();
    // Pauses of 50, 100, 200, 400, 800 ms and then a second each, give or take a quarter.
    std::thread::sleep(Duration::from_secs(6));
    let log = supervisor.log()?;
    let count = starts(&log);
    ensure!((4..=13).contains(&count), "{count} starts in 6 s: {log}");
    ensure!(log.contains("failures in a row: 4"), "{log}");
    ensure!(log.contains("SIGSEGV"), "{log}");
    supervisor.drain()?;

    let supervisor = Supervise::new(guest, &disk, 1, "null")
        .command(CRASH)
        .option("--back-off=50ms..100ms")
        .option("--intensity=3")
        .spawn()?;
    supervisor.wait_log("GIVEN UP")?;
    supervisor.wait_log("FAILED")?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(starts(&supervisor.log()?) == 4, "{}", supervisor.log()?);
    // It stays, and says so at the end.
    let mut process = supervisor.process;
    process.signal(nix::sys::signal::Signal::SIGTERM)?;
    wait_until("its end", PATIENCE, || {
        process.is_running().is_ok_and(|runs| !runs)
    })?;
    let status = process.wait(PATIENCE)?;
    ensure!(status.code() == Some(1), "{status}");
    Ok(())
}
