// SPDX-License-Identifier: MIT

//! The device behind a worker's file never answers: SIGKILL does not end the worker. It may still write
//! when it wakes, so nobody takes its place, the standby neither, until it is dead; then its write is
//! done by the standby. Where the operator does not want to wait for that, the disk is reset, and its
//! I/O fails.

use anyhow::{ensure, Result};
use nix::errno::Errno;

use abuse::{Selection, State};

use crate::kit::command::states_of;
use crate::kit::{refused, Direct, Guest, Layer, Supervise, Supervisor, PATIENCE};

const SIZE: u64 = 32 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let below = guest.loop_device(&guest.file("below"), SIZE)?;
    let layer = Layer::linear(guest, below.path(), SIZE)?;
    let backend = format!("file:{}", layer.path().display());
    let supervise = |disk| {
        Supervise::new(guest, disk, 1, &backend)
            .standby(1)
            .option("--request-timeout=1s")
            .option("--fence-after=100ms")
            .option("--stuck-after=500ms")
    };

    let disk = guest.disk("size=32M")?;
    let supervisor = supervise(&disk).start()?;
    supervisor.wait_whole()?;
    let (stuck, standby) = (supervisor.workers()[0], supervisor.standbys()[0]);
    let file = Direct::open(disk.path())?;
    // A read of udev's that hangs would be offered again, and prove nothing.
    disk.wait_alone()?;
    layer.suspend()?;
    let mut write = file.start_write(4096, vec![7; 4096]);
    supervisor.wait_log("is STUCK in the kernel")?;
    let states = states_of(stuck.pid);
    ensure!(
        states.contains(&'D'),
        "no thread of it is stuck: {states:?}"
    );
    let there = supervisor.standbys();
    ensure!(
        there == [standby],
        "the standby did not stay one: {there:?}"
    );
    refused(
        disk.device().requeue(&Selection::owner(stuck.token)),
        Errno::EBUSY,
    )?;
    ensure!(!write.is_over(), "the write ended");
    layer.resume()?;
    supervisor.wait_log(&format!("standby {} takes over", standby.pid))?;
    write.finish(PATIENCE)??;
    ensure!(file.read(4096, 4096)? == vec![7; 4096], "another block");
    ensure!(disk.status()?.errors == 0, "a request failed");
    supervisor.wait_whole()?;
    supervisor.drain()?;
    drop(file);
    disk.device().reset(false, Some(PATIENCE))?;

    let disk = guest.disk("size=32M")?;
    let supervisor = supervise(&disk).option("--give-up=hold:300ms");
    gives_up(supervisor.start()?, &layer)
}

/// As above, but nobody resumes it in time.
fn gives_up(mut supervisor: Supervisor<'_>, layer: &Layer<'_>) -> Result<()> {
    supervisor.wait_whole()?;
    let device = supervisor.disk().device().clone();
    let file = Direct::open(supervisor.disk().path())?;
    supervisor.disk().wait_alone()?;
    layer.suspend()?;
    let write = file.start_write(0, vec![8; 4096]);
    supervisor.wait_log("the disk is reset")?;
    let error = write.finish(PATIENCE)?.err();
    let errno = error.as_ref().and_then(std::io::Error::raw_os_error);
    ensure!(errno == Some(Errno::EIO as i32), "{error:?}");
    layer.resume()?;
    let status = supervisor.process.wait(PATIENCE)?;
    ensure!(status.code() == Some(3), "{status}: {}", supervisor.log()?);
    ensure!(device.status()?.state != State::Live, "it was not reset");
    Ok(())
}
