// SPDX-License-Identifier: MIT

//! EXCHANGE waits not at all, for a while, or for ever; for one request, or until several are there;
//! never less than it was told, and what has come when the time is over is taken.

use std::time::{Duration, Instant};

use abuse::abi::{self, Exchange, Take};
use anyhow::{ensure, Context, Result};

use crate::kit::detectors::patience;
use crate::kit::raw::{well, within, Memory, Raw};
use crate::kit::{Direct, Disk, Guest, Pending, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    for milliseconds in [0, 1, 50, 1000] {
        let time = Duration::from_millis(milliseconds);
        let started = Instant::now();
        let got = raw.exchange(&mut [], &mut [Take::default()], within(&arena, time))?;
        let waited = started.elapsed();
        ensure!(got.taken == 0, "{got:?}");
        ensure!(waited >= time, "{waited:?} instead of {time:?}");
        ensure!(
            waited < time + patience(Duration::from_secs(2)),
            "{waited:?} instead of {time:?}"
        );
    }
    // With nothing to take there is nothing to wait for.
    let started = Instant::now();
    raw.exchange(&mut [], &mut [], within(&arena, PATIENCE))?;
    ensure!(started.elapsed() < PATIENCE / 2);

    let file = Direct::open(disk.path())?;
    let sleeper = asleep(&disk, 1, 1, None)?;
    let read = file.start_read(0, 512);
    let (raw, taken) = sleeper.finish(PATIENCE)??;
    ensure!(taken.len() == 1);
    raw.finish(&taken[0])?;
    read.finish(PATIENCE)??;

    // Three of four: two do not wake it, the third does.
    let mut sleeper = asleep(&disk, 4, 3, None)?;
    let mut reads = vec![file.start_read(0, 512), file.start_read(4096, 512)];
    disk.wait_queued(2)?;
    std::thread::sleep(Duration::from_millis(50));
    ensure!(
        !sleeper.is_over(),
        "two were taken where three were asked for"
    );
    reads.push(file.start_read(8192, 512));
    let (raw, taken) = sleeper.finish(PATIENCE)??;
    ensure!(taken.len() == 3, "{} taken", taken.len());
    for take in &taken {
        raw.finish(take)?;
    }
    // Two of three, when the time is over.
    let sleeper = asleep(&disk, 4, 3, Some(Duration::from_millis(500)))?;
    reads.push(file.start_read(0, 512));
    reads.push(file.start_read(4096, 512));
    let started = Instant::now();
    let (raw, taken) = sleeper.finish(PATIENCE)??;
    ensure!(
        taken.len() == 2,
        "{} taken after {:?}",
        taken.len(),
        started.elapsed()
    );
    // A refused completion is told at once, and nothing is waited for.
    let mut done = vec![well(&taken[0]), well(&taken[0])];
    let started = Instant::now();
    let got = raw.exchange(&mut done, &mut [Take::default()], within(&arena, PATIENCE))?;
    ensure!((got.done_failed, got.taken) == (1, 0), "{got:?}");
    ensure!(started.elapsed() < PATIENCE / 2, "it waited with bad news");
    raw.finish(&taken[1])?;
    for read in reads {
        read.finish(PATIENCE)??;
    }
    Ok(())
}

type Sleeper = Pending<Result<(Raw, Vec<Take>)>>;

/// A worker that sleeps in EXCHANGE.
fn asleep(disk: &Disk<'_>, max: usize, min: u32, time: Option<Duration>) -> Result<Sleeper> {
    let raw = Raw::open(&disk.control())?;
    let sleeper = Pending::start("an EXCHANGE", move || {
        let arena = Memory::new(1 << 20)?;
        let mut how = Exchange {
            take_min: min,
            ..within(&arena, time.unwrap_or_default())
        };
        if time.is_none() {
            how.timeout_ns = abi::FOREVER;
        }
        let mut taken = vec![Take::default(); max];
        let got = raw.exchange(&mut [], &mut taken, how)?;
        taken.truncate(got.taken as usize);
        Ok((raw, taken))
    });
    disk.wait_status("a sleeper", |status| status.waiting == 1)
        .context("asleep")?;
    Ok(sleeper)
}
