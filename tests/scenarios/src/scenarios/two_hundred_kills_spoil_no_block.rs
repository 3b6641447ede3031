// SPDX-License-Identifier: MIT

//! Four workers of a supervisor are killed one after the other, two hundred times, as fast as somebody
//! is there to be killed, while four jobs of fio write blocks of mixed sizes and verify them: no I/O
//! fails, and no block is anything but what was written last. TIMES=50 makes it ten thousand.

use std::time::Instant;

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::command::{send, state_of};
use crate::kit::{servers_of, wait_for, wait_until, Disk, Fio, Guest, Load, Supervise, PATIENCE};

const KILLS: usize = 200;
const WORKERS: usize = 4;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervise = Supervise::new(guest, &disk, WORKERS, &backend);
    let supervisor = supervise.option("--back-off=20ms..100ms").start()?;
    let kills = guest.times(KILLS);
    let (mut verified, mut struck) = (0, 0);
    let mut load = start(guest, &disk)?;
    let begun = Instant::now();
    for kill in 0..kills {
        if !load.process.is_running()? {
            verified += load.finish()?.reads;
            load = start(guest, &disk)?;
        }
        // Somebody is there, and holds something.
        let status = disk.wait_status("requests under way", |status| status.taken > 0)?;
        let victim = wait_for("a worker", PATIENCE, || {
            let there: Vec<u32> = servers_of(&disk).into_iter().collect();
            let index = kill.checked_rem(there.len());
            Ok(index.map(|index| there[index]))
        })?;
        // It may have died of an earlier shot that it only now felt.
        let _ = send(victim, Signal::SIGKILL);
        wait_until("its death", PATIENCE, || {
            state_of(victim).is_none_or(|state| state == 'Z')
        })?;
        struck += u64::from(status.taken > 0);
    }
    let seconds = begun.elapsed().as_secs_f64();
    verified += load.finish()?.reads;
    let status = disk.status()?;
    let requeued: u64 = status.ops.iter().map(|counts| counts.requeued).sum();
    guest.figure(format!(
        "{kills} kills in {seconds:.1} s, {struck} while requests were under way, {requeued} \
         requests resumed, {verified} blocks verified"
    ));
    ensure!(status.errors == 0, "requests failed");
    // A worker that is killed before it took anything proves little.
    ensure!(
        requeued > kills as u64 / 4,
        "only {requeued} requests were resumed in {kills} kills"
    );
    supervisor.drain()?;
    Ok(())
}

fn start(guest: &Guest, disk: &Disk<'_>) -> Result<Load> {
    let job = [
        "rw=randwrite",
        "bsrange=4k-64k",
        "iodepth=8",
        "numjobs=4",
        "size=16M",
        "offset_increment=16M",
        "verify_backlog=256",
    ];
    let fio = Fio::on(guest, disk.path(), &job).verify();
    fio.within(PATIENCE * 4).start()
}
