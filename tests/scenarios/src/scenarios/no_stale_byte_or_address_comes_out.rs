// SPDX-License-Identifier: MIT

//! Ten thousand requests are handed out on a kernel that poisons the memory it frees and clears none that
//! it allocates; every byte that any call writes is the request's own, or a field that the contract
//! knows: no poison, no address, no byte of another request or another disk.
//!
//! `abuse-leaks` does it; the stock kernel's own parameters would hide what it looks for.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    guest.allow(Duration::from_secs(400));
    let _udev = guest.hold_udev()?;
    let said = guest
        .command("abuse-leaks")
        .args(["--gets", "10000"])
        .run()?;
    let last = said.stdout.lines().last().context("no figures")?;
    ensure!(said.status.success(), "{}{}", said.stdout, said.stderr);
    ensure!(last.contains(" findings=0"), "{last}");
    ensure!(last.contains(" poisoned=true "), "{last}");
    Ok(())
}
