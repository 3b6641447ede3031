// SPDX-License-Identifier: MIT
//! The story, from beginning to end.

use std::fmt;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use abuse::Device;
use abuse_scenarios::kit::kernel_log::KernelLog;
use anyhow::{ensure, Context};

use crate::fio::{self, Verdict};
use crate::kernel_log;
use crate::shell::{run, said, step};
use crate::shoot::{self, Kill};
use crate::supervisor::Supervisor;
use crate::watch::Watch;

const KILLS: usize = 20;
const WORKERS: usize = 2;

/// A worker that was ready for a quarter of a second counts as healthy here, and is replaced
/// without a pause: twenty violent deaths in a row are the plot, not a fault.
const SUPERVISOR: [&str; 2] = [
    "abuse-supervisor run --device /dev/abctl0 --workers 2 --stable-after 250ms --",
    "abusectl server {ctl} --backend file:/srv/demo.img,create",
];

/// What is counted.
#[derive(Debug, Default)]
pub struct Tally {
    kills: usize,
    resumed: u64,
    longest_pause: Duration,
    /// Everything that should not have been.
    pub errors: u64,
    mismatches: u64,
}

impl Tally {
    /// Whether all is well.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.mismatches == 0
    }

    fn kill(&mut self, kill: &Kill) {
        self.kills += 1;
        self.longest_pause = self.longest_pause.max(kill.pause);
    }

    fn verdict(&mut self, verdict: &Verdict) {
        self.errors += verdict.errors;
        self.mismatches += verdict.mismatches;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "demo: kills={} resumed={} longest_pause_ms={} errors={} mismatches={}",
            self.kills,
            self.resumed,
            millis(self.longest_pause),
            self.errors,
            self.mismatches
        )
    }
}

/// Tells it.
pub fn tell(tally: &mut Tally) -> anyhow::Result<()> {
    let mut log = KernelLog::begin("abuse-demo: begin")?;
    println!("A disk served by two ordinary processes. Twenty times one of them is shot.");
    println!("Nothing that was asked of the disk may be lost, fail, or come out wrong.");

    step("A disk of 1 GiB. Nobody serves it yet: what is asked of it would wait.");
    run("abusectl setup /dev/abctl0 size=1G")?;
    let device = Device::open("/dev/abctl0")?;

    step("A supervisor with two workers, which keep the disk's bytes in a file.");
    let mut supervisor = Supervisor::start(&SUPERVISOR, WORKERS)?;
    for worker in supervisor.workers() {
        said(&format!("worker {}: pid {}", worker.place, worker.pid));
    }
    run("abusectl list /dev/abctl0")?;

    step("A file system on it.");
    run("mkfs.ext4 -q /dev/abuse0")?;
    run("mkdir -p /mnt/demo && mount /dev/abuse0 /mnt/demo")?;
    run("df -h /mnt/demo")?;

    step("fio writes files, reads them back and checks every block, while workers are shot.");
    fio::write_jobs()?;
    let watch = Watch::start(device.clone())?;
    let seed = shooting(&mut supervisor, &watch, tally)?;
    drop(watch);
    let status = device.status()?;
    tally.resumed = status.ops.iter().map(|op| op.requeued).sum();
    ensure!(
        tally.resumed > 0,
        "no kill struck a worker that held requests"
    );

    step("Unmounted, checked, mounted again: is everything still there?");
    run("umount /mnt/demo")?;
    run("e2fsck -fn -E no_optimize_extents /dev/abuse0")?;
    run("mount /dev/abuse0 /mnt/demo")?;
    let options = &[fio::VERIFY_ONLY];
    let mut checking = fio::start(seed, options)?;
    report(&fio::verdict(options, checking.wait()?)?, tally);
    run("umount /mnt/demo")?;
    run("e2fsck -fn -E no_optimize_extents /dev/abuse0")?;

    step("What the driver says of all this.");
    run("abusectl info /dev/abctl0")?;
    let failed = u64::from(device.status()?.errors);
    drop(device);

    step("The end, in peace: the disk is flushed and goes, and with it the workers.");
    run("abusectl reset /dev/abctl0")?;
    let ended = supervisor.ended()?;
    said(&format!(
        "abuse-supervisor: {ended}: nothing is left to serve"
    ));
    ensure!(ended.code() == Some(3), "the supervisor did not end well");

    let lines = kernel_log::errors(&mut log)?;
    for line in &lines {
        said(&format!("in the kernel's log: {line}"));
    }
    tally.errors += failed + lines.len() as u64;
    Ok(())
}

