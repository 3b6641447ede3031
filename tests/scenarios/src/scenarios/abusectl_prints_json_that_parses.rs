// SPDX-License-Identifier: MIT

//! `list` and `info` of abusectl print JSON with numbers for sizes, real booleans and the figures of
//! the driver, for devices that are set up and for those that are not.

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M,bs=512,ro")?;
    let _server = disk.serve("ram:json")?;
    let json = |words: &[&str]| -> Result<Value> {
        let text = guest.command("abusectl").args(words).ok()?;
        serde_json::from_str(&text).with_context(|| format!("{words:?}: {text}"))
    };
    let node = disk.path().display().to_string();

    let list = json(&["list", "--json"])?;
    let (_, devices) = list
        .as_object()
        .and_then(|object| object.iter().next())
        .context("an object with a list")?;
    let devices = devices.as_array().context("a list")?;
    let all = abuse::Device::numbers()?.len();
    ensure!(devices.len() == all, "{} of {all} devices", devices.len());
    let ours = devices
        .iter()
        .find(|device| device["name"] == node.as_str())
        .context("our disk")?;
    ensure!(
        ours["size"] == 64 << 20 && ours["ro"] == true && ours["workers"] == 1,
        "{ours}"
    );

    let info = json(&["info", &disk.control(), "--json"])?;
    ensure!(
        info["ab_size"] == 64 << 20 && info["ab_blocksize"] == 512 && info["read_only"] == true,
        "{info}"
    );
    let reads = disk.status()?.ops[0].queued;
    ensure!(
        info["operations"]["read"]["queued"].as_u64() <= Some(reads),
        "{info}"
    );
    for number in abuse::Device::numbers()? {
        json(&["info", &number.to_string(), "--json"])?;
    }
    Ok(())
}
