// SPDX-License-Identifier: MIT

//! A file system under stress while its workers are killed. The long form:
//!
//! ```text
//! tests/vm/run -- env ABUSE_STRESS_SECONDS=60 abuse-scenarios run ext4_survives_kills_under_stress
//! ```

use std::time::{Duration, Instant};

use abuse::Operation;
use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use super::command::send;
use super::{Fio, Guest, Supervise, PATIENCE};

/// Seconds of stress, when this variable does not say otherwise.
const SECONDS: (&str, u64) = ("ABUSE_STRESS_SECONDS", 5);
/// Between two kills.
const PAUSE: Duration = Duration::from_secs(2);

/// How a file system is made and looked at.
#[derive(Debug)]
pub struct FileSystem {
    module: &'static str,
    make: &'static str,
    check: &'static str,
    size: &'static str,
}

impl FileSystem {
    /// ext4
    pub const EXT4: FileSystem = FileSystem {
        module: "ext4",
        make: "mkfs.ext4 -q",
        check: "e2fsck -fn",
        size: "256M",
    };
    /// xfs
    pub const XFS: FileSystem = FileSystem {
        module: "xfs",
        make: "mkfs.xfs -q -f",
        check: "xfs_repair -n",
        size: "384M",
    };
    /// btrfs
    pub const BTRFS: FileSystem = FileSystem {
        module: "btrfs",
        make: "mkfs.btrfs -q -f",
        check: "btrfs check --readonly --check-data-csum",
        size: "512M",
    };
    /// f2fs
    pub const F2FS: FileSystem = FileSystem {
        module: "f2fs",
        make: "mkfs.f2fs -q -f",
        check: "fsck.f2fs --dry-run",
        size: "256M",
    };
}

/// Makes the file system on a disk with two supervised workers and mounts it with discard. dbench
/// makes, renames, writes, syncs and removes files in it as a file server's clients do, and fio
/// writes and verifies one, while every two seconds a worker is killed. Then it is unmounted, and
/// must be clean.
pub fn stress(guest: &Guest, system: &FileSystem) -> Result<()> {
    let seconds =
        std::env::var(SECONDS.0).map_or(Ok(SECONDS.1), |text| text.parse().context(SECONDS.0))?;
    let limit = Duration::from_secs(seconds) * 2 + PATIENCE;
    guest.allow(limit * 2);
    guest.command("modprobe").arg(system.module).ok()?;
    let disk = guest.disk(&format!("size={},discard,write_zeroes", system.size))?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let on_disk = |line: &'static str| -> Result<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let command = guest.command(words[0]).args(&words[1..]);
        command.arg(disk.path()).within(limit).ok()
    };
    on_disk(system.make)?;
    let mount = guest.mount_with(&disk.path(), "discard")?;

    let time = seconds.to_string();
    let clients = mount.path().join("clients");
    std::fs::create_dir(&clients)?;
    let dbench = guest.command("dbench").args(["-t", &time, "-D"]);
    let mut dbench = dbench.arg(&clients).arg("2").spawn()?;
    let options = [
        "rw=randwrite",
        "bsrange=4k-64k",
        "iodepth=8",
        "size=4M",
        "fsync=64",
    ];
    let file = mount.path().join("verified");
    let verify = || {
        let load = Fio::on(guest, &file, &options).verify();
        load.within(limit).start()
    };
    let mut load = verify()?;

    let (mut kills, mut requeued, mut verified) = (0, 0, 0);
    let mut next = Instant::now() + PAUSE;
    super::wait_for("the stress to end", limit, || {
        let writing = dbench.is_running()?;
        if writing && !load.process.is_running()? {
            let passed = std::mem::replace(&mut load, verify()?);
            verified += passed.finish()?.reads;
        }
        // Of those that hold nothing nothing is to be lost.
        if writing && Instant::now() >= next && disk.status()?.taken > 0 {
            let workers = supervisor.workers();
            let victim = workers.get(kills % 2).context("a worker")?;
            send(victim.pid, Signal::SIGKILL)?;
            supervisor.successor(victim)?;
            kills += 1;
            next = Instant::now() + PAUSE;
        }
        Ok((!writing).then_some(()))
    })?;
    verified += load.finish()?.reads;
    let said = dbench.finish(limit)?;
    ensure!(
        said.status.success() && said.stdout.contains("Throughput"),
        "dbench: {}{}",
        said.stdout,
        said.stderr
    );
    std::fs::remove_dir_all(&clients)?;
    guest
        .command("fstrim")
        .arg(mount.path())
        .within(limit)
        .ok()?;
    mount.unmount()?;
    on_disk(system.check)?;

    let status = disk.status()?;
    for operation in Operation::ALL {
        requeued += status.counts(operation).requeued;
    }
    println!(
        "    {seconds} s, {kills} kills, {requeued} requests resumed, {verified} blocks verified"
    );
    ensure!(status.errors == 0, "requests failed: {status:?}");
    ensure!(
        kills > 0 && verified > 0,
        "{kills} kills, {verified} verified"
    );
    let discarded = status.counts(Operation::Discard).done;
    ensure!(discarded > 0, "nothing was discarded");
    supervisor.drain()?;
    Ok(())
}
