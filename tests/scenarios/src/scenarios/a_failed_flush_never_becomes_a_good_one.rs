// SPDX-License-Identifier: MIT

//! The device behind a worker's file fails a write, or the flush that was to make it durable, and the
//! worker dies before it can say so. Its successor knows nothing of that, and the kernel tells an error
//! once: what was completed is on that device all the same when a flush has succeeded, past the page
//! cache and through it, by io_uring and where the driver moves the data, with a standby and without. A
//! worker that lives tells the error.

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::command::{send, sleeps_in, states_of, stop};
use crate::kit::{wait_for, Direct, Guest, Layer, Pending, Supervise, Supervisor, PATIENCE};

const SIZE: u64 = 8 << 20;
const BLOCK: usize = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let below = guest.loop_device(&guest.file("below"), SIZE)?;
    let layer = Layer::linear(guest, below.path(), SIZE)?;
    let below = Direct::open(below.path())?;
    // Who has the file open when it fails is told of it, too; who opens it after that is not.
    for (options, words, standby) in [
        ("", "", 1),
        (",io_uring", "", 1),
        (",buffered", "", 1),
        (",buffered", "", 0),
        ("", "--forward", 1),
        (",buffered", "--forward", 1),
    ] {
        let backend = format!("file:{}{options}", layer.path().display());
        let mut command = vec!["abusectl", "server", "{ctl}", "--backend", &backend];
        command.extend(words.split_whitespace());
        errors_meet_deaths(guest, &layer, &below, &command, standby)
            .with_context(|| format!("{backend} {words}, {standby} standbys"))?;
    }
    Ok(())
}

fn errors_meet_deaths(
    guest: &Guest,
    layer: &Layer<'_>,
    below: &Direct,
    command: &[&str],
    standby: usize,
) -> Result<()> {
    let disk = guest.disk("size=8M")?;
    let supervisor = Supervise::new(guest, &disk, 1, "")
        .command(command)
        .standby(standby)
        .start()?;
    supervisor.wait_whole()?;
    let file = Direct::open(disk.path())?;
    disk.wait_alone()?;

    // What was there before is not what is written.
    file.write(0, &[0; 2 * BLOCK])?;
    file.flush()?;
    let write = || file.start_write(0, vec![1; BLOCK]);
    let written = dies_of_an_error(layer, &supervisor, write)?;
    file.flush().context("a flush of a device that is well")?;
    if written.is_ok() {
        ensure!(below.read(0, BLOCK)? == [1; BLOCK], "a write was lost");
    }

    file.write(BLOCK as u64, &[2; BLOCK])?;
    let flushed = dies_of_an_error(layer, &supervisor, || file.start_flush())?;
    if flushed.is_ok() {
        let there = below.read(BLOCK as u64, BLOCK)?;
        ensure!(there == [2; BLOCK], "what was flushed is not there");
    }

    layer.fail_writes(true)?;
    let written = file.write(0, &[3; BLOCK]);
    let flushed = file.flush();
    layer.fail_writes(false)?;
    ensure!(
        written.is_err() && flushed.is_err(),
        "a device that fails: a write {written:?}, a flush {flushed:?}"
    );
    drop(file);
    supervisor.drain()?;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

/// Has the device fail what the worker asks of it for the sake of this request, and the worker die of
/// SIGKILL before it can put its answer. The device is well again before anybody takes the request anew;
/// what became of it. What the driver moves by itself it may end by itself, with the error.
fn dies_of_an_error(
    layer: &Layer<'_>,
    supervisor: &Supervisor<'_>,
    request: impl FnOnce() -> Pending<std::io::Result<()>>,
) -> Result<std::io::Result<()>> {
    supervisor.wait_whole()?;
    let victim = supervisor.workers()[0];
    let disk = supervisor.disk();
    layer.suspend()?;
    let mut request = request();
    let forwarded = wait_for("somebody to wait for the device", PATIENCE, || {
        let status = disk.status()?;
        let worker =
            states_of(victim.pid).contains(&'D') || sleeps_in(victim.pid, "io_cqring_wait");
        Ok(match (status.forwarding, status.taken) {
            (1, _) => Some(true),
            (0, 1) => worker.then_some(false),
            _ => None,
        })
    })?;
    // It stands still as soon as it comes back from the kernel, with the error in its hands.
    send(victim.pid, Signal::SIGSTOP)?;
    layer.fail_writes(true)?;
    stop(victim.pid)?;
    disk.wait_status("the forward to end", |status| status.forwarding == 0)?;
    layer.fail_writes(false)?;
    let status = disk.status()?;
    ensure!(
        forwarded || (status.taken == 1 && !request.is_over()),
        "it has answered: {status:?}"
    );
    supervisor.shoot(&victim)?;
    request.finish(PATIENCE)
}
