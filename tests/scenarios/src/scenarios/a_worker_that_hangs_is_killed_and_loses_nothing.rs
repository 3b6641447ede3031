// SPDX-License-Identifier: MIT

//! A worker is stopped in the middle of writes, and nobody but its supervisor notices: it gives no sign
//! of life, is killed, and only when it is dead the standby gets its writes. Then a worker takes a
//! request and never completes it, although it says that it is alive.

use std::time::Duration;

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::{command, wait_for, Fio, Guest, Supervise, PATIENCE};

/// Long enough for a worker that is only slow, on an emulated processor.
const HEARTBEAT: &str = "--heartbeat=4s";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 1, &backend)
        .standby(1)
        .option(HEARTBEAT)
        .option("--fence-after=100ms")
        .start()?;
    supervisor.wait_whole()?;
    let load = Fio::on(
        guest,
        disk.path(),
        &["rw=randwrite", "bs=4k", "iodepth=32", "size=8M"],
    );
    let load = load.verify().start()?;
    let victim = supervisor.workers()[0];
    disk.stop_amid_writes(&victim)?;
    // What was offered again in vain, while it could still answer.
    let stale = disk.status()?.stale;
    supervisor.wait_log("it gives no sign of life any more")?;
    supervisor.wait_log("takes over from")?;
    load.finish()?;
    supervisor.wait_whole()?;
    let now = supervisor.workers();
    ensure!(now.len() == 1 && now[0].token != victim.token, "{now:?}");
    let status = disk.status()?;
    ensure!(status.errors == 0 && status.stale == stale, "{status:?}");
    let log = supervisor.drain()?;
    let at = |words: &str| log.find(words).unwrap_or(log.len());
    ensure!(
        at("hangs:") < at("sent SIGKILL") && at("sent SIGKILL") < at("was killed by SIGKILL"),
        "not in order: {log}"
    );
    // The standby, which did nothing but wait, was alive all the time.
    ensure!(log.matches("hangs:").count() == 1, "{log}");
    takes_and_never_puts(guest)
}

/// A puppet of another supervisor's: it holds what it took until it is killed.
fn takes_and_never_puts(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let supervisor = Supervise::new(guest, &disk, 1, "ram:never-puts")
        .command(&["abusectl", "server", "{ctl}", "--backend", "ram:never-puts"])
        .standby(1)
        .option("--request-timeout=1s")
        .option("--fence-after=100ms")
        .start()?;
    supervisor.wait_whole()?;
    let victim = supervisor.workers()[0];
    let writes = loop {
        let file = crate::kit::Direct::open(disk.path())?;
        let mut write = file.start_write(0, vec![7; 4096]);
        command::stop(victim.pid)?;
        let held = wait_for(
            "the write to be held or lie",
            Duration::from_secs(5),
            || {
                let status = disk.status()?;
                Ok((write.is_over() || status.taken + status.queued > 0).then_some(status.taken))
            },
        )?;
        if !write.is_over() && held > 0 {
            break write;
        }
        command::send(victim.pid, Signal::SIGCONT)?;
        write.finish(PATIENCE)??;
    };
    supervisor.wait_log("it has held a request for too long")?;
    writes.finish(PATIENCE)??;
    ensure!(disk.status()?.errors == 0, "a request failed");
    supervisor.wait_whole()?;
    supervisor.drain()?;
    Ok(())
}
