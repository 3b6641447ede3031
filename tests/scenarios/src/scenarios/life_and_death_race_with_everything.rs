// SPDX-License-Identifier: MIT

//! Set-up, reset, open, close, poll, adding, removing, resizing and unloading, each against I/O, looks for
//! partitions and killed workers: whatever comes first, every call returns, every request ends once, and
//! the device is empty afterwards.
//!
//! `abuse-races` does it, here with udevd held and then with udevd looking on; `make races` does it for
//! longer.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    guest.allow(Duration::from_secs(400));
    let race = |from: &str| -> Result<()> {
        let said = guest
            .command("abuse-races")
            .args(["--count", "1", "--from", from])
            .run()?;
        let last = said.stdout.lines().last().context("no figures")?;
        let stdout = &said.stdout;
        ensure!(said.status.success(), "{stdout}{}", said.stderr);
        ensure!(
            last.contains(" rounds=27 ") && last.contains(" findings=0"),
            "{last}"
        );
        Ok(())
    };
    let udev = guest.hold_udev()?;
    race("0")?;
    drop(udev);
    race("1")
}
