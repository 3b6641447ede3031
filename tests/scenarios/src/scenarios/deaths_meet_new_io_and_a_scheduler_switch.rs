// SPDX-License-Identifier: MIT

//! Workers are killed while fio writes and verifies and the I/O scheduler of the disk is switched,
//! which freezes its queue until every request has ended: nothing hangs, fails or comes out wrong.

use std::fs;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kit::{Fio, Guest, Supervise};

const SWITCHES: usize = 8;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let name = disk.path();
    let name = name.file_name().context("its name")?.to_string_lossy();
    let knob = format!("/sys/block/{name}/queue/scheduler");
    let mut switched = 0;
    let mut kills = 0;
    while switched < SWITCHES {
        let job = ["rw=randwrite", "bsrange=4k-64k", "iodepth=16", "size=24M"];
        let mut load = Fio::on(guest, disk.path(), &job).verify().start()?;
        while switched < SWITCHES && load.process.is_running()? {
            std::thread::sleep(Duration::from_millis(250));
            if disk.status()?.taken == 0 {
                continue;
            }
            let scheduler = ["mq-deadline", "none"][switched % 2];
            let victim = supervisor.workers()[switched % 2];
            let switch = guest
                .command("sh")
                .args(["-c", &format!("echo {scheduler} >{knob}")])
                .spawn()?;
            supervisor.shoot(&victim)?;
            let output = switch.finish(Duration::from_secs(60))?;
            ensure!(output.status.success(), "{scheduler}: {}", output.stderr);
            let now = fs::read_to_string(&knob)?;
            ensure!(now.contains(&format!("[{scheduler}]")), "{now}");
            switched += 1;
            kills += 1;
        }
        load.finish()?;
    }
    ensure!(kills == SWITCHES, "{kills} kills");
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    Ok(())
}