/// Passes of fio until everybody has been shot; the seed of the last pass comes back.
fn shooting(supervisor: &mut Supervisor, watch: &Watch, tally: &mut Tally) -> anyhow::Result<u32> {
    said("under way: requests in the disk's queue at the moment of the kill");
    said("resumed: those of them that the dead worker held, offered again");
    said("pause: the longest time in which requests waited and none was completed,");
    said("       from the kill until a new worker was ready in the dead one's place");
    for pass in 1.. {
        let mut fio = fio::start(pass, &[])?;
        let ended = one_pass(supervisor, watch, tally, &mut fio);
        if ended.is_err() {
            // Its disk may never answer again: it must not be waited for.
            let _ = fio.kill();
        }
        ended?;
        report(&fio::verdict(&[], fio.wait()?)?, tally);
        if tally.kills >= KILLS {
            return Ok(pass);
        }
    }
    unreachable!("passes end with the kills")
}

fn one_pass(
    supervisor: &mut Supervisor,
    watch: &Watch,
    tally: &mut Tally,
    fio: &mut Child,
) -> anyhow::Result<()> {
    if tally.kills < KILLS {
        said("kill    worker    pid   under way   resumed     pause   new worker after");
    }
    let mut told = Instant::now();
    let before = watch.sight().bytes;
    while fio.try_wait()?.is_none() {
        supervisor.check()?;
        if tally.kills < KILLS {
            thread::sleep(Duration::from_millis(100 + shoot::random(500)?));
            if !shoot::busy(watch) || fio.try_wait()?.is_some() {
                continue;
            }
            let kill = shoot::shoot(supervisor, watch)
                .with_context(|| format!("kill {}", tally.kills + 1))?;
            tally.kill(&kill);
            said(&format!(
                "{:2}/{KILLS} {:9} {:6} {:11} {:9} {:6} ms {:15} ms",
                tally.kills,
                kill.victim.place,
                kill.victim.pid,
                kill.under_way,
                kill.resumed,
                millis(kill.pause),
                millis(kill.replaced)
            ));
            continue;
        }
        thread::sleep(Duration::from_millis(50));
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            let (written, read) = watch.sight().bytes;
            said(&format!(
                "this pass so far: {} MiB written, {} MiB read back",
                (written - before.0) >> 20,
                (read - before.1) >> 20
            ));
        }
    }
    Ok(())
}

fn report(verdict: &Verdict, tally: &mut Tally) {
    tally.verdict(verdict);
    let (written, read) = verdict.bytes;
    let written = match written {
        0 => String::new(),
        bytes => format!("{} MiB written, ", bytes >> 20),
    };
    said(&format!(
        "fio: {written}{} MiB read and checked: {} errors, {} mismatches; slowest request {} ms",
        read >> 20,
        verdict.errors,
        verdict.mismatches,
        verdict.slowest_ms
    ));
}

/// Rounded up: nothing is ever said to have taken no time.
fn millis(time: Duration) -> u128 {
    time.as_micros().div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_its_shape() {
        let mut tally = Tally {
            kills: 20,
            longest_pause: Duration::from_micros(12_100),
            ..Tally::default()
        };
        assert!(tally.is_clean());
        assert_eq!(
            tally.to_string(),
            "demo: kills=20 resumed=0 longest_pause_ms=13 errors=0 mismatches=0"
        );
        tally.mismatches = 1;
        assert!(!tally.is_clean());
    }
}
