// SPDX-License-Identifier: MIT

//! READY=1 reaches whoever started the supervisor when all workers are ready, and not before; and
//! STOPPING=1 when it is told to end.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::kit::{wait_until, Guest, Listener, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let listener = Listener::bind(guest)?;
    let go = guest.file("go");
    // The second one to come waits for a sign.
    let worker = format!(
        "mkdir {first} 2>/dev/null || while ! [ -e {go} ]; do sleep 0.05; done
         exec abusectl server {ctl} --backend ram:readiness",
        first = guest.file("first").display(),
        go = go.display(),
        ctl = disk.control()
    );
    let supervisor = Supervise::new(guest, &disk, 2, "null")
        .command(&["sh", "-c", &worker])
        .notify(listener.path())
        .spawn()?;
    wait_until("one of two to be ready", PATIENCE, || {
        supervisor.workers().iter().any(|worker| worker.ready)
    })?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(!listener.has_heard("READY=1"), "ready with one of two");
    std::fs::write(&go, "")?;
    listener.wait("READY=1")?;
    ensure!(
        supervisor.workers().iter().all(|worker| worker.ready),
        "ready before its workers"
    );
    disk.wait_status("two that wait", |status| status.waiting == 2)?;
    supervisor.drain()?;
    ensure!(
        listener.has_heard("STOPPING=1"),
        "it did not say STOPPING=1"
    );
    Ok(())
}
