// SPDX-License-Identifier: MIT

//! A worker whose file backend uses io_uring is killed while a slow device has its write. The write
//! outlives the process: the device ends it when the process is gone and its request is another
//! worker's. That one, with io_uring or without, begins it only when the first has landed, although
//! there are a worker that lives and its lock, too.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::command::sleeps_in;
use crate::kit::{wait_for, Direct, Disk, Guest, Layer, PATIENCE};

const SIZE: u64 = 16 << 20;
const DELAY: Duration = Duration::from_millis(1500);

pub(super) fn run(guest: &Guest) -> Result<()> {
    for (round, heir) in ["", ",io_uring"].into_iter().enumerate() {
        let below = guest.loop_device(&guest.file(&format!("below{round}")), SIZE)?;
        let slow = Layer::slow(guest, below.path(), SIZE, DELAY)?;
        let disk = guest.disk("size=16M")?;
        dies_with_a_write_under_way(guest, &disk, slow.path(), heir)?;
        disk.device().reset(false, Some(PATIENCE))?;
        slow.down()?;
    }
    Ok(())
}

fn dies_with_a_write_under_way(
    guest: &Guest,
    disk: &Disk<'_>,
    slow: &Path,
    heir: &str,
) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let file = format!("file:{}", slow.display());
    // One that lives and has a lock, and that nobody is to wait for.
    let other = abuse::backend::FileOptions {
        io_uring: true,
        ..abuse::backend::FileOptions::for_disk(disk.setup())
    };
    let living = abuse::backend::File::open(slow, &other)?;
    ensure!(living.has_rings(), "there is no io_uring");

    let victim = disk.serve(&format!("{file},io_uring"))?;
    let direct = Direct::open(disk.path())?;
    let landed = writes(slow)?;
    let mut write = direct.start_write(8192, vec![7; 4096]);
    wait_for("the device to have the write", PATIENCE, || {
        Ok(sleeps_in(victim.pid(), "io_cqring_wait").then_some(()))
    })?;
    victim.signal(Signal::SIGKILL)?;
    victim.finish(PATIENCE)?;
    ensure!(
        writes(slow)? == landed,
        "the write ended with its process: this shows nothing"
    );
    let _heir = disk.serve(&format!("{file}{heir}"))?;
    disk.wait_status("another to hold it", |status| status.taken == 1)?;
    ensure!(
        writes(slow)? == landed,
        "the write ended before another had it: this shows nothing"
    );
    let first = when(slow, landed + 1)?;
    ensure!(!write.is_over(), "it ended with the write of the dead");
    let second = when(slow, landed + 2)?;
    let apart = second - first;
    // Nobody looks at the very moment; what was begun before the first had landed comes much sooner.
    ensure!(
        apart > DELAY * 9 / 10,
        "the second write was begun {:?} before the first had landed",
        DELAY.saturating_sub(apart)
    );
    write.finish(PATIENCE)??;
    ensure!(direct.read(8192, 4096)? == [7; 4096], "another block");
    Ok(())
}

/// Writes that the device has ended.
fn writes(device: &Path) -> Result<u64> {
    let node = std::fs::canonicalize(device)?;
    let name = node.file_name().context("a node")?.to_string_lossy();
    let text = std::fs::read_to_string(format!("/sys/block/{name}/stat"))?;
    Ok(text.split_whitespace().nth(4).context("stat")?.parse()?)
}

/// Waits until it has ended so many.
fn when(device: &Path, count: u64) -> Result<Instant> {
    wait_for(&format!("{count} writes to end"), PATIENCE, || {
        let ended = writes(device)?;
        if ended > count {
            bail!("{ended} writes have ended at once, and not {count}");
        }
        Ok((ended == count).then(Instant::now))
    })
}
