// SPDX-License-Identifier: MIT

//! A reset under load ends everything that waits, at once and with an error, and leaves a device that
//! can be set up again.
//!
//! Thirty-two reads and writes are pending, eight of them in a worker's hands, and three workers sleep
//! in EXCHANGE. After a forced reset all I/O has failed with EIO and the sleepers have ENXIO, all within
//! seconds and with nobody serving. The device is set up again and serves; what the old worker then
//! puts is refused.

use std::time::{Duration, Instant};

use abuse::abi::{Exchange, Take, FOREVER};
use abuse::{Setup, State};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::detectors::patience;
use crate::kit::raw::{expect, well, within, Memory, Raw};
use crate::kit::{wait_until, Direct, Guest, Pending, Stalls, PATIENCE};

/// What is *at once*, where the processor is emulated and shared.
const SOON: Duration = Duration::from_secs(5);
const MANY: u64 = 32;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let file = Direct::open(disk.path())?;
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    for place in 0..MANY / 2 {
        reads.push(file.start_read(place * 4096, 4096));
        writes.push(file.start_write(place * 4096, vec![1; 4096]));
    }
    disk.wait_queued(MANY as u32)?;
    let (worker, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    // Touched: where pages are missing, fewer are taken at a time.
    arena.fill(0);
    let taken = worker.take(8, &arena)?;
    ensure!(taken.len() == 8);
    let sleepers: Vec<_> = (0..3)
        .map(|_| {
            let raw = Raw::open(&disk.control())?;
            Ok(Pending::start("an EXCHANGE", move || {
                let arena = Memory::new(1 << 20)?;
                let how = Exchange {
                    take_min: 100,
                    timeout_ns: FOREVER,
                    ..within(&arena, Duration::ZERO)
                };
                raw.exchange(&mut [], &mut [Take::default(); 100], how)
            }))
        })
        .collect::<Result<_>>()?;
    disk.wait_status("sleepers", |status| status.waiting == 3)?;

    let stalls = Stalls::watch()?;
    let started = Instant::now();
    let ended = disk.device().reset(true, None)?;
    let took = stalls.had(started, Instant::now());
    ensure!(
        took < patience(Duration::from_secs(1)),
        "the reset took {took:?}"
    );
    ensure!(
        ended.failed == MANY as u32 && ended.draining == 0,
        "{ended:?}"
    );
    for read in reads {
        let error = read
            .finish(SOON)?
            .err()
            .and_then(|error| error.raw_os_error());
        ensure!(error == Some(Errno::EIO as i32), "a read: {error:?}");
    }
    for write in writes {
        let error = write
            .finish(SOON)?
            .err()
            .and_then(|error| error.raw_os_error());
        ensure!(error == Some(Errno::EIO as i32), "a write: {error:?}");
    }
    for sleeper in sleepers {
        expect("a sleeper", sleeper.finish(SOON)?, Errno::ENXIO)?;
    }
    ensure!(file.read(0, 4096).is_err(), "a dead disk was read");
    wait_until("the device to be empty", SOON, || {
        disk.status()
            .is_ok_and(|status| status.state == State::Empty)
    })?;
    ensure!(!disk.path().exists(), "the node is still there");

    let device = disk.device();
    device.setup(&Setup::new(8 << 20))?;
    wait_until("the disk's node", PATIENCE, || disk.path().exists())?;
    let mut late: Vec<_> = taken.iter().map(well).collect();
    ensure!(
        worker.put(&mut late)? == 8,
        "a put of the old disk was taken"
    );
    let stale = -(Errno::ESTALE as i32);
    ensure!(late.iter().all(|entry| entry.status == stale), "{late:?}");
    let _server = disk.serve("ram:after-reset")?;
    ensure!(
        file.write(0, &[2; 4096]).is_err(),
        "the old disk was written"
    );
    let fresh = Direct::open(disk.path())?;
    ensure!(fresh.read(0, 4096)? == [0; 4096]);
    fresh.write(0, &[3; 4096])?;
    ensure!(fresh.read(0, 4096)? == [3; 4096]);
    device.reset(true, Some(PATIENCE))?;
    Ok(())
}
