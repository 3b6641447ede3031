// SPDX-License-Identifier: MIT

//! Processes start I/O, close the disk and exit, hundreds of times, with libaio and with io_uring,
//! while the partition table is read again and again; now and then the one worker is killed. So they do
//! from a disk whose worker lets the driver move the data. Nothing hangs.
//!
//! The end of such I/O drops the last reference to an open file. If that closed the disk in the
//! worker that completes it, it would wait there for the lock of a scan that only this worker can
//! serve (CVE-2025-68823).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::{wait_for, Disk, Guest, Pending, Supervise, Supervisor, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,partscan")?;
    let supervisor = Supervise::new(guest, &disk, 1, "ram:left").start()?;
    leave(guest, &disk, 100, Some(&supervisor))?;
    supervisor.drain()?;

    let disk = guest.disk("size=16M,partscan")?;
    let backend = "file:/dev/shm/left.img,create";
    let server = disk.serve_with(backend, &["--forward"])?;
    leave(guest, &disk, 50, None)?;
    drop(server);
    std::fs::remove_file("/dev/shm/left.img")?;
    Ok(())
}

/// So many processes of each kind leave I/O behind; the workers of a supervisor are killed meanwhile.
fn leave(
    guest: &Guest,
    disk: &Disk<'_>,
    each: u32,
    supervisor: Option<&Supervisor<'_>>,
) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let scans = {
        let (over, path) = (over.clone(), disk.path());
        Pending::start("the scans", move || -> std::io::Result<u32> {
            let mut scans = 0;
            while !over.load(Ordering::Relaxed) {
                let mut blockdev = std::process::Command::new("blockdev");
                let done = blockdev.arg("--rereadpt").arg(&path).output()?;
                scans += u32::from(done.status.success());
            }
            Ok(scans)
        })
    };

    let mut kills = 0;
    for how in ["aio", "uring"] {
        let load = guest.command("leave_io").arg(disk.path());
        let mut load = load.args([how, &each.to_string()]).spawn()?;
        let mut next = disk.status()?.ops[0].done + 100;
        let ended = wait_for("all to have left", PATIENCE * 2, || {
            let due = disk.status()?.ops[0].done >= next;
            if let Some(supervisor) = supervisor.filter(|_| due) {
                supervisor.shoot(&supervisor.workers()[0])?;
                kills += 1;
                next = disk.status()?.ops[0].done + 100;
            }
            Ok((!load.is_running()?).then_some(()))
        });
        ended.with_context(|| format!("{how}: {:?}", disk.status()))?;
        let output = load.finish(Duration::from_secs(1))?;
        ensure!(
            output.status.success() && output.stdout.trim() == format!("left {each}"),
            "{how}: {}{}",
            output.stdout,
            output.stderr
        );
    }
    over.store(true, Ordering::Relaxed);
    let scans = scans.finish(PATIENCE)??;
    println!("    {each} times with each, {scans} scans, {kills} kills");
    let killed = kills > 0 || supervisor.is_none();
    ensure!(scans > 0 && killed, "{scans} scans, {kills} kills");
    disk.wait_idle(PATIENCE)?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    Ok(())
}
