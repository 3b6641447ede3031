// SPDX-License-Identifier: MIT

//! udevd reads a disk when it comes alive and whenever somebody wrote to it. Scenarios that count
//! requests keep it waiting.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use super::detectors::patience;
use super::{command, PATIENCE};

/// While this lives, udevd looks at nothing.
///
/// It is stopped. Its own `udevadm control --stop-exec-queue` would be the gentler way, but the way
/// back waits: a process that udevd forks for an event while that order is being answered inherits
/// the connection, and udevadm hears the end of it only when that process ends, three seconds after
/// its last event, or as long as a disk without a worker keeps it.
#[derive(Debug)]
pub struct Held(Option<u32>);

/// Holds udevd, if it runs here, until the result is dropped. What it has begun it goes on with.
pub fn hold() -> Result<Held> {
    let held = Held(daemon());
    if let Some(pid) = held.0 {
        command::stop(pid).context("udevd")?;
    }
    Ok(held)
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = command::send(pid, Signal::SIGCONT);
        }
    }
}

/// The udevd that answers; the processes it forks have another name.
fn daemon() -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let is_udevd = |place: &Path| {
        fs::read_to_string(place.join("comm")).is_ok_and(|name| name.trim() == "systemd-udevd")
    };
    let mut found = processes.filter(|entry| is_udevd(&entry.path()));
    found.next()?.file_name().to_str()?.parse().ok()
}

/// Waits until udevd has looked at everything. Fails when it hangs.
pub fn settle() -> Result<()> {
    settle_within(PATIENCE)
}

/// The same, where it has been told of so much that it is busy for so long.
pub fn settle_within(limit: Duration) -> Result<()> {
    if !Path::new("/run/udev/control").exists() {
        return Ok(());
    }
    let limit = patience(limit).as_secs();
    let status = Command::new("udevadm")
        .args(["settle", &format!("--timeout={limit}")])
        .status()
        .context("udevadm settle")?;
    ensure!(status.success(), "udevd still waits for a disk");
    Ok(())
}
