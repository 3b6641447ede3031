// SPDX-License-Identifier: MIT

//! What a supervised worker takes is filed under the token that its supervisor gave it: where
//! closing the node offers nothing again, the supervisor's requeue by token does, after the death.

use anyhow::{ensure, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use abuse::{Operation, Selection};

use crate::kit::{self, command, refused, Answer, Direct, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M,requeue_on_close=no")?;
    let udev = guest.hold_udev()?;
    // The worker's backend is a disk whose only worker takes and never answers.
    let slow = guest.disk("size=64M")?;
    let mut mute = slow.puppet()?;
    let backend = format!("file:{}", slow.path().display());
    let mut supervisor = Supervise::new(guest, &disk, 1, &backend).spawn()?;
    // A worker first reads a block, to see whether its backend can be read directly.
    let probe = mute.take_one()?;
    mute.put(&probe, Answer::Done)?;
    supervisor.wait_ready()?;
    let worker = supervisor.workers()[0];
    let write = Direct::open(disk.path())?.start_write(0, vec![3; 4096]);
    disk.wait_status("the write to be taken", |status| status.taken == 1)?;
    let held = mute.take_one()?;

    let token = Selection::owner(worker.token);
    refused(disk.device().requeue(&token), Errno::EBUSY)?;
    let other = Selection::owner(worker.token ^ 1);
    ensure!(
        disk.device().requeue(&other)?.requeued == 0,
        "another token fits, too"
    );

    // It cannot die while its write is under way: only then may the write be offered again.
    command::send(worker.pid, Signal::SIGKILL)?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    ensure!(disk.status()?.taken == 1, "offered again before the death");
    mute.put(&held, Answer::Done)?;
    supervisor.wait_log("1 request re-offered")?;
    let probe = mute.take_one()?;
    mute.put(&probe, Answer::Done)?;
    let held = mute.take_one()?;
    ensure!(
        (probe.operation, held.operation) == (Operation::Read, Operation::Write),
        "{probe:?}, {held:?}"
    );
    mute.put(&held, Answer::Done)?;
    write.finish(PATIENCE)??;
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    // udevd has both disks to look at now: somebody answers.
    drop(mute);
    let _servers = (disk.serve("null")?, slow.serve("null")?);
    drop(udev);
    kit::udev::settle()
}
