// SPDX-License-Identifier: MIT

//! Eight processes serve one disk at once: the data are right, and each of them did a part.

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::{Fio, Guest, PATIENCE};

const WORKERS: usize = 8;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let mut servers = Vec::new();
    for _ in 0..WORKERS {
        // Small batches, so that there is something left for each.
        servers.push(disk.serve_with("ram:eight", &["--batch", "4"])?);
    }
    disk.wait_status("eight workers to wait", |status| {
        status.waiting as usize == WORKERS
    })?;
    let options = ["rw=randwrite", "bs=4k", "iodepth=64", "size=24M"];
    Fio::on(guest, disk.path(), &options).verify().run()?;

    for server in servers {
        server.signal(Signal::SIGTERM)?;
        let words = server.finish(PATIENCE)?.stderr;
        let served = served(&words).with_context(|| format!("the server said: {words}"))?;
        ensure!(served > 0, "one of the eight served nothing");
    }
    Ok(())
}

/// `...: stopped, 17 requests served`
fn served(words: &str) -> Option<u64> {
    let (_, rest) = words.split_once("stopped, ")?;
    let digits = rest.split(' ').next()?.replace(',', "");
    digits.parse().ok()
}
