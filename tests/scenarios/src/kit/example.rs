// SPDX-License-Identifier: MIT

//! The example device, in whichever language: it sets a device up, serves it, and goes.

use std::path::Path;

use abuse::{Device, State};
use anyhow::{bail, ensure, Context, Result};
use nix::sys::signal::Signal;

use super::wait::{wait_for, PATIENCE};
use super::{Guest, Process};

/// Starts an example on a device, as `words`, the control node and files; returns when it takes requests.
pub fn start(guest: &Guest, words: &[&str], device: &Device, files: &[&Path]) -> Result<Process> {
    let (program, options) = words.split_first().context("a program")?;
    let command = guest.command(program).args(options);
    let mut example = command.arg(device.control_path()).args(files).spawn()?;
    wait_for("the example to serve", PATIENCE, || {
        if !example.is_running()? {
            bail!("it ended: {}", example.stderr()?);
        }
        let status = device.status()?;
        Ok((status.waiting > 0 && device.disk_path().exists()).then_some(()))
    })?;
    Ok(example)
}

/// Has `words` and a control node serve a file system, then ends it with SIGTERM.
pub fn serves_a_file_system(guest: &Guest, words: &[&str]) -> Result<()> {
    let mut empty = None;
    for number in Device::numbers()? {
        let device = Device::open_read_only(number.to_string())?;
        if device.status()?.state == State::Empty {
            empty = Some(device);
            break;
        }
    }
    let Some(device) = empty else {
        bail!("no device is free");
    };
    let mut example = start(guest, words, &device, &[])?;
    ensure!(
        device.status()?.setup.map(|setup| setup.bytes) == Some(64 << 20),
        "it made another disk"
    );

    guest
        .command("mkfs.ext4")
        .arg("-q")
        .arg(device.disk_path())
        .ok()?;
    let data: Vec<u8> = (0..8 << 20)
        .map(|n: u32| (n >> 3) as u8 ^ n as u8)
        .collect();
    let mount = guest.mount(device.disk_path())?;
    std::fs::write(mount.path().join("data"), &data)?;
    mount.unmount()?;
    guest
        .command("e2fsck")
        .arg("-fn")
        .arg(device.disk_path())
        .ok()?;
    let mount = guest.mount(device.disk_path())?;
    let read = std::fs::read(mount.path().join("data"))?;
    ensure!(read == data, "other bytes came back");
    mount.unmount()?;
    super::udev::settle()?;

    example.signal(Signal::SIGTERM)?;
    let status = example.wait(PATIENCE)?;
    let words = example.stderr()?;
    ensure!(words.is_empty(), "{status}: {words}");
    let status = device.status()?;
    ensure!(
        status.workers == 0 && status.taken == 0 && status.errors == 0,
        "it left something behind: {status:?}"
    );
    Ok(())
}
