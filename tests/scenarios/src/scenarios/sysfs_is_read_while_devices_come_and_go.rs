// SPDX-License-Identifier: MIT

//! Two readers go through everything a device says in sysfs, without a pause, while it is added, set
//! up, reset and removed over and over. Each read says something or finds the device gone, and neither
//! waits for the other.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::{wait_until, Guest, PATIENCE};

const ROUNDS: u32 = 12;
/// Of the device; out of the way of those that are there.
const NUMBER: u32 = 700;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let registry = Registry::open()?;
    let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let outcome = std::thread::scope(|scope| {
        let look = || -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                let class = format!("/sys/class/abuse/abctl{NUMBER}");
                for directory in ["", "config", "load", "ops"] {
                    reads.fetch_add(all(&Path::new(&class).join(directory))?, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        let readers = [scope.spawn(look), scope.spawn(look)];
        let outcome = (0..ROUNDS).try_for_each(|round| {
            let before = reads.load(Ordering::Relaxed);
            life(&registry).with_context(|| format!("round {round}"))?;
            ensure!(
                round < 5 || reads.load(Ordering::Relaxed) > 0,
                "nothing was read after {before}"
            );
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        outcome
    });
    drop(quiet);
    outcome?;
    let reads = reads.load(Ordering::Relaxed);
    ensure!(reads > 100, "only {reads} reads");
    Ok(())
}

fn life(registry: &Registry) -> Result<()> {
    let added = registry.add(&NewDevice::numbered(NUMBER))?;
    let path = format!("/dev/abctl{NUMBER}");
    wait_until("the node", PATIENCE, || Path::new(&path).exists())?;
    let device = Device::open(&path)?;
    device.setup(&Setup::new(16 << 20))?;
    device.reset(true, Some(PATIENCE))?;
    device.setup(&Setup::new(16 << 20))?;
    drop(device);
    registry.remove(NUMBER, Some(added.sequence), true, Some(PATIENCE))?;
    ensure!(!Path::new(&path).exists(), "{path} is still there");
    Ok(())
}

/// Reads every file of a directory, if that is there; how many could be read.
fn all(directory: &Path) -> Result<u64> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(0);
    };
    let mut count = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.is_file() || path.ends_with("uevent") {
            continue;
        }
        match fs::read_to_string(&path) {
            Ok(text) => {
                ensure!(text.ends_with('\n'), "{}: '{text}'", path.display());
                count += 1;
            }
            Err(error) => {
                let errno = error.raw_os_error().map(Errno::from_raw);
                ensure!(
                    matches!(errno, Some(Errno::ENOENT | Errno::ENODEV)),
                    "{}: {error}",
                    path.display()
                );
            }
        }
    }
    Ok(count)
}
