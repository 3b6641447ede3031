// SPDX-License-Identifier: MIT

//! stress-ng's stressors of block devices and file systems, those that verify what they do with their
//! verification on, on ext4 while one of two workers is killed again and again: none of them reports a
//! failure, and e2fsck finds the file system clean.
//!
//! stress-ng is not in every guest: `tests/run-all` runs this in one that has it.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::kit::{skip, Guest, Supervise};

/// One instance of each, a few at a time. Those that need what a guest lacks are left out.
const STRESSORS: [&[&str]; 6] = [
    &[
        "--hdd",
        "2",
        "--hdd-bytes",
        "8M",
        "--hdd-opts",
        "direct,fsync,wr-rnd",
    ],
    &[
        "--iomix",
        "1",
        "--iomix-bytes",
        "16M",
        "--sync-file",
        "1",
        "--sync-file-bytes",
        "8M",
    ],
    &[
        "--aio",
        "1",
        "--aiol",
        "1",
        "--io",
        "1",
        "--readahead",
        "1",
        "--readahead-bytes",
        "16M",
    ],
    &[
        "--fallocate",
        "1",
        "--fallocate-bytes",
        "16M",
        "--fpunch",
        "1",
        "--fiemap",
        "1",
        "--fiemap-bytes",
        "16M",
    ],
    &[
        "--dir",
        "1",
        "--dentry",
        "1",
        "--rename",
        "1",
        "--link",
        "1",
        "--symlink",
        "1",
    ],
    &[
        "--rawdev",
        "1",
        "--seek",
        "1",
        "--seek-size",
        "16M",
        "--copy-file",
        "1",
        "--copy-file-bytes",
        "128M",
    ],
];
const SECONDS: &str = "4";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let version = guest
        .command("sh")
        .args(["-c", "command -v stress-ng"])
        .run()?;
    if !version.status.success() {
        return skip("stress-ng is not in this guest; PACKAGES=stress-ng adds it");
    }
    guest.allow(Duration::from_secs(480));
    // stress-ng does direct I/O in units of 512 bytes, whatever the disk says.
    let disk = guest.disk("size=512M,bs=512,discard")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    let mut kills = 0;
    for stressors in STRESSORS {
        let mut stress = guest
            .command("stress-ng")
            .args(["--timeout", SECONDS, "--verify", "--abort", "--temp-path"])
            .arg(mount.path())
            .args(stressors)
            .spawn()?;
        while stress.is_running()? {
            // So long alive, and a worker counts as healthy: its successor starts at once.
            std::thread::sleep(Duration::from_millis(500));
            if disk.status()?.taken > 0 {
                let victim = supervisor.workers()[kills % 2];
                supervisor.shoot(&victim)?;
                kills += 1;
            }
        }
        let output = stress.finish(crate::kit::PATIENCE)?;
        let words = format!("{}{}", output.stdout, output.stderr);
        ensure!(
            output.status.success() && !words.contains("fail:"),
            "stress-ng {stressors:?}: {}: {words}",
            output.status
        );
        ensure!(words.contains("successful run"), "stress-ng says: {words}");
    }
    mount.unmount()?;
    guest.command("e2fsck").arg("-fn").arg(disk.path()).ok()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    guest.figure(format!(
        "{} groups of stressors, {kills} kills",
        STRESSORS.len()
    ));
    supervisor.drain()?;
    Ok(())
}
