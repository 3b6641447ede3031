// SPDX-License-Identifier: MIT

//! The device behind a worker's file fails a write, or the flush that was to make it durable, and the
//! worker dies before it can say so. Its successor knows nothing of that, and the kernel tells an error
//! once: what was completed is on that device all the same when a flush has succeeded, past the page
//! cache and through it, with a standby and without. A worker that lives tells the error.

use anyhow::{ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::kit::command::{send, states_of, stop};
use crate::kit::{wait_until, Direct, Guest, Layer, Pending, Supervise, Supervisor, PATIENCE};

const SIZE: u64 = 8 << 20;
const BLOCK: usize = 4096;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let below = guest.loop_device(&guest.file("below"), SIZE)?;
    let layer = Layer::linear(guest, below.path(), SIZE)?;
    let below = Direct::open(below.path())?;
    // Who has the file open when it fails is told of it, too; who opens it after that is not.
    for (options, standby) in [("", 1), (",buffered", 1), (",buffered", 0)] {
        let backend = format!("file:{}{options}", layer.path().display());
        errors_meet_deaths(guest, &layer, &below, &backend, standby)
            .with_context(|| format!("{backend}, {standby} standbys"))?;
    }
    Ok(())
}

fn errors_meet_deaths(
    guest: &Guest,
    layer: &Layer<'_>,
    below: &Direct,
    backend: &str,
    standby: usize,
) -> Result<()> {
    let disk = guest.disk("size=8M")?;
    let supervisor = Supervise::new(guest, &disk, 1, backend)
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
/// what became of it.
fn dies_of_an_error(
    layer: &Layer<'_>,
    supervisor: &Supervisor<'_>,
    request: impl FnOnce() -> Pending<std::io::Result<()>>,
) -> Result<std::io::Result<()>> {
    supervisor.wait_whole()?;
    let victim = supervisor.workers()[0];
    layer.suspend()?;
    let mut request = request();
    wait_until("the worker to wait for its device", PATIENCE, || {
        states_of(victim.pid).contains(&'D')
    })?;
    // It stands still as soon as it comes back from the kernel, with the error in its hands.
    send(victim.pid, Signal::SIGSTOP)?;
    layer.fail_writes(true)?;
    stop(victim.pid)?;
    layer.fail_writes(false)?;
    let status = supervisor.disk().status()?;
    ensure!(
        status.taken == 1 && !request.is_over(),
        "it has answered: {status:?}"
    );
    supervisor.shoot(&victim)?;
    request.finish(PATIENCE)
}
