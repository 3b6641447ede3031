// SPDX-License-Identifier: MIT

//! `remove DEV…`: takes devices away, with their disks.
//!
//! A device is looked at first and removed by its number and its sequence: whatever gets the number
//! in between is spared.

use abuse::Registry;

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINPROGRESS, ENODEV, ESTALE};
use crate::failure::{Code, Failure};
use crate::parse::dev::Target;
use crate::stop::{self, Stop};
use crate::verb::add;
use crate::{human, out};

pub use crate::stop::Args;

/// Removes one device after the other.
pub fn run(args: &Args) -> Result<(), Failure> {
    let registry = add::registry()?;
    args.each(|target| one(&registry, target, args))
}

fn one(registry: &Registry, target: &Target, args: &Args) -> Result<(), Failure> {
    let device = choose::open(Some(target), Want::SetUp, Access::Read)?;
    let name = device.control_path().display().to_string();
    let status = device.status()?;
    let stop = Stop::Remove;
    let lost = args.prepare(&device, stop)?;
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
