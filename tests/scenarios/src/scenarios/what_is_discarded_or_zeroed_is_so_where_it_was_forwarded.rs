// SPDX-License-Identifier: MIT

//! Discards and zeroings that are forwarded give space of the backing file back, or keep it where it
//! must stay allocated; on a block device the range reads as zeros. Many pieces are cleared as one is.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use abuse::{Extent, Operation, Outcome};
use anyhow::{ensure, Result};

use crate::kit::forward::{serve_until_over, take};
use crate::kit::{Direct, Guest, PATIENCE};

const MIB: u64 = 1 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let backing = guest.file("backing.img");
    let below = guest.loop_device(&guest.file("below.img"), 16 * MIB)?;
    for place in [backing.as_path(), below.path()] {
        let disk = guest.disk("size=16M,discard,write_zeroes")?;
        let create = if place == backing { ",create" } else { "" };
        let backend = format!("file:{}{create}", place.display());
        let server = disk.serve_with(&backend, &["--forward"])?;
        let file = Direct::open(disk.path())?;
        for (command, keeps) in [
            ("blkdiscard -f -l 8M", false),
            ("fallocate -p -o 0 -l 8M", false),
            ("blkdiscard -f -z -l 8M", true),
        ] {
            for at in 0..9 {
                file.write(at * MIB, &[1; MIB as usize])?;
            }
            let words: Vec<&str> = command.split(' ').collect();
            let command = guest.command(words[0]).args(&words[1..]);
            command.arg(disk.path()).ok()?;
            let left = std::fs::metadata(place)?.blocks() * 512;
            if place == backing {
                ensure!((left >= 9 * MIB) == keeps, "{words:?} leaves {left} bytes");
            }
            let there = file.read(0, 9 * MIB as usize)?;
            let (cleared, kept) = there.split_at(8 * MIB as usize);
            ensure!(cleared.iter().all(|&byte| byte == 0), "{words:?} left data");
            ensure!(kept.iter().all(|&byte| byte == 1), "{words:?} took data");
        }
        let status = disk.status()?;
        let counts = status.counts(Operation::WriteZeroes);
        ensure!(status.errors == 0 && counts.done > 0, "{status:?}");
        drop((server, file));
        disk.device().reset(true, Some(PATIENCE))?;
    }
    in_pieces(guest)
}

fn in_pieces(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,discard,write_zeroes")?;
    let file = crate::kit::raw::file_of(64 << 10)?;
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 64 << 10], 0)?;
    let path = disk.path();
    let mut work = crate::kit::Pending::start("fallocate", move || {
        std::process::Command::new("fallocate")
            .args(["-p", "-o", "0", "-l", "16k"])
            .arg(path)
            .status()
    });
    let request = take(disk.device())?;
    ensure!(request.operation() == Operation::WriteZeroes && request.length() == 16 << 10);
    let to = [
        Extent::new(file.as_fd(), 32768, 8192),
        Extent::new(file.as_fd(), 1000, 8192),
    ];
    request.complete(Outcome::Forward {
        to: &to,
        returns: false,
    })?;
    serve_until_over(disk.device(), &mut work)?;
    ensure!(work.finish(PATIENCE)??.success());
    let mut there = vec![0; 64 << 10];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut there, 0)?;
    for (at, &byte) in there.iter().enumerate() {
        let cleared = (1000..9192).contains(&at) || (32768..40960).contains(&at);
        ensure!(byte == u8::from(!cleared), "byte {at} is {byte}");
    }
    Ok(())
}
