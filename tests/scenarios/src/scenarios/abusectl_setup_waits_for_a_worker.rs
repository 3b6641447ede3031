// SPDX-License-Identifier: MIT

//! `abusectl setup --wait` returns when a worker serves the disk, and with status 124 when none
//! comes in time; what the driver adjusts is said in a note.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use abuse::{Device, State};

use crate::kit::{wait_until, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let mut empty = None;
    for number in Device::numbers()? {
        let device = Device::open(number.to_string())?;
        if device.status()?.state == State::Empty {
            empty = Some(device);
        }
    }
    let device = empty.context("a device that is not set up")?;
    let control = device.control_path().display().to_string();
    let setup = |timeout: &str| {
        guest.command("abusectl").args([
            "setup",
            &control,
            "size=64M,depth=100000",
            "--wait",
            "--timeout",
            timeout,
        ])
    };
    let late = setup("200ms").run()?;
    ensure!(late.status.code() == Some(124), "{late:?}");
    ensure!(
        late.stderr.contains("no worker came in") && late.stderr.contains("depth is 4096"),
        "{late:?}"
    );
    device.reset(false, Some(PATIENCE))?;

    let mut waiting = setup("60s").spawn()?;
    wait_until("the disk", PATIENCE, || {
        device
            .status()
            .is_ok_and(|status| status.state != State::Empty)
    })?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(
        waiting.is_running()?,
        "it did not wait: {}",
        waiting.stderr()?
    );
    let mut server = guest
        .command("abusectl")
        .args(["server", &control, "--backend", "ram:waited-for"])
        .spawn()?;
    let ended = waiting.finish(PATIENCE)?;
    ensure!(ended.status.success(), "{ended:?}");
    ensure!(
        ended.stdout.trim() == device.disk_path().display().to_string(),
        "{ended:?}"
    );
    server.signal(nix::sys::signal::Signal::SIGTERM)?;
    ensure!(server.wait(PATIENCE)?.success(), "{}", server.stderr()?);
    Ok(())
}
