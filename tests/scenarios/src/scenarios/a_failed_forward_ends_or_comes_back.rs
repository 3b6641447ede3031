// SPDX-License-Identifier: MIT

//! A forward that fails ends the request with its error; or, if the worker said so, the request comes
//! back, to any worker: with another id, with what went wrong, and in its old place before what came
//! later. It may then be served in any way.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use abuse::{Extent, Failure, Operation, Outcome};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::kit::forward::{serve_until_over, take};
use crate::kit::{refused, Direct, Guest, Layer, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let broken = Layer::broken(guest, 1 << 20)?;
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=1M")?;
    let direct = Direct::open(disk.path())?;
    let other = crate::kit::raw::file_of(1 << 20)?;
    for flags in [OFlag::O_DIRECT, OFlag::empty()] {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.bits());
        let file = options.open(broken.path())?;
        // Of a buffered file a write fails only when it must be durable.
        let durable = Direct::open_durable(disk.path())?;
        for write in [false, true] {
            let here = Extent::new(file.as_fd(), 4096, 4096);
            let start = || match write {
                true => durable.start_write(0, vec![7; 4096]),
                false => {
                    let direct = direct.clone();
                    crate::kit::Pending::start("the read", move || direct.read(0, 4096).map(drop))
                }
            };
            let forward = |returns| Outcome::Forward {
                to: std::slice::from_ref(&here),
                returns,
            };

            let io = start();
            take(disk.device())?.complete(forward(false))?;
            let error = io.finish(PATIENCE)?.err().context("it ended well")?;
            ensure!(error.raw_os_error() == Some(Errno::EIO as i32), "{error}");

            let mut io = start();
            let first = take(disk.device())?;
            let old = first.id();
            let later = direct.start_read(8192, 4096);
            disk.wait_queued(1)?;
            first.complete(forward(true))?;
            disk.wait_status("it to come back", |status| status.queued == 2)?;
            refused(disk.device().put(old, Outcome::Done), Errno::ESTALE)?;
            let again = take(disk.device())?;
            ensure!(
                again.failed() == Some(Failure::Io) && again.id() != old && again.attempt() == 0,
                "{again:?}"
            );
            ensure!(again.offset() == 0, "another came first: {again:?}");
            let second = take(disk.device())?;
            ensure!(
                second.failed().is_none() && second.offset() == 8192,
                "{second:?}"
            );
            second.complete(Outcome::Zeroes)?;
            later.finish(PATIENCE)??;

            // Elsewhere it goes well.
            let there = [Extent::new(other.as_fd(), 0, 4096)];
            again.complete(Outcome::Forward {
                to: &there,
                returns: true,
            })?;
            serve_until_over(disk.device(), &mut io)?;
            io.finish(PATIENCE)??;
        }
    }

    // Only one of several pieces fails: the whole does.
    let file = OpenOptions::new().read(true).open(broken.path())?;
    let pieces = [
        Extent::new(other.as_fd(), 0, 2048),
        Extent::new(file.as_fd(), 0, 2048),
    ];
    let io = direct.start_read(0, 4096);
    take(disk.device())?.complete(Outcome::Forward {
        to: &pieces,
        returns: false,
    })?;
    ensure!(
        io.finish(PATIENCE)?.is_err(),
        "a broken piece was not missed"
    );
    drop(file);

    let counts = disk.counts(Operation::Read)?;
    ensure!(counts.requeued == 2 && counts.failed == 3, "{counts:?}");
    let counts = disk.counts(Operation::Write)?;
    ensure!(counts.requeued == 2 && counts.failed == 2, "{counts:?}");
    ensure!(disk.status()?.forwarding == 0);
    drop(direct);
    broken.down()
}
