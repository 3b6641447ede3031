// SPDX-License-Identifier: MIT

//! The end of one device may take as long as a file system that hangs: one is being remounted, and waits
//! for its journal, which is on a second device without a worker. Reset and removal of the first say that
//! they go on by themselves; meanwhile other devices are added, set up, reset and removed as if nothing
//! was, and the reset of the second one ends everything.

use std::time::{Duration, Instant};

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::detectors::patience;
use crate::kit::{refused, wait_for, Guest, PATIENCE};

const SHORT: Option<Duration> = Some(Duration::from_millis(200));
const SOON: Duration = Duration::from_secs(10);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let registry = Registry::open()?;
    let [first, second] = [32, 16].map(|size: u64| {
        let device = guest.add()?;
        guest.disk_on(device, &Setup::new(size << 20))
    });
    let (first, second) = (first?, second?);
    let _server = first.serve("ram:first")?;
    let mut journal = second.serve("ram:journal")?;
    let mkfs = guest.command("mke2fs").args(["-q", "-b", "4096"]);
    mkfs.args(["-O", "journal_dev"]).arg(second.path()).ok()?;
    let device = format!("device={}", second.path().display());
    let mkfs = guest
        .command("mke2fs")
        .args(["-q", "-b", "4096", "-t", "ext4"]);
    mkfs.args(["-J", &device]).arg(first.path()).ok()?;
    let mount = guest.mount(first.path())?;
    std::fs::write(mount.path().join("dirty"), "data")?;
    first.wait_status("quiet", |status| status.is_idle())?;

    let _udev = guest.hold_udev()?;
    journal.kill()?;
    let mut remount = guest
        .command("mount")
        .args(["-o", "remount,ro"])
        .arg(mount.path())
        .spawn()?;
    second.wait_status("the journal's request", |status| status.queued > 0)?;

    refused(first.device().reset(true, SHORT), Errno::EINPROGRESS)?;
    let number = first.device().number();
    let sequence = Some(first.status()?.sequence);
    refused(
        registry.remove(number, sequence, true, SHORT),
        Errno::EINPROGRESS,
    )?;
    refused(first.device().status(), Errno::ENODEV)?;
    refused(registry.add(&NewDevice::numbered(number)), Errno::EBUSY)?;
    let said = guest.abusectl(5, &["add", &number.to_string()])?;
    ensure!(said.contains("still being removed"), "{said}");

    let started = Instant::now();
    for _ in 0..5 {
        let other = guest.add()?;
        let sequence = Some(other.status()?.sequence);
        other.setup(&Setup::new(1 << 20))?;
        other.reset(false, Some(PATIENCE))?;
        other.setup(&Setup::new(1 << 20))?;
        registry.remove(other.number(), sequence, true, Some(PATIENCE))?;
    }
    let took = started.elapsed();
    ensure!(took < patience(SOON), "{took:?}");
    ensure!(remount.is_running()?, "nothing hung; it proves nothing");

    second
        .device()
        .reset(true, Some(patience(SOON)))
        .context("the journal's device")?;
    remount.wait(SOON)?;
    let again = wait_for("the number to be free", SOON, || {
        match registry.add(&NewDevice::numbered(number)) {
            Ok(added) => Ok(Some(added)),
            Err(error) if error.errno() == Some(Errno::EBUSY as i32) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })?;
    ensure!(Device::open(number.to_string())?.status()?.sequence == again.sequence);
    mount.unmount()?;
    registry.remove(number, None, false, Some(PATIENCE))?;
    Ok(())
}
