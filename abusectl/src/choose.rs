// SPDX-License-Identifier: MIT

//! Finds and opens the device a verb is about, and says what to do when there is none.

use std::path::Path;
use std::time::Duration;

use abuse::{Device, State, Status};

use crate::errno::{EACCES, EBUSY, EINPROGRESS, ENODEV, ENOENT, ENXIO, EPERM, ETIMEDOUT};
use crate::failure::{Code, Failure};
use crate::parse::dev::{self, Target};
use crate::parse::words;

/// The argument DEV of most verbs.
#[derive(Debug, clap::Args)]
pub struct Dev {
    /// /dev/abctlN, /dev/abuseN, N or its name; may be left out where exactly one device makes sense
    #[arg(value_name = "DEV", value_parser = dev::dev)]
    pub target: Option<Target>,
}

/// Arguments of verbs that wait for a disk.
#[derive(Debug, clap::Args)]
pub struct Wait {
    #[command(flatten)]
    dev: Dev,
    /// Give up after TIME (5s, 250ms), with exit code 124
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    pub timeout: Option<Duration>,
}

impl Wait {
    /// The device, its name, and how it is doing; refuses one that is not set up.
    pub fn open(&self) -> Result<(Device, String, Status), Failure> {
        let device = open(self.dev.target.as_ref(), Want::SetUp, Access::Read)?;
        let name = device.control_path().display().to_string();
        let status = set_up(&device)?;
        Ok((device, name, status))
    }
}

/// Which device is meant when none is named and there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The one that is set up.
    SetUp,
    /// The one that is not.
    Empty,
}

/// What the descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Looking.
    Read,
    /// Changing something.
    Write,
}

/// Opens the device that is meant, or the only one that makes sense.
pub fn open(target: Option<&Target>, want: Want, access: Access) -> Result<Device, Failure> {
    let path = match target {
        Some(target) => target.to_string(),
        None => Target::Number(only(want)?).to_string(),
    };
    let opened = match access {
        Access::Read => Device::open_read_only(&path),
        Access::Write => Device::open(&path),
    };
    opened.map_err(|error| match error.errno() {
        Some(ENOENT | ENXIO | ENODEV) => no_device(&path, &error),
        Some(EACCES | EPERM) => Failure::new(Code::Failed, &error)
            .hint("Run it as root, or as a member of the group that owns the node (disk)."),
        _ => error.into(),
    })
}

fn only(want: Want) -> Result<u32, Failure> {
    let numbers = Device::numbers()?;
    match numbers[..] {
        [] => return Err(none_at_all()),
        [number] => return Ok(number),
        _ => (),
    }
    let mut fitting = Vec::new();
    for &number in &numbers {
        let target = Target::Number(number);
        let set_up = open(Some(&target), want, Access::Read)?.status()?.state != State::Empty;
        if set_up == (want == Want::SetUp) {
            fitting.push(number);
        }
    }
    pick(&fitting, numbers.len(), want)
}

fn pick(fitting: &[u32], all: usize, want: Want) -> Result<u32, Failure> {
    let (what, example) = match (fitting, want) {
        ([number], _) => return Ok(*number),
        ([], Want::SetUp) => {
            return Err(
                Failure::new(Code::Nothing, format!("none of {all} devices is set up"))
                    .hint("Set one up: abusectl setup /dev/abctl0 size=1G"),
            );
        }
        ([], Want::Empty) => (format!("none of {all} is free"), 0),
        ([first, ..], Want::SetUp) => (format!("{} are set up", fitting.len()), *first),
        ([first, ..], Want::Empty) => (format!("{} are free", fitting.len()), *first),
    };
    Err(
        Failure::usage(format!("which device? {what}")).hint(format!(
            "Name one, as in /dev/abctl{example}; 'abusectl list' shows them."
        )),
    )
}

/// Whether the driver is loaded.
pub fn driver_is_loaded() -> bool {
    Path::new("/sys/module/abuse").exists()
}

/// How to load the driver.
pub const LOAD_HINT: &str =
    "Load the driver: modprobe abuse. If it is not installed: make && sudo make install.";

/// A device that is not there, as the system said.
fn no_device(path: &str, error: &abuse::Error) -> Failure {
    let what = match path.starts_with('/') {
        true => format!("{path}: No such file or directory"),
        false => error.to_string(),
    };
    let failure = Failure::new(Code::NoDevice, what);
    match driver_is_loaded() {
        true => failure.hint(
            "The driver is loaded, but has no such device; 'abusectl list' shows what there is.",
        ),
        false => failure.hint(LOAD_HINT),
    }
}

/// There is not one device.
pub fn none_at_all() -> Failure {
    let failure = Failure::new(Code::NoDevice, "there are no devices");
    match driver_is_loaded() {
        true => failure.hint("Add one: abusectl add"),
        false => failure.hint(LOAD_HINT),
    }
}

/// The state of a device that must be set up.
pub fn set_up(device: &Device) -> Result<Status, Failure> {
    let status = device.status()?;
    match status.state {
        State::Empty => Err(not_set_up(device)),
        _ => Ok(status),
    }
}

/// A device that is not set up.
pub fn not_set_up(device: &Device) -> Failure {
    let path = device.control_path().display().to_string();
    Failure::new(Code::Nothing, format!("{path}: the device is not set up"))
        .hint(format!("Set it up: abusectl setup {path} size=1G"))
}

impl From<abuse::Error> for Failure {
    /// The exit code an error of the driver stands for. Verbs whose errno means something else
    /// look at it first.
    fn from(error: abuse::Error) -> Self {
        let (code, hint) = match error.errno() {
            Some(ENXIO) => (Code::Nothing, Some("Set it up: abusectl setup DEV size=1G")),
            Some(ENODEV) => (
                Code::NoDevice,
                Some("The device was removed; 'abusectl list' shows what there is."),
            ),
            Some(EBUSY) => (Code::Busy, None),
            Some(ETIMEDOUT | EINPROGRESS) => (Code::TimedOut, None),
            Some(EACCES | EPERM) => (Code::Failed, Some("Run it as root.")),
            _ => (Code::Failed, None),
        };
        let failure = Failure::new(code, &error);
        match error.hint().or(hint) {
            Some(hint) => failure.hint(sentence(hint)),
            None => failure,
        }
    }
}

/// The crate's hints are parts of sentences; here they are lines of their own.
pub fn sentence(hint: &str) -> String {
    let mut chars = hint.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let end = if hint.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_becomes_a_sentence() {
        assert_eq!(sentence("reset it first"), "Reset it first.");
        assert_eq!(sentence("Done."), "Done.");
    }

    #[test]
    fn exactly_one_fitting_device_needs_no_name() {
        assert_eq!(pick(&[3], 8, Want::SetUp), Ok(3));
        for (fitting, want, code) in [
            (&[1, 2][..], Want::SetUp, Code::Usage),
            (&[1, 2], Want::Empty, Code::Usage),
            (&[], Want::Empty, Code::Usage),
            (&[], Want::SetUp, Code::Nothing),
        ] {
            let failure = pick(fitting, 8, want).expect_err("ambiguous");
            assert_eq!(failure.code(), code);
        }
    }

    #[test]
    fn a_missing_device_says_how_to_get_one() {
        assert_eq!(none_at_all().code(), Code::NoDevice);
    }
}
