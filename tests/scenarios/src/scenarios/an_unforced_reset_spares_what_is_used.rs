// SPDX-License-Identifier: MIT

//! Without force a reset is refused, and nothing ends, while the disk is open, mounted, or has requests
//! pending; `abusectl reset` says so with exit code 5. With `--unmount` it unmounts the disk first, unless
//! somebody is in there.

use abuse::State;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::{refused, wait_for, Direct, Disk, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=32M")?;
    let server = disk.serve("ram:spared")?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    spared(guest, &disk).context("mounted")?;
    let number = disk.device().number().to_string();
    let inside = std::fs::File::create(mount.path().join("file"))?;
    let said = guest.abusectl(5, &["reset", &number, "--unmount"])?;
    ensure!(said.contains("target is busy"), "{said}");
    drop(inside);
    std::fs::write(mount.path().join("file"), "still there")?;
    mount.unmount()?;

    let file = Direct::open(disk.path())?;
    spared(guest, &disk).context("open")?;
    drop(server);
    let read = file.start_read(0, 4096);
    drop(file);
    disk.wait_status("a request", |status| status.queued > 0)?;
    spared(guest, &disk).context("pending")?;
    let _server = disk.serve("ram:spared")?;
    read.finish(PATIENCE)??;

    // udevd may look at it once more; then nobody needs it.
    let failed = wait_for("an unforced reset", PATIENCE, || {
        match disk.device().reset(false, Some(PATIENCE)) {
            Ok(ended) => Ok(Some(ended.failed)),
            Err(error) if error.errno() == Some(Errno::EBUSY as i32) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })?;
    ensure!(failed == 0, "{failed} requests failed");
    ensure!(disk.status()?.state == State::Empty);
    refused(disk.device().reset(false, None), Errno::ENXIO)?;
    let said = guest
        .command("abusectl")
        .args(["reset", &disk.control()])
        .run()?;
    ensure!(said.status.code() == Some(3), "{said:?}");

    let disk = guest.disk("size=32M")?;
    let _server = disk.serve("ram:spared")?;
    let mount = guest.mount(disk.path())?;
    guest.abusectl(0, &["reset", &disk.control(), "--unmount"])?;
    ensure!(disk.status()?.state == State::Empty);
    ensure!(
        !mount.path().join("file").exists(),
        "it is still mounted there"
    );
    Ok(())
}

fn spared(guest: &Guest, disk: &Disk<'_>) -> Result<()> {
    let before = disk.status()?;
    refused(disk.device().reset(false, None), Errno::EBUSY)?;
    let said = guest
        .command("abusectl")
        .args(["reset", &disk.control()])
        .run()?;
    ensure!(said.status.code() == Some(5), "{said:?}");
    let after = disk.status()?;
    ensure!(
        after.state == before.state && after.errors == 0,
        "{after:?}"
    );
    Ok(())
}
