// SPDX-License-Identifier: MIT

//! `reset DEV…`: ends everything pending with an error and removes the disk.
//!
//! The one verb that loses data, so it names what it would take the disk from, and wants its
//! devices named.

use abuse::State;

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINPROGRESS, ENXIO};
use crate::failure::Failure;
use crate::parse::dev::Target;
use crate::stop::{self, Stop};
use crate::{human, out};

pub use crate::stop::Args;

/// Resets one device after the other.
pub fn run(args: &Args) -> Result<(), Failure> {
    args.each(|target| one(target, args))
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
    let lost = args.prepare(&device, stop)?;
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
