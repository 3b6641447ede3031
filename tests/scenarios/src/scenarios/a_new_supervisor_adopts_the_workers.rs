// SPDX-License-Identifier: MIT

//! The supervisor is killed with SIGKILL under load, again and again: its workers go on, the next
//! one, perhaps of a program that was upgraded meanwhile, adopts them and starts none twice, also where
//! one died while nobody watched, and no request fails.

use std::collections::BTreeSet;

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::command::{send, state_of};
use crate::kit::{servers_of, wait_until, Fio, Guest, Supervise, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let program = guest.install("abuse-supervisor")?;
    let start = || Supervise::new(guest, &disk, 2, &backend).program(&program);
    let mut supervisor = start().start()?;
    let job = ["rw=randwrite", "bs=4k", "iodepth=16", "size=8M"];
    for round in 0..3 {
        let load = Fio::on(guest, disk.path(), &job).verify().start()?;
        disk.wait_status("requests under way", |status| status.taken > 0)?;
        let before = supervisor.workers();
        supervisor.process.kill()?;
        // They go on without it.
        let done = disk.status()?.ops[1].done;
        disk.wait_status("more writes", |status| status.ops[1].done > done + 16)?;
        let mut expected: BTreeSet<u32> = before.iter().map(|worker| worker.pid).collect();
        ensure!(servers_of(&disk) == expected, "a worker went with it");
        let orphan = (round % 2 == 1).then(|| before[0]);
        if let Some(victim) = orphan {
            send(victim.pid, Signal::SIGKILL)?;
            wait_until("its end", PATIENCE, || {
                state_of(victim.pid).is_none_or(|state| state == 'Z')
            })?;
            expected.remove(&victim.pid);
        }
        if round > 0 {
            guest.install("abuse-supervisor")?;
        }
        supervisor = start().start()?;
        let after = supervisor.workers();
        let log = supervisor.log()?;
        for worker in &after {
            let adopted = format!("worker {} of an earlier supervisor is alive", worker.pid);
            let same = expected.contains(&worker.pid);
            ensure!(
                same == before.contains(worker) && same == log.contains(&adopted),
                "{before:?} became {after:?}: {log}"
            );
        }
        let now = servers_of(&disk);
        ensure!(
            now == after.iter().map(|worker| worker.pid).collect() && now.len() == 2,
            "workers {now:?}, on record {after:?}"
        );
        ensure!(expected.is_subset(&now), "{expected:?} became {now:?}");
        // Adopted or not, whoever dies is replaced.
        supervisor.shoot(&after[round % 2])?;
        load.finish()?;
        ensure!(servers_of(&disk).len() == 2, "a worker too many or too few");
    }
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain()?;
    Ok(())
}
