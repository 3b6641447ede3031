// SPDX-License-Identifier: MIT

//! What a worker has of memory is locked, what the kernel allocates for it is not got by writing to
//! disks, and it is killed last: seen in its own /proc, in that of a standby, and of the supervisor. And it holds: ext4 on its disk is written to, through write and through shared mappings,
//! while next to no memory is free and workers are killed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::supervisor::Worker;
use crate::kit::{Fio, Guest, Process, Supervise, PATIENCE};
use crate::torture::hog::Hog;

/// Of linux/sched.h: what PR_SET_IO_FLUSHER sets.
const IO_FLUSHER: u64 = 0x0008_0000 | 0x0010_0000;
const KILLS: usize = 2;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=512M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 1, &backend)
        .standby(1)
        .start()?;
    supervisor.wait_whole()?;
    for worker in [supervisor.workers(), supervisor.standbys()].concat() {
        is_hardened(&worker)?;
    }
    let own = supervisor.process.pid();
    is_locked(own)?;
    is_spared(own)?;

    guest
        .command("mkfs.ext4")
        .args(["-q"])
        .arg(disk.path())
        .ok()?;
    let mount = guest.mount(disk.path())?;
    let file = |name: &str| mount.path().join(name);
    let hog = hog(guest)?;
    let write = [
        "rw=write",
        "bs=64k",
        "size=32M",
        "ioengine=psync",
        "direct=0",
        "end_fsync=1",
    ];
    let map = [
        "rw=randwrite",
        "bs=4k",
        "size=8M",
        "ioengine=mmap",
        "direct=0",
        "end_fsync=1",
    ];
    let written = Fio::on(guest, file("written"), &write).start()?;
    let mapped = Fio::on(guest, file("mapped"), &map).start()?;
    for _ in 0..guest.times(KILLS) {
        disk.wait_status("a request, or the end", |status| {
            status.taken > 0 || status.openers == 0
        })?;
        supervisor.shoot(&supervisor.workers()[0])?;
        supervisor.wait_whole()?;
    }
    written.finish()?;
    mapped.finish()?;
    drop(hog);
    mount.unmount()?;
    guest
        .command("e2fsck")
        .args(["-fn"])
        .arg(disk.path())
        .ok()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    Ok(())
}

/// Takes most of what is free, for longer than this takes.
fn hog(guest: &Guest) -> Result<Process> {
    let words = Hog::Memory(90).words(Duration::from_secs(600));
    let hog = guest.command("abuse-scenarios").args(words).spawn()?;
    crate::kit::wait_until("memory to be short", PATIENCE, || {
        available_kib().is_ok_and(|kib| kib < 350 << 10)
    })?;
    Ok(hog)
}

fn available_kib() -> Result<u64> {
    field(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:")
}

/// The number behind a name.
fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number
        .with_context(|| format!("{name} in {text}"))?
        .parse()?)
}

fn is_hardened(worker: &Worker) -> Result<()> {
    let pid = worker.pid;
    is_locked(pid)?;
    is_spared(pid)?;
    // A thread names itself, and a worker is ready as soon as it has made it.
    let serving = crate::kit::wait_for("a thread that serves", PATIENCE, || {
        let serving = serving(pid)?;
        Ok((!serving.is_empty()).then_some(serving))
    })?;
    for task in serving {
        let stat = fs::read_to_string(task.join("stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let flags: u64 = fields.split_whitespace().nth(6).context("flags")?.parse()?;
        ensure!(
            flags & IO_FLUSHER == IO_FLUSHER,
            "{}: flags {flags:#x}",
            task.display()
        );
    }
    Ok(())
}

/// The threads that serve: those that the program made before take no request.
fn serving(pid: u32) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "abuse-worker" {
            found.push(task);
        }
    }
    Ok(found)
}

/// All of its memory is locked, but what has no page yet or cannot be.
fn is_locked(pid: u32) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let (locked, there) = (field(&status, "VmLck:")?, field(&status, "VmRSS:")?);
    ensure!(
        locked > 0 && locked * 10 >= there * 9,
        "{pid}: locked {locked} of {there} KiB"
    );
    Ok(())
}

fn is_spared(pid: u32) -> Result<()> {
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    ensure!(score.trim() == "-1000", "{pid}: {score}");
    Ok(())
}
