// SPDX-License-Identifier: MIT

//! `reset DEV…`: ends everything pending with an error and removes the disk.
//!
//! The one verb that loses data, so it names what it would take the disk from, and wants its
//! devices named.

use std::time::Duration;

use abuse::{Device, State};

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINPROGRESS, ENXIO};
use crate::failure::{Code, Failure};
use crate::parse::dev::{self, Target};
use crate::parse::words;
use crate::stop::{self, Stop};
use crate::{human, out};

/// Arguments of `reset`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Args {
    /// /dev/abctlN, /dev/abuseN, N or its name
    #[arg(value_name = "DEV", value_parser = dev::dev, group = "which")]
    devices: Vec<Target>,
    /// Reset every device that is set up
    #[arg(long, group = "which")]
    all: bool,
    /// Reset although it is open, mounted, held, has requests pending, or cannot be flushed: what is
    /// pending ends with an I/O error
    #[arg(short, long)]
    force: bool,
    /// How long to wait until the disk is flushed, and then until it is gone
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = words::duration)]
    timeout: Duration,
}

/// Resets one device after the other; the first failure decides the exit code.
pub fn run(args: &Args) -> Result<(), Failure> {
    let targets = match args.all {
        true => Device::numbers()?.into_iter().map(Target::Number).collect(),
        false => args.devices.clone(),
    };
    if targets.is_empty() && !choose::driver_is_loaded() {
        return Err(choose::none_at_all());
    }
    let mut failed = None;
    for target in &targets {
        match one(target, args) {
            // Removed since all were counted.
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

fn one(target: &Target, args: &Args) -> Result<(), Failure> {
    let device = choose::open(Some(target), Want::SetUp, Access::Write)?;
    let name = device.control_path().display().to_string();
    if device.status()?.state == State::Empty {
        return match args.all {
            true => Ok(()),
            false => Err(choose::not_set_up(&device).hint("There is nothing to reset.")),
        };
    }
    let stop = Stop::Reset;
    let lost = match args.force {
        true => stop::losses(&device)?,
        false => {
            stop::prepare(&device, stop, args.timeout)?;
            String::new()
        }
    };
    match device.reset(args.force, Some(args.timeout)) {
        Ok(done) => {
            // What was in the middle of a copy ends with an error, too.
            let failed = u64::from(done.failed) + u64::from(done.draining);
            let failed = human::count(failed, "request");
            out::line(&format!("{name}: reset, {failed} failed{lost}"))?;
            // Counted when the reset began: only who did not wait is told of what goes on.
            match done.draining {
                left if left > 0 && args.timeout.is_zero() => Err(stop::draining(
                    &name,
                    stop,
                    &human::count(left.into(), "request"),
                    args.timeout,
                )),
                _ => Ok(()),
            }
        }
        Err(error) => match error.errno() {
            Some(EBUSY) => Err(stop::still_used(&device, stop, error)),
            Some(ENXIO) if args.all => Ok(()),
            Some(ENXIO) => Err(choose::not_set_up(&device).hint("There is nothing to reset.")),
            Some(EINPROGRESS) => Err(stop::draining(&name, stop, "requests", args.timeout)),
            _ => Err(error.into()),
        },
    }
}
