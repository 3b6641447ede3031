// SPDX-License-Identifier: MIT

//! A disk is reset, and a device removed, while forwards are under way to a device that does not
//! answer. The calls return at once and say how many there are; workers and waiters get to know at
//! once; the requests end with an error when their I/O does, since its pages are theirs, and then disk
//! and device are gone. No worker is needed for that.

use abuse::{Registry, Setup, State};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::forward::Stuck;
use crate::kit::{refused, Direct, Disk, Guest, Pending, PATIENCE};

const BYTES: u64 = 16 << 20;
const MANY: u32 = 4;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let stuck = Stuck::new(guest, BYTES)?;
    let _quiet = guest.hold_udev()?;
    for direct in [true, false] {
        let disk = guest.disk("size=16M")?;
        let reads = under_way(&stuck, &disk, direct)?;
        let begun = disk.device().reset(true, None)?;
        ensure!((begun.failed, begun.draining) == (0, MANY), "{begun:?}");
        let status = disk.status()?;
        ensure!(status.state == State::Resetting, "{status:?}");
        ensure!(status.forwarding == MANY, "{status:?}");
        let short = Some(std::time::Duration::from_millis(20));
        refused(disk.device().reset(true, short), Errno::EINPROGRESS)?;
        stuck.go_on()?;
        fail(reads)?;
        disk.device().reset(true, Some(PATIENCE)).or_else(|error| {
            // It was over before.
            refused(Err::<(), _>(error), Errno::ENXIO).map(|()| Default::default())
        })?;
        disk.wait_status("the reset", |status| status.state == State::Empty)?;
        ensure!(disk.status()?.forwarding == 0);

        let device = guest.add()?;
        let setup = Setup::new(BYTES);
        let disk = guest.disk_on(device.clone(), &setup)?;
        let reads = under_way(&stuck, &disk, direct)?;
        let registry = Registry::open()?;
        let sequence = Some(device.status()?.sequence);
        let gone = registry.remove(device.number(), sequence, true, None)?;
        ensure!((gone.failed, gone.draining) == (0, MANY), "{gone:?}");
        refused(device.status(), Errno::ENODEV)?;
        stuck.go_on()?;
        fail(reads)?;
        let number = device.number();
        crate::kit::wait_for("the device to be gone", PATIENCE, || {
            Ok((!Device::numbers()?.contains(&number)).then_some(()))
        })?;
    }
    Ok(())
}

use abuse::Device;

type Reads = Vec<Pending<std::io::Result<Vec<u8>>>>;

/// Reads that a worker has forwarded to the device, which does not answer; the worker ends with the
/// disk, by itself.
fn under_way(stuck: &Stuck<'_>, disk: &Disk<'_>, direct: bool) -> Result<Reads> {
    let mode = if direct { "direct" } else { "buffered" };
    let backend = format!("file:{},{mode}", stuck.path().display());
    let server = disk.serve_with(&backend, &["--forward"])?;
    let file = Direct::open(disk.path())?;
    stuck.hold()?;
    let reads = (0..u64::from(MANY))
        .map(|n| file.start_read(n << 20, 4096))
        .collect();
    disk.wait_status("forwards under way", |status| {
        status.forwarding == MANY && status.taken + status.queued == 0
    })?;
    drop(server);
    disk.wait_status("the worker to be gone", |status| status.workers == 0)?;
    Ok(reads)
}

fn fail(reads: Reads) -> Result<()> {
    for read in reads {
        let error = read.finish(PATIENCE)?.err();
        let errno = error.and_then(|error| error.raw_os_error());
        ensure!(
            errno == Some(Errno::EIO as i32),
            "a read ended with {errno:?}"
        );
    }
    Ok(())
}
