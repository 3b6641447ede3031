// SPDX-License-Identifier: MIT

//! `remove DEV…`: takes devices away, with their disks.
//!
//! A device is looked at first and removed by its number and its sequence: whatever gets the number
//! in between is spared.

use std::time::Duration;

use abuse::{Device, Registry};

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINPROGRESS, ENODEV, ESTALE};
use crate::failure::{Code, Failure};
use crate::parse::dev::{self, Target};
use crate::parse::words;
use crate::stop::{self, Stop};
use crate::verb::add;
use crate::{human, out};

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Args {
    /// /dev/abctlN, /dev/abuseN, N or its name
    #[arg(value_name = "DEV", value_parser = dev::dev, group = "which")]
    devices: Vec<Target>,
    /// Remove every device
    #[arg(long, group = "which")]
    all: bool,
    /// Remove although it is open, mounted, held, has requests pending, or cannot be flushed
    #[arg(short, long)]
    force: bool,
    /// How long to wait until it is flushed, and then until it is gone
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = words::duration)]
    timeout: Duration,
}

/// Removes one device after the other; the first failure decides the exit code.
pub fn run(args: &Args) -> Result<(), Failure> {
    let targets = match args.all {
        true => Device::numbers()?.into_iter().map(Target::Number).collect(),
        false => args.devices.clone(),
    };
    if targets.is_empty() && !choose::driver_is_loaded() {
        return Err(choose::none_at_all());
    }
    let registry = add::registry()?;
    let mut failed = None;
    for target in &targets {
        match one(&registry, target, args) {
            // Somebody else was faster.
            Err(failure) if args.all && failure.code() == Code::NoDevice => {}
            Err(failure) => {
                failure.report();
                failed.get_or_insert(failure.code());
            }
            Ok(()) => {}
        }
    }
    failed.map_or(Ok(()), |code| Err(Failure::silent(code)))
}

fn one(registry: &Registry, target: &Target, args: &Args) -> Result<(), Failure> {
    let device = choose::open(Some(target), Want::SetUp, Access::Read)?;
    let name = device.control_path().display().to_string();
    let status = device.status()?;
    let stop = Stop::Remove;
    let lost = match args.force {
        true => stop::losses(&device)?,
        false => {
            stop::prepare(&device, stop, args.timeout)?;
            String::new()
        }
    };
    let (number, sequence) = (device.number(), Some(status.sequence));
    match registry.remove(number, sequence, args.force, Some(args.timeout)) {
        Ok(done) => {
            let failed = u64::from(done.failed) + u64::from(done.draining);
            let failed = human::count(failed, "request");
            out::line(&format!("{name}: removed, {failed} failed{lost}"))
        }
        Err(error) => Err(match error.errno() {
            Some(EBUSY) => stop::still_used(&device, stop, error),
            Some(EINPROGRESS) => stop::draining(&name, stop, "requests", args.timeout),
            // By somebody else, in this very moment.
            Some(ENODEV | ESTALE) => Failure::new(Code::NoDevice, &error)
                .hint(choose::sentence(error.hint().unwrap_or_default())),
            _ => error.into(),
        }),
    }
}
