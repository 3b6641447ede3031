// SPDX-License-Identifier: MIT

//! How long a request waits whose worker was killed: until it is offered again, and until another
//! worker, who was there already, has completed it; and where the only worker dies, until its
//! supervisor's next one, or the standby that it promotes, has completed something. Prints median, 99th percentile and maximum of the
//! time that the guest had.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use crate::kit::command::send;
use crate::kit::detectors::patience;
use crate::kit::supervisor::{Failover, Times};
use crate::kit::wait::Pending;
use crate::kit::{wait_for, Direct, Fio, Guest, Stalls, Supervise, PATIENCE};

const KILLS: usize = 30;
const RESPAWNS: usize = 20;
/// A hundred with TIMES=5, as of [`RESPAWNS`].
const PROMOTIONS: usize = 20;
/// What the scorecard asks for, also of an emulated processor; of one that checks itself besides, as much
/// less as of everything else.
const QUICK: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(1000),
];
/// A new process has to be started first, which alone takes an emulated processor that others use
/// too a good part of a second.
const STARTED: [Duration; 3] = [
    Duration::from_millis(1000),
    Duration::from_millis(4000),
    Duration::from_millis(4000),
];

/// The scorecard asks for [`QUICK`] of a standby, too, which is what a machine that nobody else uses has
/// it do: a supervisor has to be scheduled first, and a process that was asleep.
const PROMOTED: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    another_is_there(guest)?;
    let respawned = Supervised {
        what: "it was the only one",
        backing: "ram:respawn",
        standby: 0,
        kills: RESPAWNS,
        limits: STARTED,
    };
    let respawned = respawned.run(guest)?;
    let promoted = Supervised {
        what: "a standby was there",
        backing: "ram:promote",
        standby: 1,
        kills: PROMOTIONS,
        limits: PROMOTED,
    };
    let promoted = promoted.run(guest)?;
    ensure!(
        promoted.percentile(50) * 2 < respawned.percentile(50),
        "a standby takes {promoted}, a new process {respawned}"
    );
    Ok(())
}

/// One worker under a supervisor, killed again and again.
struct Supervised {
    what: &'static str,
    backing: &'static str,
    standby: usize,
    kills: usize,
    limits: [Duration; 3],
}

fn another_is_there(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let other = disk.serve("ram:failover")?;
    let stalls = Stalls::watch()?;
    let (mut offered, mut completed) = (Vec::new(), Vec::new());
    for _ in 0..guest.times(KILLS) {
        let mut victim = disk.puppet()?;
        other.stop()?;
        let write = {
            let file = file.clone();
            Pending::start("the write", move || {
                file.write(0, &[1; 4096]).map(|()| Instant::now())
            })
        };
        victim.take_one()?;
        other.resume()?;
        disk.wait_status("the other one to wait", |status| status.waiting == 1)?;
        let requeued = disk.status()?.ops[1].requeued;
        let shot = Instant::now();
        send(victim.pid(), Signal::SIGKILL)?;
        while disk.status()?.ops[1].requeued == requeued {
            ensure!(shot.elapsed() < PATIENCE, "it was never offered again");
            thread::sleep(Duration::from_micros(100));
        }
        let offer = Instant::now();
        let completion = write.finish(PATIENCE)??;
        offered.push(stalls.had(shot, offer));
        completed.push(stalls.had(shot, completion));
        victim.kill()?;
    }
    let (offered, completed) = (Times::of(offered), Times::of(completed));
    guest.figure(format!(
        "another worker was there: offered again {offered}; completed {completed}"
    ));
    completed.keep_within("another worker was there", QUICK.map(patience))?;
    other.signal(Signal::SIGTERM)?;
    other.finish(PATIENCE)?;
    Ok(())
}

impl Supervised {
    fn run(&self, guest: &Guest) -> Result<Times> {
        let disk = guest.disk("size=64M")?;
        let mut supervise = Supervise::new(guest, &disk, 1, self.backing).standby(self.standby);
        if self.standby == 0 {
            // The pause after a death that came too soon is no part of a failover. A new standby is
            // to come after it, so as not to be in the way of the one that was promoted.
            supervise = supervise.option("--back-off=1ms..2ms");
        }
        let supervisor = supervise.start()?;
        let stalls = Stalls::watch()?;
        let mut load = None;
        let mut failovers = Vec::new();
        while failovers.len() < guest.times(self.kills) {
            let job = ["rw=randwrite", "bs=4k", "iodepth=16", "size=32M"];
            let mut running = match load.take() {
                Some(load) => load,
                None => Fio::on(guest, disk.path(), &job).start()?,
            };
            supervisor.wait_whole()?;
            // So long alive, and a worker counts as healthy: its successor starts at once.
            thread::sleep(Duration::from_millis(250));
            let busy = wait_for(
                "a request in the worker's hands, or the end",
                PATIENCE,
                || {
                    let over = !running.process.is_running()?;
                    let busy = disk.status()?.taken > 0;
                    Ok((over || busy).then_some(busy))
                },
            )?;
            if !busy {
                running.finish()?;
                continue;
            }
            failovers.push(supervisor.shoot(&supervisor.workers()[0])?);
            load = Some(running);
        }
        if let Some(load) = load {
            load.finish()?;
        }
        let had = |it: &Failover, took| stalls.had(it.shot, it.shot + took);
        let completed = Times::of(failovers.iter().map(|it| had(it, it.completion)));
        let replaced = Times::of(failovers.iter().map(|it| had(it, it.replaced)));
        guest.figure(format!(
            "{}: the next is ready {replaced}; completed {completed}",
            self.what
        ));
        completed.keep_within(self.what, self.limits.map(patience))?;
        supervisor.drain()?;
        Ok(completed)
    }
}
