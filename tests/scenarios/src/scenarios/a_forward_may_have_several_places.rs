// SPDX-License-Identifier: MIT

//! A request is forwarded to several pieces of several files at once, in any order and of any length,
//! direct and buffered among each other: each byte goes where it was sent, and comes from there.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use abuse::{Extent, Operation, Outcome};
use anyhow::{ensure, Result};
use nix::fcntl::OFlag;

use crate::kit::forward::take;
use crate::kit::{Direct, Guest, PATIENCE};

const LENGTH: usize = 64 << 10;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=1M")?;
    let direct = Direct::open(disk.path())?;
    let data: Vec<u8> = (0..LENGTH)
        .map(|n| (n >> 9) as u8 ^ (n * 7) as u8)
        .collect();
    let open = |name: &str, flags: OFlag| -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.custom_flags(flags.bits()).open(guest.file(name))?;
        file.set_len(1 << 20)?;
        Ok(file)
    };
    let (plain, past) = (
        open("plain", OFlag::empty())?,
        open("past", OFlag::O_DIRECT)?,
    );
    let memory = crate::kit::raw::file_of(1 << 20)?;
    let files = [&plain, &past, &memory];
    // Which file, where in it, how much; direct I/O wants whole blocks.
    for pieces in [
        &[(0, 4096, LENGTH)][..],
        &[(1, 8192, LENGTH)],
        &[(2, 1, LENGTH)],
        &[(0, 513, 777), (2, 40960, LENGTH - 777)],
        &[(1, 4096, 4096), (0, 0, 4096), (1, 131_072, LENGTH - 8192)],
        &[
            (2, 70_000, 100),
            (0, 9, 3996),
            (1, 65536, 32768),
            (2, 0, LENGTH - 36864),
        ],
        &[(2, 3, 30_000), (2, 100_000, LENGTH - 30_000)],
    ] {
        let extents: Vec<Extent<'_>> = pieces
            .iter()
            .map(|&(file, at, length)| Extent::new(files[file].as_fd(), at, length as u32))
            .collect();
        let forward = Outcome::Forward {
            to: &extents,
            returns: false,
        };
        let write = direct.start_write(0, data.clone());
        let request = take(disk.device())?;
        ensure!(request.operation() == Operation::Write && request.length() == LENGTH);
        request.complete(forward)?;
        write.finish(PATIENCE)??;
        let mut at = 0;
        for &(file, place, length) in pieces {
            let mut there = vec![0; length];
            // Whoever reads through the page cache sees what went past it.
            std::fs::File::open(format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(files[file])
            ))?
            .read_exact_at(&mut there, place)?;
            ensure!(there == data[at..at + length], "{pieces:?}: piece at {at}");
            at += length;
        }

        let read = direct.start_read(0, LENGTH);
        take(disk.device())?.complete(forward)?;
        ensure!(read.finish(PATIENCE)?? == data, "{pieces:?}: read");
    }

    // As many as there may be, each of one block.
    let extents: Vec<Extent<'_>> = (0..128)
        .map(|n| Extent::new(memory.as_fd(), (127 - n) * 512, 512))
        .collect();
    let forward = Outcome::Forward {
        to: &extents,
        returns: false,
    };
    let write = direct.start_write(0, data.clone());
    take(disk.device())?.complete(forward)?;
    write.finish(PATIENCE)??;
    let mut there = vec![0; LENGTH];
    memory.read_exact_at(&mut there, 0)?;
    let backwards: Vec<u8> = data.chunks(512).rev().flatten().copied().collect();
    ensure!(there == backwards, "128 pieces");
    let status = disk.status()?;
    ensure!(status.errors == 0 && status.forwarding == 0, "{status:?}");
    Ok(())
}
