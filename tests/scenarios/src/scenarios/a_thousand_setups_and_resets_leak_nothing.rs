// SPDX-License-Identifier: MIT

//! A thousand set-ups and resets leave no memory behind, and no id is ever given twice across them.
//!
//! Each time a read is made, taken and completed, and another fails with the reset, so that every way
//! out of the ledger is gone. The kernel's memory is compared after a hundred rounds and at the end: the
//! tags of one device alone would be more than what is tolerated.

use std::collections::HashSet;
use std::time::Duration;

use abuse::{Setup, State};
use anyhow::{ensure, Result};

use crate::kit::raw::{free, node, Memory, Raw};
use crate::kit::{kernel_memory, udev, wait_until, Direct, Guest, PATIENCE};

const ROUNDS: u32 = 1000;
const WARM: u32 = 100;
/// What udevd may take over the events of a thousand disks.
const BUSY: Duration = Duration::from_secs(180);
/// Kilobytes that may come and go with what else the machine does: not ten bytes per round and tag.
const TOLERANCE: i64 = 8 << 10;

pub(super) fn run(guest: &Guest) -> Result<()> {
    guest.allow(Duration::from_secs(540));
    let device = free()?;
    let (raw, arena) = (Raw::open(&node(&device))?, Memory::new(1 << 20)?);
    let setup = Setup {
        depth: 1024,
        ..Setup::new(1 << 20)
    };
    let mut ids = HashSet::new();
    let mut before = 0;
    for round in 0..ROUNDS {
        if round == WARM {
            udev::settle_within(BUSY)?;
            before = kernel_memory::kilobytes()?;
        }
        device.setup(&setup)?;
        if round % 10 == 0 {
            let path = device.disk_path();
            wait_until("the disk's node", PATIENCE, || path.exists())?;
            let file = Direct::open(&path)?;
            let (one, two) = (file.start_read(0, 4096), file.start_read(4096, 4096));
            wait_until("the reads", PATIENCE, || {
                device.status().is_ok_and(|status| status.queued >= 2)
            })?;
            let taken = raw.take(64, &arena)?;
            ensure!(taken.len() >= 2, "{} taken", taken.len());
            for take in &taken {
                ensure!(ids.insert(take.id), "id {:#x} was given twice", take.id);
            }
            raw.finish(&taken[0])?;
            device.reset(true, Some(PATIENCE))?;
            let ends = [one.finish(PATIENCE)?, two.finish(PATIENCE)?];
            ensure!(ends.iter().filter(|end| end.is_ok()).count() <= 1);
        } else {
            device.reset(true, Some(PATIENCE))?;
        }
    }
    let status = device.status()?;
    ensure!(
        status.state == State::Empty && status.epoch >= ROUNDS,
        "{status:?}"
    );
    udev::settle_within(BUSY)?;
    let grown = kernel_memory::kilobytes()? - before;
    ensure!(grown < TOLERANCE, "the kernel's memory grew by {grown} kB");
    Ok(())
}
