// SPDX-License-Identifier: MIT

//! What devices cost by their number: memory, set-up, and offering again all that is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use abuse::device::{NewDevice, Registry, Selection, Setup};
use abuse::{Device, Take};
use anyhow::{bail, ensure, Context, Result};

use crate::contender;
use crate::record::{Log, Record};
use crate::sys;

/// Numbers from here on are nobody else's.
const FIRST: u32 = 1000;
/// Requests that are taken and offered again.
const HELD: u32 = 4096;
const NULL_BLK: &str = "/sys/kernel/config/nullb";

/// Measures with so many devices.
pub(crate) fn measure(devices: u32, once: &mut Once<'_>) -> Result<()> {
    let disks = ours(devices, once)?;
    theirs(devices, once).context("null_blk")?;
    requeue(&disks[0], once).context("offering again")?;
    let registry = Registry::open()?;
    for disk in disks {
        let number = disk.number();
        drop(disk);
        registry.remove(number, None, true, Some(Duration::from_secs(30)))?;
    }
    Ok(())
}

/// Figures that are taken once.
pub(crate) struct Once<'a> {
    log: &'a mut Log,
    phases: &'a mut u64,
}

impl<'a> Once<'a> {
    /// `phases` is the number of the next phase.
    pub(crate) fn new(log: &'a mut Log, phases: &'a mut u64) -> Once<'a> {
        Once { log, phases }
    }

    /// Counts one of several times that the same is done: the number of its phase, and nanoseconds of
    /// a clock that goes by instructions and waits.
    pub(crate) fn part<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<(T, (u64, f64))> {
        let began = Instant::now();
        sys::begin();
        let outcome = work();
        sys::end();
        let took = began.elapsed().as_nanos() as f64;
        let phase = *self.phases;
        *self.phases += 1;
        Ok((outcome?, (phase, took)))
    }

    /// What these parts came to, the one in the middle.
    pub(crate) fn parts(&mut self, name: &str, parts: &[(u64, f64)]) -> Result<()> {
        let mut parts = parts.to_vec();
        parts.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (phase, took) = *parts.get(parts.len() / 2).context("no part")?;
        self.log.write(&Record::Phase {
            name: format!("{name}-instructions"),
            phase,
            parts: 1,
        })?;
        self.value(&format!("{name}-ns"), took)
    }

    fn value(&mut self, name: &str, value: f64) -> Result<()> {
        self.log.write(&Record::Value {
            name: name.into(),
            value,
        })
    }

    /// Counts what is done, for each of `parts`; takes the time of it, too, of a clock that goes by
    /// instructions and waits.
    fn phase<T>(
        &mut self,
        name: &str,
        parts: u32,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, f64)> {
        let began = Instant::now();
        sys::begin();
        let outcome = work();
        sys::end();
        let took = began.elapsed();
        self.log.write(&Record::Phase {
            name: format!("{name}-instructions"),
            phase: *self.phases,
            parts,
        })?;
        *self.phases += 1;
        let nanoseconds = took.as_nanos() as f64 / f64::from(parts);
        self.value(&format!("{name}-ns"), nanoseconds)?;
        Ok((outcome?, nanoseconds))
    }
}

fn ours(devices: u32, once: &mut Once) -> Result<Vec<Device>> {
    let registry = Registry::open()?;
    let empty = memory()?;
    let ((), added) = once.phase("abuse-add", devices, || {
        for number in FIRST..FIRST + devices {
            registry.add(&NewDevice::numbered(number))?;
        }
        Ok(())
    })?;
    let idle = memory()?;
    once.value("abuse-idle-device-bytes", grown(empty, idle, devices))?;
    let mut disks = Vec::new();
    for number in FIRST..FIRST + devices {
        disks.push(Device::open(format!("/dev/abctl{number}"))?);
    }
    let opened = memory()?;
    let ((), set_up) = once.phase("abuse-setup", devices, || {
        for disk in &disks {
            disk.setup(&Setup {
                depth: 128,
                queues: 1,
                ..Setup::new(64 << 20)
            })?;
        }
        Ok(())
    })?;
    once.value("abuse-add-and-setup-ns", added + set_up)?;
    // Somebody has asked: all of them are live.
    for disk in &disks {
        disk.take(&Take::default())?;
    }
    let live = memory()?;
    let each = grown(empty, idle, devices) + grown(opened, live, devices);
    once.value("abuse-live-device-bytes", each)?;
    Ok(disks)
}

