// SPDX-License-Identifier: MIT

//! Playing a round.

use std::path::Path;
use std::time::{Duration, Instant};

use abuse::{Operation, Status};
use anyhow::{bail, ensure, Result};

use super::clients::{Clients, Findings};
use super::crew::Crew;
use super::round::{Round, Store, Work};
use super::trouble::{Stage, Trouble};
use super::Tally;
use crate::kit::{Disk, Fio, Guest, Load, Mount, PATIENCE};

/// When a round is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After this time.
    Time(Duration),
    /// After so many operations of our clients.
    Operations(u64),
}

/// fio's errno for a block that is not what was written.
const MISMATCH: u64 = 84;

/// Plays a round to its end, and adds to the tally what came of it. Fails if anything was wrong.
pub fn play(guest: &Guest, round: &Round, limit: Limit, tally: &mut Tally) -> Result<()> {
    let (time, budget) = match limit {
        Limit::Time(time) => (time, u64::MAX),
        Limit::Operations(count) => (Duration::from_secs(400), count),
    };
    guest.allow(time + 4 * PATIENCE);
    let disk = guest.disk(&round.keys())?;
    let mut crew = Crew::start(guest, &disk, round)?;
    let mut mine = Tally::default();
    let until = Instant::now() + time;
    let played = match round.work {
        Work::Register(jobs) => {
            let clients = Clients::start(round, jobs, &disk.path(), budget)?;
            let over = || Ok(Instant::now() > until || clients.are_over());
            let troubled = trouble(guest, round, &disk, &mut crew, &mut mine, over);
            troubled.and_then(|()| judge(clients, &mut mine))
        }
        Work::Fio(jobs) | Work::Files(jobs) => {
            let files = matches!(round.work, Work::Files(_));
            let files = files.then(|| make_files(guest, &disk)).transpose()?;
            let place = match &files {
                Some(files) => files.path().join("data"),
                None => disk.path(),
            };
            let mut load = Some(start(guest, round, &place, jobs)?);
            let mut done = Tally::default();
            let over = || next(guest, round, &place, jobs, until, &mut load, &mut done);
            let troubled = trouble(guest, round, &disk, &mut crew, &mut mine, over);
            mine.add(&done);
            let troubled =
                troubled.and_then(|()| load.map_or(Ok(()), |load| verified(load, &mut mine)));
            match files {
                Some(files) => troubled.and_then(|()| check_files(guest, &disk, files, &mut mine)),
                None => troubled,
            }
        }
    };
    let status = disk.status()?;
    count(&status, &mut mine);
    let played = played.and_then(|()| {
        ensure!(!trims(round) || mine.discards > 0, "fio discarded nothing");
        Ok(())
    });
    if let Err(error) = played {
        if mine.is_clean() {
            mine.errors += 1;
        }
        tally.add(&mine);
        let replay = round.replay(time);
        let stand = crew.stand();
        return Err(error.context(format!(
            "{status:?}; play it again with {replay}; workers: {stand}"
        )));
    }
    let calm = crew.dismiss();
    mine.errors += u64::from(status.errors) + u64::from(calm.is_err());
    mine.rounds = 1;
    tally.add(&mine);
    calm?;
    ensure!(status.errors == 0, "{} requests failed", status.errors);
    Ok(())
}

/// One trouble after the other, until it is over; then all is well again.
fn trouble<'g>(
    guest: &'g Guest,
    round: &Round,
    disk: &Disk<'g>,
    crew: &mut Crew<'g>,
    tally: &mut Tally,
    mut over: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut random = round.trouble();
    let room = round.store == Store::File;
    let mut stage = Stage::new(guest, disk, crew, tally, room);
    while !over()? {
        let (peace, trouble) = Trouble::draw(&mut random);
        std::thread::sleep(peace);
        stage.act(trouble)?;
    }
    stage.clear()
}

fn judge(clients: Clients, tally: &mut Tally) -> Result<()> {
    let Findings {
        operations,
        errors,
        violations,
        words,
    } = clients.finish(PATIENCE)?;
    tally.operations += operations;
    tally.errors += errors;
    tally.mismatches += violations;
    for line in words.iter().skip(1) {
        println!("    {line}");
    }
    match words.first() {
        Some(first) if errors + violations > 0 => {
            bail!("{errors} errors, {violations} violations; first: {first}")
        }
        _ => Ok(()),
    }
}

/// A file system on the disk.
fn make_files<'g>(guest: &'g Guest, disk: &Disk<'g>) -> Result<Mount<'g>> {
    let mkfs = guest.command("mkfs.ext4").args(["-q", "-b", "4096"]);
    mkfs.arg(disk.path()).ok()?;
    guest.mount(disk.path())
}

/// Nothing is wrong with it.
fn check_files(guest: &Guest, disk: &Disk<'_>, files: Mount<'_>, tally: &mut Tally) -> Result<()> {
    files.unmount()?;
    let check = guest.command("e2fsck").args(["-f", "-n"]);
    check
        .arg(disk.path())
        .ok()
        .inspect_err(|_| tally.mismatches += 1)?;
    tally.checked += 1;
    Ok(())
}

/// fio on four parts of the disk, or of a file on it, at once.
fn start(guest: &Guest, round: &Round, place: &Path, jobs: u16) -> Result<Load> {
    let room = match round.work {
        // The file system has its own share, the journal above all.
        Work::Files(_) => Round::BYTES / 4,
        _ => Round::BYTES,
    };
    let part = room / u64::from(jobs);
    let mut options = vec![
        format!("bsrange={}-64k", round.block),
        format!("numjobs={jobs}"),
        format!("size={part}"),
        format!("offset_increment={part}"),
        format!("randseed={}", round.seed ^ round.number),
    ];
    options.extend(["iodepth=8", "verify_backlog=64", "loops=2"].map(String::from));
    options.push(match trims(round) {
        // Each block is discarded before it is written.
        true => "rw=randtrimwrite".into(),
        false => "rw=randwrite".into(),
    });
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Fio::on(guest, place, &options).verify().start()
}

fn trims(round: &Round) -> bool {
    round.store == Store::File && matches!(round.work, Work::Fio(_))
}

/// Whether it is over; if a job of fio's is, and time is left, the next one begins.
fn next(
    guest: &Guest,
    round: &Round,
    place: &Path,
    jobs: u16,
    until: Instant,
    load: &mut Option<Load>,
    tally: &mut Tally,
) -> Result<bool> {
    if Instant::now() > until {
        return Ok(true);
    }
    if let Some(running) = load {
        if running.process.is_running()? {
            return Ok(false);
        }
    }
    if let Some(ended) = load.take() {
        verified(ended, tally)?;
    }
    *load = Some(start(guest, round, place, jobs)?);
    Ok(false)
}

fn verified(load: Load, tally: &mut Tally) -> Result<()> {
    let report = load.report()?;
    tally.operations += report.reads + report.writes;
    match report.errno {
        MISMATCH => tally.mismatches += report.errors,
        _ => tally.errors += report.errors,
    }
    report.check()
}

fn count(status: &Status, tally: &mut Tally) {
    let requeued = |&operation: &Operation| status.counts(operation).requeued;
    tally.redelivered += Operation::ALL.iter().map(requeued).sum::<u64>();
    tally.discards += status.counts(Operation::Discard).done;
}
