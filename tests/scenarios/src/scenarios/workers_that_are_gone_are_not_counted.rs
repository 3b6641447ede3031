// SPDX-License-Identifier: MIT

//! Workers that used one open file after the other and died are not counted as workers, and leave no
//! memory behind as long as somebody keeps that file open.

use anyhow::{ensure, Result};

use crate::kit::{wait_until, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=16M")?;
    // `knock` makes every call, EXCHANGE too, on its standard input.
    let script = format!(
        "exec 0<>{}; for i in $(seq 40); do knock >/dev/null; done; echo done; sleep 600",
        disk.control()
    );
    let keeper = guest.command("sh").args(["-c", &script]).spawn()?;
    wait_until("forty workers to come and go", PATIENCE, || {
        keeper.stdout().is_ok_and(|said| said.contains("done"))
    })?;
    let workers = disk.status()?.workers;
    ensure!(workers == 0, "{workers} workers, and all are dead");
    Ok(())
}
