// SPDX-License-Identifier: MIT

//! A signal ends an EXCHANGE with EINTR only if nothing took effect in it; SIGSTOP and SIGCONT are not
//! noticed at all.
//!
//! A thread that sleeps in EXCHANGE is signalled: EINTR, also with SA_RESTART. The same when the call
//! completed a request first: it succeeds and says so. A worker that sleeps while it is stopped and
//! continued takes the next request as if nothing had been. A call that waits for more than is there
//! leaves that to others when it is signalled: a worker that is being stopped or killed would sit on it.

use std::os::unix::thread::{JoinHandleExt, RawPthread};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use abuse::abi::{Done, Exchange, Take, FOREVER};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;

use crate::kit::puppet::Answer;
use crate::kit::raw::{expect, handle, well, within, Memory, Raw};
use crate::kit::{wait_until, Direct, Disk, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let file = Direct::open(disk.path())?;
    for restart in [false, true] {
        handle(Signal::SIGUSR1, restart)?;
        let got = interrupted(&disk, Vec::new())?;
        expect(&format!("signalled, restart {restart}"), got, Errno::EINTR)?;

        let read = file.start_read(0, 512);
        disk.wait_queued(1)?;
        let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
        let taken = raw.take_one(&arena)?;
        let got = interrupted(&disk, vec![well(&taken)])?.context("it had completed a request")?;
        ensure!((got.done_failed, got.taken) == (0, 0), "{got:?}");
        read.finish(PATIENCE)??;
    }
    ensure!(disk.status()?.stale == 0, "a completion was made twice");

    let read = file.start_read(0, 512);
    disk.wait_queued(1)?;
    let taken = disk.counts(abuse::Operation::Read)?.taken;
    let got = interrupted_for(&disk, Vec::new(), 2)?;
    expect("signalled while it waited for two", got, Errno::EINTR)?;
    let status = disk.status()?;
    ensure!(
        status.queued == 1 && status.counts(abuse::Operation::Read).taken == taken,
        "it took what it was not to have: {status:?}"
    );
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    raw.finish(&raw.take_one(&arena)?)?;
    read.finish(PATIENCE)??;

    let mut puppet = disk.puppet()?;
    puppet.say_take(1)?;
    for _ in 0..20 {
        disk.wait_status("the puppet to sleep", |status| status.waiting == 1)?;
        puppet.stop()?;
        puppet.resume()?;
    }
    let read = file.start_read(4096, 512);
    let held = puppet.hear_take()?;
    ensure!(held.len() == 1, "{held:?}");
    ensure!(puppet.put(&held[0], Answer::Fill(7))?.is_none());
    ensure!(read.finish(PATIENCE)?? == [7; 512]);
    Ok(())
}

/// An EXCHANGE for ever that gets a signal once it sleeps.
fn interrupted(disk: &Disk<'_>, done: Vec<Done>) -> Result<nix::Result<Exchange>> {
    interrupted_for(disk, done, 1)
}

/// ... that waits for `min` requests.
fn interrupted_for(
    disk: &Disk<'_>,
    mut done: Vec<Done>,
    min: usize,
) -> Result<nix::Result<Exchange>> {
    let raw = Raw::open(&disk.control())?;
    let thread: JoinHandle<nix::Result<Exchange>> = thread::spawn(move || {
        let arena = Memory::new(1 << 20)?;
        let how = Exchange {
            timeout_ns: FOREVER,
            take_min: u32::try_from(min).unwrap_or(1),
            ..within(&arena, Duration::ZERO)
        };
        raw.exchange(&mut done, &mut vec![Take::default(); min], how)
    });
    disk.wait_status("a sleeper", |status| status.waiting == 1)?;
    let number: RawPthread = thread.as_pthread_t();
    wait_until("the signal to be noticed", PATIENCE, || {
        let _ = pthread_kill(number, Signal::SIGUSR1);
        thread::sleep(Duration::from_millis(10));
        thread.is_finished()
    })?;
    thread.join().ok().context("it panicked")
}
