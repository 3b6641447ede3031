// SPDX-License-Identifier: MIT

//! A reset ends a mount, and an unmount, that waits for a disk without a worker; it does not wait for
//! them itself.
//!
//! Whoever marks a disk dead has to tell the filesystem, and the kernel makes that wait until a mount
//! that is under way is over. So its requests must have been ended before.

use std::time::Duration;

use abuse::State;
use anyhow::{ensure, Context, Result};

use crate::kit::{Disk, Guest, Pending, PATIENCE};

const SOON: Duration = Duration::from_secs(10);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let place = guest.file("place");
    std::fs::create_dir_all(&place)?;
    let mount = |disk: &Disk<'_>| {
        let command = guest.command("mount").args(["-t", "ext4"]);
        command.arg(disk.path()).arg(&place).spawn()
    };
    for mounted in [false, true] {
        let disk = guest.disk("size=32M")?;
        let mut server = disk.serve(&format!("ram:mount-{mounted}"))?;
        guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
        if mounted {
            ensure!(mount(&disk)?.finish(PATIENCE)?.status.success());
            std::fs::write(place.join("dirty"), "data")?;
        }
        let _udev = guest.hold_udev()?;
        server.kill()?;
        let mut waits = match mounted {
            false => mount(&disk)?,
            true => guest.command("umount").arg(&place).spawn()?,
        };
        disk.wait_status("a request that nobody serves", |status| status.queued > 0)?;

        let device = disk.device().clone();
        let reset = Pending::start("the reset", move || device.reset(true, Some(PATIENCE)));
        let ended = reset
            .finish(SOON)
            .with_context(|| format!("mounted: {mounted}"))??;
        ensure!(ended.failed > 0, "{ended:?}");
        ensure!(disk.status()?.state == State::Empty);
        let status = waits.wait(SOON)?;
        ensure!(
            mounted || !status.success(),
            "a mount succeeded without a disk"
        );
    }
    Ok(())
}
