// SPDX-License-Identifier: MIT

//! A worker whose file backend uses io_uring is killed while a slow device has its write. The write
//! outlives the process: the device still has it when the process is gone and its request is another
//! worker's. That one, with io_uring or without, does it only when the first has landed: never are
//! both on their way.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::{udev, Direct, Disk, Guest, Layer, PATIENCE};

const SIZE: u64 = 16 << 20;
const DELAY: Duration = Duration::from_millis(1500);

pub(super) fn run(guest: &Guest) -> Result<()> {
    for (round, successor) in ["", ",io_uring"].into_iter().enumerate() {
        let below = guest.loop_device(&guest.file(&format!("below{round}")), SIZE)?;
        let slow = Layer::slow(guest, below.path(), SIZE, DELAY)?;
        udev::settle()?;
        let disk = guest.disk("size=16M")?;
        dies_with_a_write_under_way(&disk, &slow, successor)?;
        disk.device().reset(false, Some(PATIENCE))?;
        slow.down()?;
    }
    Ok(())
}

fn dies_with_a_write_under_way(disk: &Disk<'_>, slow: &Layer<'_>, successor: &str) -> Result<()> {
    let file = format!("file:{}", slow.path().display());
    let backend = format!("{file},io_uring");
    let victim = disk.serve(&backend)?;
    ensure!(
        !victim.stderr()?.contains("no io_uring"),
        "there is no io_uring: {}",
        victim.stderr()?
    );
    udev::settle()?;
    let before = disk.counts(abuse::Operation::Write)?.taken;
    let direct = Direct::open(disk.path())?;
    let mut write = direct.start_write(8192, vec![7; 4096]);
    wait(|| Ok(under_way(slow)? == 1), "the device to have the write")?;
    victim.signal(Signal::SIGKILL)?;
    victim.finish(PATIENCE)?;
    ensure!(
        under_way(slow)? == 1,
        "the write ended with its process: this shows nothing"
    );
    let heir = disk.serve(&format!("{file}{successor}"))?;
    disk.wait_status("another to hold it", |status| status.taken == 1)?;
    let mut landed = false;
    while !write.is_over() {
        match under_way(slow)? {
            0 => landed = true,
            1 => {}
            more => anyhow::bail!("{more} writes are under way together"),
        }
    }
    write.finish(PATIENCE)??;
    ensure!(landed, "the first write was not seen to end");
    let taken = disk.counts(abuse::Operation::Write)?.taken - before;
    ensure!(taken == 2, "the write was taken {taken} times");
    ensure!(direct.read(8192, 4096)? == [7; 4096], "another block");

    drop(heir);
    Ok(())
}

/// Writes that the device has.
fn under_way(layer: &Layer<'_>) -> Result<u32> {
    let node = std::fs::canonicalize(layer.path())?;
    let name = node.file_name().context("a node")?.to_string_lossy();
    let text = std::fs::read_to_string(format!("/sys/block/{name}/inflight"))?;
    Ok(text
        .split_whitespace()
        .nth(1)
        .context("inflight")?
        .parse()?)
}

fn wait(met: impl Fn() -> Result<bool>, what: &str) -> Result<()> {
    crate::kit::wait_for(what, PATIENCE, || Ok(met()?.then_some(())))
}
