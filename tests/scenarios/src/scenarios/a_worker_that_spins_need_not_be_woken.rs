// SPDX-License-Identifier: MIT

//! A worker that spins before it sleeps takes what comes meanwhile without having slept; one that does
//! not spin sleeps each time. Spinning ends when its time is over, when a signal comes, and when the
//! disk goes. Workers that spin and workers that do not are killed in turn, and no request is left
//! behind.

use std::fs;
use std::os::unix::thread::{JoinHandleExt, RawPthread};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use abuse::abi::{self, Exchange, Take};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;
use nix::unistd::gettid;

use crate::kit::raw::{expect, handle, well, within, Memory, Raw};
use crate::kit::{wait_until, Direct, Disk, Fio, Guest, PATIENCE};

/// Requests that are taken one after the other.
const REQUESTS: usize = 20;
/// Longer than it takes to see that somebody waits, and to make a request.
const LONG: u32 = abi::MAX_SPIN;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let file = Direct::open(disk.path())?;

    let slept = serve(&disk, &file, 0)?;
    ensure!(slept == REQUESTS, "it slept {slept} times without spinning");
    let slept = serve(&disk, &file, LONG)?;
    // The processor may be wanted by somebody else now and then.
    ensure!(
        slept <= REQUESTS / 2,
        "it slept {slept} times of {REQUESTS} although it span"
    );

    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let time = Duration::from_millis(50);
    let started = Instant::now();
    let how = Exchange {
        spin: LONG,
        ..within(&arena, time)
    };
    let got = raw.exchange(&mut [], &mut [Take::default()], how)?;
    let waited = started.elapsed();
    ensure!(got.taken == 0 && waited >= time, "{got:?} in {waited:?}");

    handle(Signal::SIGUSR1, false)?;
    let spinner = spin(&disk)?;
    let number: RawPthread = spinner.as_pthread_t();
    wait_until("the signal to be noticed", PATIENCE, || {
        let _ = pthread_kill(number, Signal::SIGUSR1);
        thread::sleep(Duration::from_millis(1));
        spinner.is_finished()
    })?;
    expect("signalled", end_of(spinner)?, Errno::EINTR)?;
    let read = file.start_read(0, 512);
    raw.finish(&raw.take_one(&arena)?)?;
    read.finish(PATIENCE)??;

    let spinner = spin(&disk)?;
    disk.device().reset(true, Some(PATIENCE))?;
    wait_until("the reset to be noticed", PATIENCE, || {
        spinner.is_finished()
    })?;
    expect("reset", end_of(spinner)?, Errno::ENXIO)?;
    die_in_turn(guest)
}

/// Spinners and sleepers come and are killed, and all that is written meanwhile is there.
fn die_in_turn(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=16M")?;
    let options: [&[&str]; 2] = [&["--spin", "300"], &[]];
    let mut servers = Vec::new();
    for options in options {
        servers.push(disk.serve_with("ram:in-turn", options)?);
    }
    let job = ["rw=randwrite", "bs=4k", "iodepth=2", "size=8M"];
    let load = Fio::on(guest, disk.path(), &job).verify().start()?;
    for options in options.iter().cycle().take(6) {
        servers.push(disk.serve_with("ram:in-turn", options)?);
        servers.remove(0).kill()?;
    }
    load.finish()?;
    Ok(())
}

/// Serves reads, each of which is made when the worker waits and, if it does not spin, sleeps. How often
/// the worker has slept for one.
fn serve(disk: &Disk<'_>, file: &Direct, spin: u32) -> Result<usize> {
    let raw = Raw::open(&disk.control())?;
    let (tell, told) = mpsc::channel();
    let worker: JoinHandle<Result<usize>> = thread::spawn(move || {
        tell.send(gettid())?;
        let arena = Memory::new(1 << 20)?;
        let mut done = Vec::new();
        let mut slept = 0;
        for _ in 0..REQUESTS {
            let how = Exchange {
                timeout_ns: abi::FOREVER,
                spin,
                ..within(&arena, Duration::ZERO)
            };
            let mut taken = [Take::default()];
            let before = sleeps()?;
            raw.exchange(&mut done, &mut taken, how)?;
            slept += usize::from(sleeps()? > before);
            done = vec![well(&taken[0])];
        }
        raw.put(&mut done)?;
        Ok(slept)
    });
    let state = format!("/proc/self/task/{}/stat", told.recv()?);
    for _ in 0..REQUESTS {
        disk.wait_status("the worker to wait", |status| status.waiting == 1)?;
        if spin == 0 {
            // It counts as waiting just before it sleeps.
            wait_until("the worker to sleep", PATIENCE, || {
                fs::read_to_string(&state).is_ok_and(|state| state.contains(") S "))
            })?;
        }
        file.read(0, 512)?;
    }
    worker.join().ok().context("the worker panicked")?
}

/// How often the calling thread has gone to sleep.
fn sleeps() -> Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(line.context("no voluntary_ctxt_switches")?.trim().parse()?)
}

/// A worker that spins and sleeps for ever.
fn spin(disk: &Disk<'_>) -> Result<JoinHandle<nix::Result<Exchange>>> {
    let raw = Raw::open(&disk.control())?;
    let spinner = thread::spawn(move || {
        let arena = Memory::new(1 << 20)?;
        let how = Exchange {
            timeout_ns: abi::FOREVER,
            spin: LONG,
            ..within(&arena, Duration::ZERO)
        };
        raw.exchange(&mut [], &mut [Take::default()], how)
    });
    disk.wait_status("a spinner", |status| status.waiting == 1)?;
    Ok(spinner)
}

fn end_of(spinner: JoinHandle<nix::Result<Exchange>>) -> Result<nix::Result<Exchange>> {
    spinner.join().ok().context("the spinner panicked")
}