/// The same number of disks of null_blk, with as many requests each.
fn theirs(devices: u32, once: &mut Once) -> Result<()> {
    contender::modprobe(&["null_blk", "nr_devices=0"])?;
    if !Path::new(NULL_BLK).exists() {
        let configfs = Command::new("mount")
            .args(["-t", "configfs", "none", "/sys/kernel/config"])
            .status()?;
        ensure!(configfs.success(), "configfs cannot be mounted");
    }
    let place = |number: u32| PathBuf::from(NULL_BLK).join(format!("bench{number}"));
    let empty = memory()?;
    once.phase("null_blk-setup", devices, || {
        for number in 0..devices {
            let place = place(number);
            fs::create_dir(&place)?;
            for (name, value) in [("size", "64"), ("hw_queue_depth", "128"), ("power", "1")] {
                fs::write(place.join(name), value).with_context(|| name.to_string())?;
            }
        }
        Ok(())
    })?;
    let bytes = grown(empty, memory()?, devices);
    once.value("null_blk-device-bytes", bytes)?;
    for number in 0..devices {
        fs::remove_dir(place(number))?;
    }
    Ok(())
}

/// All requests of a deep queue are taken by a worker and offered again.
fn requeue(disk: &Device, once: &mut Once) -> Result<()> {
    disk.reset(true, Some(Duration::from_secs(30)))?;
    disk.setup(&Setup {
        depth: HELD,
        queues: 1,
        ..Setup::new(64 << 20)
    })?;
    let mut load = Command::new("fio")
        .args([
            "--name=job",
            "--ioengine=libaio",
            "--direct=1",
            "--thread=1",
            "--rw=randread",
        ])
        .args(["--bs=4k", "--norandommap=1", "--size=64m", "--disk_util=0"])
        .arg(format!("--iodepth={HELD}"))
        .arg(format!("--filename={}", disk.disk_path().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("fio")?;
    // No limit in time: while this guest waits for its own disk, from which fio comes, its clock leaps
    // from one timer to the next.
    let mut requests = Vec::new();
    while requests.len() < HELD as usize {
        if let Some(status) = load.try_wait()? {
            bail!(
                "fio ended ({status}) and had sent {} requests",
                requests.len()
            );
        }
        let missing = HELD - requests.len() as u32;
        requests.extend(disk.take(&Take {
            max: missing,
            min: missing,
            timeout: Some(Duration::from_secs(60)),
            ..Take::default()
        })?);
    }
    requests.into_iter().for_each(|request| {
        request.leave();
    });
    let (again, _) = once.phase("requeue", HELD, || Ok(disk.requeue(&Selection::all())?))?;
    ensure!(
        again.requeued == HELD,
        "only {} were offered again",
        again.requeued
    );
    disk.reset(true, Some(Duration::from_secs(30)))?;
    load.wait()?;
    Ok(())
}

/// Bytes of memory that nobody can use, when what is merely cached is let go.
fn memory() -> Result<u64> {
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let text = fs::read_to_string("/proc/meminfo")?;
    let field = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("/proc/meminfo: no {name}"))?;
        let number = line.trim().trim_end_matches(" kB");
        number
            .parse()
            .with_context(|| format!("/proc/meminfo: {name} {number}"))
    };
    Ok((field("MemTotal:")? - field("MemFree:")?) << 10)
}

fn grown(before: u64, after: u64, devices: u32) -> f64 {
    after.saturating_sub(before) as f64 / f64::from(devices)
}
