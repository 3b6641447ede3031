// SPDX-License-Identifier: MIT

//! Of two supervised workers one after the other is killed with SIGKILL, twenty times, while fio
//! writes and verifies: what they held is offered again, a new worker takes each place, and nothing
//! fails or comes out wrong. Prints how long that took.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::kit::supervisor::Times;
use crate::kit::{Fio, Guest, Supervise};

const KILLS: usize = 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    shoot(guest, 2)
}

/// The same for any number of workers.
pub(super) fn shoot(guest: &Guest, workers: usize) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, workers, &backend).start()?;
    let mut failovers = Vec::new();
    let mut verified = 0;
    while failovers.len() < KILLS {
        let job = ["rw=randwrite", "bsrange=4k-64k", "iodepth=16", "size=48M"];
        let mut load = Fio::on(guest, disk.path(), &job).verify().start()?;
        while failovers.len() < KILLS && load.process.is_running()? {
            // So long alive, and a worker counts as healthy: its successor starts at once.
            std::thread::sleep(Duration::from_millis(250));
            if disk.status()?.taken == 0 {
                continue;
            }
            let victim = supervisor.workers()[failovers.len() % workers];
            failovers.push(supervisor.shoot(&victim)?);
        }
        verified += load.finish()?.reads;
    }
    let requeued: u64 = failovers.iter().map(|it| it.requeued).sum();
    let of =
        |time: fn(&crate::kit::supervisor::Failover) -> _| Times::of(failovers.iter().map(time));
    println!(
        "    {workers} workers, {KILLS} kills, {requeued} requests resumed, {verified} blocks \
         verified: kill to the next completion {}; to a new worker {}",
        of(|it| it.completion),
        of(|it| it.replaced)
    );
    ensure!(requeued > 0, "no kill struck a worker with requests");
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    Ok(())
}
