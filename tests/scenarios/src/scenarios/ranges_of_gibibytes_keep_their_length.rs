// SPDX-License-Identifier: MIT

//! Discards, zeroings and erases of 1, 2, 3 and 5 GiB reach the worker with every byte, also where
//! one request alone is longer than a signed number of 32 bits; and a sparse file forgets exactly
//! that.

use abuse::Operation;
use anyhow::{ensure, Context, Result};

use crate::kit::{Direct, Guest, PATIENCE};

const GIB: u64 = 1 << 30;
const KINDS: [(&str, Operation); 3] = [
    ("-f", Operation::Discard),
    ("-fz", Operation::WriteZeroes),
    ("-fs", Operation::SecureErase),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    // One block less than 4 GiB: the longest there is.
    let disk = guest.disk("size=8G,discard,write_zeroes,secure_erase,max_discard=4294963200")?;
    let mut puppet = disk.puppet()?;
    for (flags, operation) in KINDS {
        for length in [1, 2, 3, 5].map(|count| count * GIB) {
            let what = format!("blkdiscard {flags}, {length} bytes");
            let mut command = guest
                .command("blkdiscard")
                .args([flags, "-o", "4096", "-l", &length.to_string()])
                .arg(disk.path())
                .spawn()?;
            let mut seen = puppet.serve_until(|| Ok(!command.is_running()?))?;
            let output = command.finish(PATIENCE)?;
            ensure!(output.status.success(), "{what}: {}", output.stderr);
            seen.retain(|held| held.operation == operation);
            seen.sort_by_key(|held| held.offset);
            let mut end = 4096;
            for held in &seen {
                ensure!(held.offset == end, "{what}: {seen:?}");
                end += held.length as u64;
            }
            ensure!(end == 4096 + length, "{what} came as {seen:?}");
            let most = if length > 4 * GIB { 2 } else { 1 };
            ensure!(seen.len() == most, "{what} came as {seen:?}");
        }
    }
    drop(puppet);
    disk.device().reset(true, Some(PATIENCE))?;
    forgotten(guest)
}

/// Through the file backend, with requests of 1 GiB as by default.
fn forgotten(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=8G,discard,write_zeroes")?;
    let backing = guest.file("eight.img");
    let _server = disk.serve(&format!("file:{},create", backing.display()))?;
    let file = Direct::open(disk.path())?;
    for (flags, operation) in &KINDS[..2] {
        for length in [1, 2, 3, 5].map(|count| count * GIB) {
            let what = format!("blkdiscard {flags}, {length} bytes");
            let (start, end) = (GIB, GIB + length);
            let marks = [start - 4096, start, start + length / 2, end - 4096, end];
            for at in marks {
                file.write(at, &[0x77; 4096])?;
            }
            let before = disk.counts(*operation)?.bytes;
            guest
                .command("blkdiscard")
                .args([flags, "-o", &start.to_string(), "-l"])
                .arg(length.to_string())
                .arg(disk.path())
                .ok()
                .context(what.clone())?;
            let counted = disk.counts(*operation)?.bytes - before;
            ensure!(counted == length, "{what}: {counted} were counted");
            for at in marks {
                let expected = if (start..end).contains(&at) { 0 } else { 0x77 };
                let found = file.read(at, 4096)?;
                ensure!(
                    found.iter().all(|&byte| byte == expected),
                    "{what}: at {at} there is {:#x}",
                    found[0]
                );
            }
        }
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    Ok(())
}
