// SPDX-License-Identifier: MIT

//! Ten thousand hostile calls, from several processes and threads at once, get the answers that
//! docs/uapi.md gives them, hang nowhere, and leave devices, module and memory as they were.
//!
//! `abuse-fuzz` makes them and judges; `make fuzz` runs it for longer and from other seeds.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::Guest;

/// Documented answers that a run of ten thousand calls may fail to meet, of about sixty.
const MISSED: u32 = 8;

pub(super) fn run(guest: &Guest) -> Result<()> {
    guest.allow(Duration::from_secs(400));
    let udev = guest.hold_udev()?;
    let said = guest
        .command("abuse-fuzz")
        .args(["--seed", "1", "--calls", "10000"])
        .run()?;
    drop(udev);
    let last = said.stdout.lines().last();
    let last = last.with_context(|| format!("no figures, {}: {}", said.status, said.stderr))?;
    ensure!(last.contains(" findings=0"), "{last}: {}", said.stderr);
    // Whether so short a run meets every documented answer is a matter of odds; most it must meet.
    let missed = last.split(" not_seen=").nth(1).and_then(|rest| {
        let number = rest.split_whitespace().next()?;
        number.parse::<u32>().ok()
    });
    let missed = missed.context("how many answers were not seen")?;
    ensure!(missed <= MISSED, "{last}: {}", said.stdout);
    Ok(())
}
