// SPDX-License-Identifier: MIT

//! `reset DEV…`: ends everything pending with an error and removes the disk.
//!
//! The one verb that loses data, so it names what it would take the disk from, and wants its
//! devices named.

use std::time::{Duration, Instant};
use std::{fmt, thread};

use abuse::{Device, State, Status};

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINPROGRESS, ENXIO};
use crate::failure::{Code, Failure};
use crate::parse::{dev, words};
use crate::users::Users;
use crate::{human, out};

/// Arguments of `reset`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Args {
    /// /dev/abctlN, /dev/abuseN or N
    #[arg(value_name = "DEV", value_parser = dev::dev, group = "which")]
    devices: Vec<u32>,
    /// Reset every device that is set up
    #[arg(long, group = "which")]
    all: bool,
    /// Reset although it is open, mounted, held or has requests pending: they end with an I/O error
    #[arg(short, long)]
    force: bool,
    /// How long to wait until the disk is gone
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = words::duration)]
    timeout: Duration,
}

/// Resets one device after the other; the first failure decides the exit code.
pub fn run(args: &Args) -> Result<(), Failure> {
    let numbers = match args.all {
        true => Device::numbers()?,
        false => args.devices.clone(),
    };
    if numbers.is_empty() && !choose::driver_is_loaded() {
        return Err(choose::no_device("/dev/abctl0"));
    }
    let mut failed = None;
    for number in numbers {
        if let Err(failure) = one(number, args) {
            failure.report();
            failed.get_or_insert(failure.code());
        }
    }
    failed.map_or(Ok(()), |code| Err(Failure::silent(code)))
}

fn one(number: u32, args: &Args) -> Result<(), Failure> {
    let device = choose::open(Some(number), Want::SetUp, Access::Write)?;
    let name = device.control_path().display().to_string();
    if device.status()?.state == State::Empty {
        return match args.all {
            true => Ok(()),
            false => Err(choose::not_set_up(&device).hint("There is nothing to reset.")),
        };
    }
    if !args.force {
        refuse_while_used(&device, args.timeout)?;
    }
    match device.reset(args.force, Some(args.timeout)) {
        Ok(done) => {
            // What was in the middle of a copy ends with an error, too.
            let failed = u64::from(done.failed) + u64::from(done.draining);
            let failed = human::count(failed, "request");
            out::line(&format!("{name}: reset, {failed} failed"))?;
            // Counted when the reset began: only who did not wait is told of what goes on.
            match done.draining {
                left if left > 0 && args.timeout.is_zero() => Err(draining(
                    &name,
                    &human::count(left.into(), "request"),
                    args.timeout,
                )),
                _ => Ok(()),
            }
        }
        Err(error) => match error.errno() {
            // Somebody came between the look and the reset, or uses it where nobody can see.
            Some(EBUSY) => {
                refuse_while_used(&device, Duration::ZERO)?;
                Err(error.into())
            }
            Some(ENXIO) if args.all => Ok(()),
            Some(ENXIO) => Err(choose::not_set_up(&device).hint("There is nothing to reset.")),
            Some(EINPROGRESS) => Err(draining(&name, "requests", args.timeout)),
            _ => Err(error.into()),
        },
    }
}

fn draining(name: &str, what: &str, timeout: Duration) -> Failure {
    let time = human::age(timeout);
    Failure::new(
        Code::TimedOut,
        format!("{name}: the disk is not gone after {time}: {what} still in the middle of a copy"),
    )
    .hint("The reset goes on by itself; 'abusectl info' shows how far it is.")
}

/// udev looks at a new disk, and at one that was written to: it has it open for a moment.
const GLANCE: Duration = Duration::from_secs(1);
/// How often to see whether it is closed again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Refuses a device in use. One that is merely open gets a moment to be closed.
fn refuse_while_used(device: &Device, timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout.min(GLANCE);
    loop {
        let uses = uses(&device.status()?, Users::of(device.number()));
        if uses.is_empty() {
            return Ok(());
        }
        if !matches!(uses[..], [Use::Open(_)]) || Instant::now() >= deadline {
            return Err(busy(&device.control_path().display().to_string(), &uses));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Why a device is not to be reset without --force.
#[derive(Debug, PartialEq)]
enum Use {
    Mounted(String),
    Swap(String),
    Held(String),
    Open(u32),
    Pending(u64),
}

impl Use {
    fn step(&self) -> String {
        match self {
            Use::Mounted(at) => format!("Unmount it: umount '{at}'"),
            Use::Swap(node) => format!("Stop swapping to it: swapoff {node}"),
            Use::Held(by) => format!("Stop {by} first"),
            Use::Open(_) => "Close whatever has the disk open (fuser -v names it)".into(),
            Use::Pending(_) => "Have a worker finish the requests (abusectl server)".into(),
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Mounted(at) => write!(f, "mounted on {at}"),
            Use::Swap(node) => write!(f, "{node} is swapped to"),
            Use::Held(by) => write!(f, "held by {by}"),
            Use::Open(times) => write!(f, "open ({})", human::count((*times).into(), "opener")),
            Use::Pending(n) => write!(f, "{} pending", human::count(*n, "request")),
        }
    }
}

fn uses(status: &Status, users: Users) -> Vec<Use> {
    let mounted = users.mountpoints.into_iter().map(Use::Mounted);
    let swaps = users.swaps.into_iter().map(Use::Swap);
    let held = users.holders.into_iter().map(Use::Held);
    let mut uses: Vec<Use> = mounted.chain(swaps).chain(held).collect();
    // Each of those has it open, too.
    if uses.is_empty() && status.openers > 0 {
        uses.push(Use::Open(status.openers));
    }
    if !status.is_idle() {
        let pending = [status.queued, status.taken, status.draining];
        uses.push(Use::Pending(pending.into_iter().map(u64::from).sum()));
    }
    uses
}

/// The refusal, with the step that clears its first reason.
fn busy(name: &str, uses: &[Use]) -> Failure {
    let reasons: Vec<String> = uses.iter().map(Use::to_string).collect();
    let step = uses.first().map(Use::step).unwrap_or_default();
    Failure::new(
        Code::Busy,
        format!(
            "{name}: reset failed: Device or resource busy: {}",
            reasons.join(", ")
        ),
    )
    .hint(format!(
        "{step}; --force resets it anyway, and what is pending ends with an I/O error."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_reason_and_the_first_step() {
        let uses = [
            Use::Mounted("/srv/a b".into()),
            Use::Held("/dev/mapper/secret".into()),
            Use::Pending(2),
        ];
        let failure = busy("/dev/abctl0", &uses);
        assert_eq!(failure.code(), Code::Busy);
        assert_eq!(
            failure.text(),
            "/dev/abctl0: reset failed: Device or resource busy: mounted on /srv/a b, \
             held by /dev/mapper/secret, 2 requests pending\n\
             Unmount it: umount '/srv/a b'; --force resets it anyway, and what is pending ends with an I/O error."
        );
    }

    #[test]
    fn every_reason_has_a_step_of_its_own() {
        for (reason, step) in [
            (Use::Swap("/dev/abuse0p2".into()), "swapoff /dev/abuse0p2"),
            (Use::Held("/dev/md0".into()), "Stop /dev/md0"),
            (Use::Open(1), "fuser"),
            (Use::Pending(1), "abusectl server"),
        ] {
            let text = busy("/dev/abctl0", &[reason]).text();
            assert!(text.contains(step), "{text}");
        }
    }
}
