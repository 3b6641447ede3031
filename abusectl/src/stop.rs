// SPDX-License-Identifier: MIT

//! Taking a disk away, by `reset` or with its device by `remove`: not from under somebody, and not
//! before what was written is durable. `--force` skips both, and says what that costs.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use abuse::{Device, Status};

use crate::choose;
use crate::failure::{Code, Failure};
use crate::human;
use crate::parse::dev::{self, Target};
use crate::parse::words;
use crate::users::Users;

/// Arguments of `reset` and `remove`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct Args {
    /// /dev/abctlN, /dev/abuseN, N or its name
    #[arg(value_name = "DEV", value_parser = dev::dev, group = "which")]
    devices: Vec<Target>,
    /// Every device there is, or every disk
    #[arg(long, group = "which")]
    pub all: bool,
    /// Do it although it is open, mounted, held, has requests pending, or cannot be flushed: what is
    /// pending ends with an I/O error
    #[arg(short, long)]
    pub force: bool,
    /// Unmount it first, wherever it is mounted
    #[arg(long)]
    unmount: bool,
    /// How long to wait until the disk is flushed, and then until it is gone
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = words::duration)]
    pub timeout: Duration,
}

impl Args {
    /// Does it to one device after the other; the first failure decides the exit code.
    pub fn each(&self, one: impl Fn(&Target) -> Result<(), Failure>) -> Result<(), Failure> {
        let targets = match self.all {
            true => Device::numbers()?.into_iter().map(Target::Number).collect(),
            false => self.devices.clone(),
        };
        if targets.is_empty() && !choose::driver_is_loaded() {
            return Err(choose::none_at_all());
        }
        let mut failed = None;
        for target in &targets {
            match one(target) {
                // Somebody else removed it since all were counted.
                Err(failure) if self.all && failure.code() == Code::NoDevice => {}
                Err(failure) => {
                    failure.report();
                    failed.get_or_insert(failure.code());
                }
                Ok(()) => {}
            }
        }
        failed.map_or(Ok(()), |code| Err(Failure::silent(code)))
    }

    /// Makes a device ready to be stopped, or says what force takes away, as the end of a sentence.
    pub fn prepare(&self, device: &Device, stop: Stop) -> Result<String, Failure> {
        if self.unmount {
            unmount(device, stop, self.timeout)?;
        }
        if self.force {
            return losses(device);
        }
        prepare(device, stop, self.timeout)?;
        Ok(String::new())
    }
}

/// What stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The disk goes.
    Reset,
    /// The device goes, too.
    Remove,
}

impl Stop {
    fn verb(self) -> &'static str {
        match self {
            Stop::Reset => "reset",
            Stop::Remove => "remove",
        }
    }

    /// `resets it`
    fn does(self) -> &'static str {
        match self {
            Stop::Reset => "resets it",
            Stop::Remove => "removes it",
        }
    }
}

/// udev looks at a new disk, and at one that was written to: it has it open for a moment.
const GLANCE: Duration = Duration::from_secs(1);
/// How often to see whether something is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Makes a device ready to be stopped: nobody uses it, and what was written is durable.
fn prepare(device: &Device, stop: Stop, timeout: Duration) -> Result<(), Failure> {
    refuse_while_used(device, stop, timeout)?;
    let status = device.status()?;
    if status.unflushed > 0 {
        flush(device, &status, stop, timeout)?;
        // Whoever flushed has closed it; udev may look again.
        refuse_while_used(device, stop, timeout)?;
    }
    Ok(())
}

/// The refusal of the driver: somebody came between the look and the stop, or uses it where nobody
/// can see.
pub fn still_used(device: &Device, stop: Stop, error: abuse::Error) -> Failure {
    match refuse_while_used(device, stop, Duration::ZERO) {
        Err(failure) => failure,
        Ok(()) => error.into(),
    }
}

/// What --force takes away, as the end of a sentence.
fn losses(device: &Device) -> Result<String, Failure> {
    let status = device.status()?;
    let mut lost: Vec<String> = uses(&status, Users::of(device.number()))
        .iter()
        .map(Use::to_string)
        .collect();
    if status.unflushed > 0 {
        let changes = human::count(status.unflushed, "write");
        lost.push(format!("not flushed ({changes})"));
    }
    Ok(match lost.is_empty() {
        true => String::new(),
        false => format!("; it was {}", lost.join(", ")),
    })
}

/// A stop that goes on behind our back.
pub fn draining(name: &str, stop: Stop, what: &str, timeout: Duration) -> Failure {
    let time = human::age(timeout);
    let (gone, step) = match stop {
        Stop::Reset => ("disk", "'abusectl info' shows how far it is"),
        Stop::Remove => ("device", "its number is free when it is over"),
    };
    Failure::new(
        Code::TimedOut,
        format!(
            "{name}: the {gone} is not gone after {time}: {what} still in the middle of a copy"
        ),
    )
    .hint(format!("The {} goes on by itself; {step}.", stop.verb()))
}

