// SPDX-License-Identifier: MIT

//! udevd reads a disk when it comes alive and whenever somebody wrote to it. Scenarios that count
//! requests keep it waiting.

use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::detectors::patience;

/// While this lives, udevd looks at nothing.
#[derive(Debug)]
pub struct Held(());

/// Holds udevd until the result is dropped.
pub fn hold() -> Result<Held> {
    control("--stop-exec-queue")?;
    Ok(Held(()))
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = control("--start-exec-queue");
    }
}

/// Waits until udevd has looked at everything. Fails when it hangs.
pub fn settle() -> Result<()> {
    if !std::path::Path::new("/run/udev/control").exists() {
        return Ok(());
    }
    let limit = patience(Duration::from_secs(20)).as_secs();
    let status = Command::new("udevadm")
        .args(["settle", &format!("--timeout={limit}")])
        .status()
        .context("udevadm settle")?;
    ensure!(status.success(), "udevd still waits for a disk");
    Ok(())
}

/// The processes of udevd that wait uninterruptibly, and for what: when no disk of ours is left,
/// there must be none.
pub fn stuck() -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let about = |process: std::path::PathBuf| {
        let stat = std::fs::read_to_string(process.join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let stack = std::fs::read_to_string(process.join("stack")).unwrap_or_default();
        (name.contains("udev") && rest.starts_with('D')).then(|| format!("{name}: {stack}"))
    };
    processes
        .flatten()
        .filter_map(|entry| about(entry.path()))
        .collect()
}

fn control(word: &str) -> Result<()> {
    if !std::path::Path::new("/run/udev/control").exists() {
        return Ok(());
    }
    let status = Command::new("udevadm")
        .args(["control", word])
        .status()
        .context("udevadm control")?;
    ensure!(status.success(), "udevadm control {word}: {status}");
    Ok(())
}
