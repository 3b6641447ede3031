// SPDX-License-Identifier: MIT

//! Ten thousand hostile calls, from several processes and threads at once, get the answers that
//! docs/uapi.md gives them, hang nowhere, and leave devices, module and memory as they were.
//!
//! `abuse-fuzz` makes them and judges; `make fuzz` runs it for longer and from other seeds.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    guest.allow(Duration::from_secs(400));
    let udev = guest.hold_udev()?;
    let said = guest
        .command("abuse-fuzz")
        .args(["--seed", "1", "--calls", "10000"])
        .run()?;
    drop(udev);
    let last = said.stdout.lines().last().context("no figures")?;
    ensure!(said.status.success(), "{last}: {}", said.stderr);
    ensure!(last.contains(" findings=0"), "{last}");
    Ok(())
}