/// Refuses a device in use. One that is merely open gets a moment to be closed, by somebody who reads
/// from it, perhaps.
fn refuse_while_used(device: &Device, stop: Stop, timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout.min(GLANCE);
    loop {
        let uses = uses(&device.status()?, Users::of(device.number()));
        if uses.is_empty() {
            return Ok(());
        }
        let glance = matches!(uses[..], [Use::Open(_)] | [Use::Open(_), Use::Pending(_)]);
        if !glance || Instant::now() >= deadline {
            let name = device.control_path().display().to_string();
            return Err(busy(&name, stop, &uses));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Unmounts it everywhere, the last mount first; in processes of their own, as for a flush.
fn unmount(device: &Device, stop: Stop, timeout: Duration) -> Result<(), Failure> {
    let name = device.control_path().display().to_string();
    let refused = |code, at: &str, why: &str| {
        let what = format!(
            "{name}: {} failed: {at} cannot be unmounted: {why}",
            stop.verb()
        );
        Failure::new(code, what).hint(format!("End who uses it (fuser -vm '{at}' names them)."))
    };
    for at in Users::of(device.number()).mountpoints.iter().rev() {
        let mut command = Command::new("umount");
        command.arg("--").arg(at);
        match run_within(&mut command, timeout) {
            Err(error) => return Err(refused(Code::Failed, at, &crate::failure::cause(&error))),
            Ok(None) => {
                let why = format!("not done in {}", human::age(timeout));
                return Err(refused(Code::TimedOut, at, &why));
            }
            Ok(Some(output)) if !output.status.success() => {
                return Err(refused(Code::Busy, at, last_words(&output)));
            }
            Ok(Some(_)) => {}
        }
    }
    Ok(())
}

/// What a program that ended has said; `None`: it did not end in time, and was killed.
fn run_within(command: &mut Command, timeout: Duration) -> io::Result<Option<Output>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + timeout;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            // It is not waited for: whoever waits for a disk ends with that.
            let _ = child.kill();
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
    child.wait_with_output().map(Some)
}

/// The cause at the end of what it complained about.
fn last_words(output: &Output) -> &str {
    let words = std::str::from_utf8(&output.stderr).unwrap_or_default();
    words.trim().rsplit(": ").next().unwrap_or_default()
}

/// Has the workers flush, in a process of its own: one that waits for a disk cannot end.
fn flush(device: &Device, status: &Status, stop: Stop, timeout: Duration) -> Result<(), Failure> {
    let name = device.control_path().display().to_string();
    if status.workers == 0 {
        return Err(unflushed(&name, stop, Code::Busy, "nobody serves the disk"));
    }
    let fail =
        |error: &io::Error| unflushed(&name, stop, Code::Failed, &crate::failure::cause(error));
    let mut command = Command::new("/proc/self/exe");
    command.arg("flush").arg(device.disk_path());
    match run_within(&mut command, timeout).map_err(|error| fail(&error))? {
        None => {
            let why = format!("no worker did it in {}", human::age(timeout));
            Err(unflushed(&name, stop, Code::TimedOut, &why))
        }
        Some(output) if output.status.success() => Ok(()),
        Some(output) => Err(unflushed(&name, stop, Code::Busy, last_words(&output))),
    }
}

fn unflushed(name: &str, stop: Stop, code: Code, why: &str) -> Failure {
    Failure::new(
        code,
        format!(
            "{name}: {} failed: what was written cannot be flushed: {why}",
            stop.verb()
        ),
    )
    .hint(format!(
        "Have a worker serve it (abusectl server); --force {} anyway, and writes that its backend \
         has not made durable may be lost.",
        stop.does()
    ))
}

/// Why a device is not to be stopped without --force.
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
fn busy(name: &str, stop: Stop, uses: &[Use]) -> Failure {
    let reasons: Vec<String> = uses.iter().map(Use::to_string).collect();
    let step = uses.first().map(Use::step).unwrap_or_default();
    let pending = uses.iter().find_map(|one| match one {
        Use::Pending(1) => Some("1 pending request ends".into()),
        Use::Pending(n) => Some(format!("{n} pending requests end")),
        _ => None,
    });
    let lost = pending.unwrap_or_else(|| "what is pending ends".into());
    Failure::new(
        Code::Busy,
        format!(
            "{name}: {} failed: Device or resource busy: {}",
            stop.verb(),
            reasons.join(", ")
        ),
    )
    .hint(format!(
        "{step}; --force {} anyway, and {lost} with an I/O error.",
        stop.does()
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
        let failure = busy("/dev/abctl0", Stop::Reset, &uses);
        assert_eq!(failure.code(), Code::Busy);
        assert_eq!(
            failure.text(),
            "/dev/abctl0: reset failed: Device or resource busy: mounted on /srv/a b, \
             held by /dev/mapper/secret, 2 requests pending\n\
             Unmount it: umount '/srv/a b'; --force resets it anyway, and 2 pending requests end with an I/O error."
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
            let text = busy("/dev/abctl0", Stop::Reset, &[reason]).text();
            assert!(text.contains(step), "{text}");
        }
    }
}
