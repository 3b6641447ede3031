// SPDX-License-Identifier: MIT

//! What must be true when all hostile processes are gone: devices are empty and their counts add up,
//! a new disk serves what was written, the module can be unloaded, and no memory is missing.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use abuse::backend::Ram;
use abuse::{Device, Registry, Setup, State, Worker};
use abuse_scenarios::kit::disk::every_request_ended;
use abuse_scenarios::kit::{kernel_memory, wait_for, wait_until, Direct};
use anyhow::{bail, ensure, Context, Result};

const PATIENCE: Duration = Duration::from_secs(60);
const MODULE: &str = "/run/abuse/abuse.ko";
/// Kilobytes that may come and go with what else the machine does: a leak of a hundred bytes in each
/// of a hundred thousand calls is more.
const TOLERANCE: i64 = 10 << 10;

/// Everything that is not as it must be. `before` is the kernel's memory before it all.
pub fn troubles(before: i64) -> Vec<String> {
    let checks: [(&str, &dyn Fn() -> Result<()>); 6] = [
        ("after it, added devices", &only_the_first),
        ("after it, the devices", &empty),
        ("after it, a new disk", &serves),
        ("after it, the module", &unloads),
        ("after it, a new disk of the new module", &serves),
        ("after it, memory", &|| nothing_leaked(before)),
    ];
    let run = |(what, check): &(&str, &dyn Fn() -> Result<()>)| {
        check().err().map(|error| format!("{what}: {error:#}"))
    };
    checks.iter().filter_map(run).collect()
}

/// The devices that there are at load. Others have come and gone.
const DEVICES: u32 = 8;

/// Devices that players have added go; those that they have removed come with the module.
fn only_the_first() -> Result<()> {
    let registry = Registry::open()?;
    for number in Device::numbers()?
        .into_iter()
        .filter(|&number| number >= DEVICES)
    {
        registry.remove(number, None, true, Some(PATIENCE))?;
    }
    Ok(())
}

/// No device has a disk, a request or a worker, and every request that came has ended once.
fn empty() -> Result<()> {
    for number in Device::numbers()? {
        let device = Device::open(number.to_string())?;
        if device.status()?.state != State::Empty {
            let _ = device.reset(true, Some(PATIENCE));
        }
        wait_until("the device to be empty", PATIENCE, || {
            device.status().is_ok_and(|status| {
                let pending = status.queued + status.taken + status.draining;
                status.state == State::Empty && pending + status.workers + status.waiting == 0
            })
        })
        .with_context(|| format!("{:?}", device.status()))?;
        every_request_ended(&device.status()?).with_context(|| format!("device {number}"))?;
    }
    Ok(())
}

/// Every device makes a disk that reads back what was written.
fn serves() -> Result<()> {
    const BYTES: u64 = 4 << 20;
    const PIECE: usize = 64 << 10;
    for number in Device::numbers()? {
        let device = Device::open(number.to_string())?;
        let path = device.disk_path();
        device.setup(&Setup::new(BYTES))?;
        let worker = Worker::new(Device::open(number.to_string())?).harden(false);
        let stop = worker.stop_handle();
        let memory = format!("after-{number}");
        let backend = Ram::open(&memory, BYTES)?;
        let server = thread::spawn(move || worker.run(backend));
        let used = (|| -> Result<()> {
            wait_until("the disk's node", PATIENCE, || path.exists())?;
            let disk = Direct::open(&path)?;
            let piece =
                |at: usize| -> Vec<u8> { (0..PIECE).map(|byte| (byte ^ (at * 7)) as u8).collect() };
            for at in 0..16 {
                disk.write((at * PIECE) as u64, &piece(at))?;
            }
            disk.flush()?;
            for at in 0..16 {
                let back = disk.read((at * PIECE) as u64, PIECE)?;
                ensure!(back == piece(at), "piece {at} reads back differently");
            }
            Ok(())
        })();
        stop.stop();
        let _ = device.reset(true, Some(PATIENCE));
        let served = server.join();
        Ram::remove(&memory)?;
        used.with_context(|| format!("device {number}"))?;
        ensure!(served.is_ok(), "the worker panicked");
    }
    Ok(())
}

/// The module goes, nothing of it is left, and it comes again.
fn unloads() -> Result<()> {
    if !Path::new(MODULE).exists() {
        return Ok(());
    }
    // udevd may have a node open for a moment.
    wait_for("the module to go", PATIENCE, || {
        let said = Command::new("rmmod").arg("abuse").output()?;
        Ok(said.status.success().then_some(()))
    })?;
    for left in ["/sys/module/abuse", "/sys/class/abuse", "/sys/block/abuse0"] {
        ensure!(!Path::new(left).exists(), "{left} was left");
    }
    let said = Command::new("insmod").arg(MODULE).output()?;
    if !said.status.success() {
        bail!("insmod: {}", String::from_utf8_lossy(&said.stderr));
    }
    wait_until("the control nodes", PATIENCE, || {
        Device::numbers().is_ok_and(|numbers| !numbers.is_empty())
    })
}

/// The kernel has as much memory as before.
fn nothing_leaked(before: i64) -> Result<()> {
    // With kmemleak the numbers mean little; it knows better, and its lines fail the run.
    if Path::new("/sys/kernel/debug/kmemleak").exists() {
        return Ok(());
    }
    // Some is let go of after a grace period only, or when udevd has looked.
    let grown = || -> Result<i64> { Ok(kernel_memory::kilobytes()? - before) };
    let last = wait_for("memory to come back", Duration::from_secs(20), || {
        Ok(Some(grown()?).filter(|&grown| grown < TOLERANCE))
    });
    match last {
        Ok(_) => Ok(()),
        Err(_) => bail!("{} kB more than before", grown()?),
    }
}
