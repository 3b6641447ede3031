// SPDX-License-Identifier: MIT

//! Below /sys/class/abuse/abctlN the driver says the same as in the status: to everybody what the device
//! is and how it was set up, to root alone what is asked of it. Nothing there can be written.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use abuse::{Operation, Setup, Status};
use anyhow::{ensure, Context, Result};

use crate::kit::{Answer, Direct, Guest, PATIENCE};

const NOBODY: [&str; 4] = [
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
];

/// What everybody may read, and what only root may.
const OPEN: [&str; 21] = [
    "name",
    "state",
    "sequence",
    "epoch",
    "config/size",
    "config/logical_block",
    "config/physical_block",
    "config/io_min",
    "config/io_opt",
    "config/max_bytes",
    "config/max_segments",
    "config/depth",
    "config/queues",
    "config/discard_granularity",
    "config/max_discard_bytes",
    "config/max_attempts",
    "config/lease_ns",
    "config/no_server_ns",
    "config/features",
    "config/policies",
    "config/adjusted",
];
const SECRET: [&str; 19] = [
    "load/queued",
    "load/taken",
    "load/draining",
    "load/forwarding",
    "load/oldest_queued_ns",
    "load/oldest_taken_ns",
    "load/workers",
    "load/waiting",
    "load/openers",
    "load/errors",
    "load/stale",
    "load/refused",
    "load/unflushed",
    "ops/read",
    "ops/write",
    "ops/flush",
    "ops/discard",
    "ops/write_zeroes",
    "ops/secure_erase",
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let keys = "size=16M,bs=512,depth=64,discard,write_zeroes,wt,max_bytes=1G,lease=1h,\
                no_server=2h,max_attempts=3,requeue_on_close=no";
    let disk = guest.disk(keys)?;
    let place = node(disk.device().number());

    let found = files(&place)?;
    let expected: BTreeSet<PathBuf> = OPEN.iter().chain(&SECRET).map(PathBuf::from).collect();
    ensure!(found == expected, "{found:?}, not {expected:?}");
    for (files, mode) in [(&OPEN[..], 0o444), (&SECRET[..], 0o440)] {
        for file in files {
            let is = fs::metadata(place.join(file))?.permissions().mode() & 0o7777;
            ensure!(is == mode, "{file}: {is:o}, not {mode:o}");
            let wrote = fs::OpenOptions::new().write(true).open(place.join(file));
            ensure!(wrote.is_err(), "{file} can be written");
        }
    }

    let status = disk.status()?;
    says(&place, "state", "ready")?;
    says(&place, "name", "")?;
    config(&place, disk.setup(), &status)?;
    says(
        &place,
        "config/features",
        "write_through no_fua discard write_zeroes",
    )?;
    says(&place, "config/policies", "keep_on_close")?;
    says(&place, "config/adjusted", "max_bytes fua")?;

    let file = Direct::open(disk.path())?;
    let mut puppet = disk.puppet()?;
    let (one, two) = (file.start_read(0, 4096), file.start_read(8192, 4096));
    disk.wait_queued(2)?;
    let held = puppet.take_one()?;
    disk.wait_status("udevd to be told", |status| status.state.name() == "live")?;
    says(&place, "state", "live")?;
    load(&place, &disk.status()?)?;
    for file in ["load/oldest_queued_ns", "load/oldest_taken_ns"] {
        ensure!(read(&place, file)? != "0", "{file} says that there is none");
    }
    for name in ["load/queued", "load/taken", "load/workers"] {
        says(&place, name, "1")?;
    }
    puppet.put(&held, Answer::Fill(1))?;
    let held = puppet.take_one()?;
    puppet.put(&held, Answer::Error)?;
    let ends = [one.finish(PATIENCE)?, two.finish(PATIENCE)?];
    ensure!(ends.iter().filter(|end| end.is_ok()).count() == 1);
    let status = disk.status()?;
    load(&place, &status)?;
    let reads = status.counts(Operation::Read);
    ensure!(
        (reads.done, reads.failed, reads.bytes) == (1, 1, 4096),
        "{reads:?}"
    );
    ensure!(
        reads.total > reads.service && !reads.service.is_zero(),
        "no times, or none that it waited: {reads:?}"
    );

    // Nobody reads what anybody may, and nothing of what is asked.
    for file in OPEN {
        let said = nobody(guest, &place.join(file))?;
        ensure!(said.is_some(), "{file} is hidden");
    }
    for file in SECRET {
        let said = nobody(guest, &place.join(file))?;
        ensure!(said.is_none(), "nobody learns of {file}: {said:?}");
    }

    drop(file);
    disk.device().reset(true, Some(PATIENCE))?;
    says(&place, "state", "empty")?;
    says(&place, "config/size", "0")?;
    says(&place, "config/features", "")?;
    load(&place, &disk.status()?)?;
    let version = fs::read_to_string("/sys/module/abuse/version")?;
    ensure!(version.trim() == status.driver_version, "{version}");
    drop(quiet);
    Ok(())
}

