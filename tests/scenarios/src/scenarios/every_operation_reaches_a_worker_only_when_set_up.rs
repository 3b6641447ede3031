// SPDX-License-Identifier: MIT

//! Discard, write-zeroes with and without keeping the space, and secure erase reach a worker, one
//! range per request and no range longer than was said; `lsblk -D` and sysfs show what there is. Of
//! a disk that was set up without one of them nobody can ask for it, and no worker ever sees it.

use abuse::Operation;
use anyhow::{ensure, Context, Result};

use crate::kit::{Disk, Guest, Held, Puppet, PATIENCE};

const MIB: u64 = 1 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let all = guest.disk(
        "size=64M,discard,write_zeroes,secure_erase,discard_granularity=64K,max_discard=8M",
    )?;
    all.check_sysfs(&[
        ("queue/discard_granularity", "65536"),
        ("queue/discard_max_hw_bytes", "8388608"),
        ("queue/discard_max_bytes", "8388608"),
        ("queue/write_zeroes_max_bytes", "8388608"),
    ])?;
    ensure!(
        lsblk(guest, &all)? == ["65536", "8388608"],
        "lsblk -D says {:?}",
        lsblk(guest, &all)?
    );
    let mut puppet = all.puppet()?;
    for (what, command, operation, keep) in COMMANDS {
        for (offset, length, lengths) in [
            (MIB, 4 * MIB, &[4 * MIB][..]),
            (2 * MIB, 20 * MIB, &[8 * MIB, 8 * MIB, 4 * MIB]),
        ] {
            let (well, seen) = ask(guest, &all, &mut puppet, command, offset, length)?;
            ensure!(well, "{what} failed");
            let mut at = offset;
            let ranges: Vec<_> = lengths
                .iter()
                .map(|&length| {
                    at += length;
                    (operation, keep, at - length, length)
                })
                .collect();
            let mut got: Vec<_> = seen
                .iter()
                .map(|held| (held.operation, held.keep, held.offset, held.length as u64))
                .collect();
            got.sort_by_key(|range| range.2);
            ensure!(got == ranges, "{what}: {got:?}, not {ranges:?}");
        }
    }
    drop(puppet);

    for (keys, there) in [
        ("size=64M", None),
        ("size=64M,discard", Some(Operation::Discard)),
        ("size=64M,write_zeroes", Some(Operation::WriteZeroes)),
        ("size=64M,secure_erase", Some(Operation::SecureErase)),
    ] {
        let disk = guest.disk(keys)?;
        only(guest, &disk, there).context(keys)?;
        disk.device().reset(true, Some(PATIENCE))?;
    }
    Ok(())
}

type Command = fn(u64, u64) -> Vec<String>;

/// What asks for what; the last is whether the space must stay allocated.
const COMMANDS: [(&str, Command, Operation, bool); 4] = [
    (
        "blkdiscard",
        |at, length| blkdiscard("-f", at, length),
        Operation::Discard,
        false,
    ),
    (
        "blkdiscard -z",
        |at, length| blkdiscard("-fz", at, length),
        Operation::WriteZeroes,
        true,
    ),
    (
        "fallocate -p",
        |at, length| words(&format!("fallocate -p -o {at} -l {length}")),
        Operation::WriteZeroes,
        false,
    ),
    (
        "blkdiscard -s",
        |at, length| blkdiscard("-fs", at, length),
        Operation::SecureErase,
        false,
    ),
];

fn blkdiscard(flags: &str, at: u64, length: u64) -> Vec<String> {
    words(&format!("blkdiscard {flags} -o {at} -l {length}"))
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(String::from).collect()
}

/// Whether a command succeeded on the disk, and what it sent beyond reads and flushes.
fn ask(
    guest: &Guest,
    disk: &Disk<'_>,
    puppet: &mut Puppet,
    command: Command,
    offset: u64,
    length: u64,
) -> Result<(bool, Vec<Held>)> {
    let words = command(offset, length);
    let mut process = guest
        .command(&words[0])
        .args(&words[1..])
        .arg(disk.path())
        .spawn()?;
    let mut seen = puppet.serve_until(|| Ok(!process.is_running()?))?;
    // fallocate makes what it did durable.
    seen.retain(|held| ![Operation::Read, Operation::Flush].contains(&held.operation));
    Ok((process.finish(PATIENCE)?.status.success(), seen))
}

/// A disk with one of the operations, or none: the others are refused before a worker hears of
/// them.
fn only(guest: &Guest, disk: &Disk<'_>, there: Option<Operation>) -> Result<()> {
    let (discards, zeroes) = (
        there == Some(Operation::Discard),
        there == Some(Operation::WriteZeroes),
    );
    let most = |has: bool| if has { "1073741824" } else { "0" };
    disk.check_sysfs(&[
        ("queue/discard_max_hw_bytes", most(discards)),
        ("queue/write_zeroes_max_bytes", most(zeroes)),
    ])?;
    let shown = lsblk(guest, disk)?;
    ensure!(shown[1] == most(discards), "lsblk -D says {shown:?}");
    let mut puppet = disk.puppet()?;
    for (what, command, operation, _) in COMMANDS {
        let (well, seen) = ask(guest, disk, &mut puppet, command, 0, MIB)?;
        let offered = there == Some(operation);
        // The kernel zeroes with plain writes where it must; a hole it will not make so.
        ensure!(
            well == (offered || what == "blkdiscard -z"),
            "{what} succeeded: {well}"
        );
        for held in seen {
            let expected = offered && held.operation == operation;
            ensure!(
                expected || held.operation == Operation::Write,
                "{what} brought {held:?}"
            );
        }
        let came = disk.counts(operation)?.queued;
        ensure!((came > 0) == offered, "{came} came of {what}");
    }
    Ok(())
}

/// Granularity and longest discard, in bytes.
fn lsblk(guest: &Guest, disk: &Disk<'_>) -> Result<Vec<String>> {
    let lsblk = guest.command("lsblk").args([
        "--bytes",
        "--nodeps",
        "--noheadings",
        "-o",
        "DISC-GRAN,DISC-MAX",
    ]);
    let shown = lsblk.arg(disk.path()).ok()?;
    Ok(shown.split_whitespace().map(String::from).collect())
}