fn node(number: u32) -> PathBuf {
    PathBuf::from(format!("/sys/class/abuse/abctl{number}"))
}

/// All files there are but those of every device in sysfs, and of the disk.
fn files(place: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        match name.as_str() {
            "dev" | "uevent" | "power" | "subsystem" => {}
            disk if disk.starts_with("abuse") => {}
            _ if entry.file_type()?.is_dir() => {
                for inner in fs::read_dir(entry.path())? {
                    found.insert(Path::new(&name).join(inner?.file_name()));
                }
            }
            _ => {
                found.insert(name.into());
            }
        }
    }
    Ok(found)
}

fn read(place: &Path, file: &str) -> Result<String> {
    let text = fs::read_to_string(place.join(file)).with_context(|| file.to_string())?;
    let line = text
        .strip_suffix('\n')
        .with_context(|| format!("{file}: no line"))?;
    Ok(line.to_string())
}

fn says(place: &Path, file: &str, expected: impl ToString) -> Result<()> {
    let (said, expected) = (read(place, file)?, expected.to_string());
    ensure!(said == expected, "{file} says '{said}', not '{expected}'");
    Ok(())
}

fn config(place: &Path, setup: &Setup, status: &Status) -> Result<()> {
    says(place, "sequence", status.sequence)?;
    says(place, "epoch", status.epoch)?;
    let nanoseconds = |time: Option<std::time::Duration>| time.map_or(0, |time| time.as_nanos());
    for (name, value) in [
        ("size", u128::from(setup.bytes)),
        ("logical_block", setup.logical_block.into()),
        ("physical_block", setup.physical_block.into()),
        ("io_min", setup.io_min.into()),
        ("io_opt", setup.io_opt.into()),
        ("max_bytes", setup.max_bytes.into()),
        ("max_segments", setup.max_segments.into()),
        ("depth", setup.depth.into()),
        ("queues", setup.queues.into()),
        ("discard_granularity", setup.discard_granularity.into()),
        ("max_discard_bytes", setup.max_discard_bytes.into()),
        ("max_attempts", setup.max_attempts.into()),
        ("lease_ns", nanoseconds(setup.lease)),
        ("no_server_ns", nanoseconds(setup.no_server)),
    ] {
        says(place, &format!("config/{name}"), value)?;
    }
    Ok(())
}

/// What does not change by itself.
fn load(place: &Path, status: &Status) -> Result<()> {
    for (name, value) in [
        ("queued", u64::from(status.queued)),
        ("taken", status.taken.into()),
        ("draining", status.draining.into()),
        ("forwarding", status.forwarding.into()),
        ("workers", status.workers.into()),
        ("waiting", status.waiting.into()),
        ("openers", status.openers.into()),
        ("errors", status.errors.into()),
        ("stale", status.stale),
        ("refused", status.refused),
        ("unflushed", status.unflushed),
    ] {
        says(place, &format!("load/{name}"), value)?;
    }
    for operation in Operation::ALL {
        let counts = status.counts(operation);
        let line = format!(
            "{} {} {} {} {} {} {} {}",
            counts.queued,
            counts.taken,
            counts.done,
            counts.requeued,
            counts.failed,
            counts.bytes,
            counts.total.as_nanos(),
            counts.service.as_nanos()
        );
        let file = format!("ops/{}", operation.name().replace('-', "_"));
        says(place, &file, line)?;
    }
    Ok(())
}

/// What a user without rights reads there.
fn nobody(guest: &Guest, file: &Path) -> Result<Option<String>> {
    let cat = guest.command("setpriv").args(NOBODY).arg("cat").arg(file);
    let output = cat.run()?;
    ensure!(
        output.status.success() || output.stderr.contains("Permission denied"),
        "{}: {}",
        file.display(),
        output.stderr
    );
    Ok(output.status.success().then_some(output.stdout))
}
