// SPDX-License-Identifier: MIT

//! Devices come and go: `/dev/abuse-control`.
//!
//! ```no_run
//! use abuse::{NewDevice, Registry};
//!
//! let registry = Registry::open()?;
//! let added = registry.add(&NewDevice::named("scratch"))?;
//! println!("/dev/abctl{} is there", added.number);
//!
//! // By number and sequence: never a stranger's device that got the same number meanwhile.
//! registry.remove(added.number, Some(added.sequence), false, None)?;
//! # Ok::<(), abuse::Error>(())
//! ```

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use super::{hint, nanoseconds, path, Device, ResetOutcome, Status};
use crate::error::{Error, Result};
use crate::{abi, sys};

const NODE: &str = "/dev/abuse-control";

/// Where devices are added and removed.
#[derive(Debug)]
pub struct Registry {
    file: File,
}

/// A device to be added. The default has the lowest number that is free, and no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewDevice {
    /// N of `/dev/abctlN`.
    pub number: Option<u32>,
    /// Another way to call it: up to 63 letters, digits and `._+-`, the first of them none of `.+-`,
    /// and nothing that means a number.
    pub name: Option<String>,
}

impl NewDevice {
    /// One with a name, and the lowest number that is free.
    pub fn named(name: impl Into<String>) -> NewDevice {
        NewDevice {
            number: None,
            name: Some(name.into()),
        }
    }

    /// One with this number.
    pub fn numbered(number: u32) -> NewDevice {
        NewDevice {
            number: Some(number),
            name: None,
        }
    }

    fn to_abi(&self) -> Result<abi::Add> {
        let mut raw = abi::Add {
            number: self.number.unwrap_or(abi::ANY_NUMBER),
            ..Default::default()
        };
        if let Some(name) = &self.name {
            if !path::is_name(name) {
                return Err(Error::refused(name, "add", "it is no name for a device").with_hint(
                    "a name has up to 63 letters, digits and ._+-, begins with none of .+-, and does not mean a number",
                ));
            }
            for (to, from) in raw.name.iter_mut().zip(name.bytes()) {
                *to = from;
            }
        }
        Ok(raw)
    }

    /// For messages.
    fn object(&self) -> String {
        match (&self.name, self.number) {
            (Some(name), Some(number)) => format!("/dev/abctl{number} ({name})"),
            (Some(name), None) => name.clone(),
            (None, Some(number)) => format!("/dev/abctl{number}"),
            (None, None) => NODE.into(),
        }
    }

    fn error(&self, errno: Errno) -> Error {
        let which = match (&self.name, self.number) {
            (Some(_), Some(_)) => "number or name",
            (Some(_), None) => "name",
            _ => "number",
        };
        let meaning = match errno {
            Errno::EEXIST => format!("a device has this {which} already"),
            Errno::EBUSY => format!("the device that had this {which} is still being removed"),
            Errno::ENOSPC => "there are as many devices as there may be, or no such number".into(),
            _ => return hint::error(self.object(), "add", errno),
        };
        let error = Error::explained(self.object(), "add", errno, meaning);
        match hint::hint("add", errno) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// A device that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// N of `/dev/abctlN`.
    pub number: u32,
    /// Tells it from every other device that has, had or will have this number.
    pub sequence: u64,
}

impl Registry {
    /// Opens it. For that one must be root.
    pub fn open() -> Result<Registry> {
        let options = OpenOptions::new().read(true).write(true).open(NODE);
        let file = options.map_err(|error| match error.raw_os_error() {
            Some(errno @ (libc::EACCES | libc::EPERM)) => {
                Error::new(NODE, "open", Errno::from_raw(errno)).with_hint("be root")
            }
            Some(errno) => hint::error(NODE, "open", Errno::from_raw(errno)),
            None => Error::new(NODE, "open", error),
        })?;
        Ok(Registry { file })
    }

    /// Adds a device; its control node is there when this returns.
    ///
    /// EEXIST: another device has the number or the name. EBUSY: another that had it is not gone yet.
    /// ENOSPC: there are as many as there may be.
    pub fn add(&self, device: &NewDevice) -> Result<Added> {
        let mut raw = device.to_abi()?;
        sys::ioctl::add(self.file.as_fd(), &mut raw).map_err(|errno| device.error(errno))?;
        Ok(Added {
            number: raw.number,
            sequence: raw.sequence,
        })
    }

    /// Removes a device with its disk. Everybody who waits for it, or asks anything of it later, gets
    /// ENODEV. Never waits for a worker; with `wait` it waits until the number is free again.
    ///
    /// Give the `sequence` of the device that is meant ([`Status::sequence`]), unless whichever has
    /// the number is. ESTALE: the number belongs to another device. ENODEV: to none. EBUSY: open,
    /// mounted or with requests pending, and not `force`. EINPROGRESS: not gone within `wait`; the
    /// removal goes on by itself.
    pub fn remove(
        &self,
        number: u32,
        sequence: Option<u64>,
        force: bool,
        wait: Option<Duration>,
    ) -> Result<ResetOutcome> {
        let mut raw = abi::Remove {
            flags: if force { abi::RM_FORCE } else { 0 },
            number,
            sequence: sequence.unwrap_or(0),
            timeout_ns: wait.map_or(0, nanoseconds),
            ..Default::default()
        };
        sys::ioctl::remove(self.file.as_fd(), &mut raw)
            .map_err(|errno| refusal(format!("/dev/abctl{number}"), errno))?;
        Ok(ResetOutcome {
            failed: raw.failed,
            draining: raw.draining,
        })
    }

    /// The devices there are, in the order of their numbers. Needs no [`Registry`], and no right to
    /// change anything.
    pub fn list() -> Result<Vec<Status>> {
        let mut found = Vec::new();
        for number in Device::numbers()? {
            let status =
                Device::open_read_only(number.to_string()).and_then(|device| device.status());
            match status {
                Ok(status) => found.push(status),
                // Removed since.
                Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ENOENT)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

fn refusal(object: String, errno: Errno) -> Error {
    let meaning = match errno {
        Errno::ESTALE => "its number belongs to another device by now",
        Errno::ENODEV => "there is no such device",
        _ => return hint::error(object, "remove", errno),
    };
    let error = Error::explained(object, "remove", errno, meaning);
    match hint::hint("remove", errno) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_one_is_refused_before_the_driver_is_asked() {
        for name in ["", "7", "abuse7", ".x", "-x", "a/b"] {
            let error = NewDevice::named(name).to_abi().unwrap_err();
            assert_eq!(error.errno(), None);
            assert!(error.hint().unwrap().contains("63 letters"), "{error}");
        }
        let raw = NewDevice::named("mine").to_abi().unwrap();
        assert_eq!(&raw.name[..6], b"mine\0\0");
        assert_eq!(raw.number, abi::ANY_NUMBER);
    }

    #[test]
    fn an_error_says_what_is_taken() {
        let both = NewDevice {
            number: Some(3),
            name: Some("mine".into()),
        };
        for (device, text) in [
            (
                NewDevice::numbered(3),
                "/dev/abctl3: add failed: a device has this number already",
            ),
            (
                NewDevice::named("mine"),
                "mine: add failed: a device has this name already",
            ),
            (
                both,
                "/dev/abctl3 (mine): add failed: a device has this number or name already",
            ),
        ] {
            let error = device.error(Errno::EEXIST);
            assert_eq!(error.to_string(), text);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_stranger_is_told_from_nobody() {
        let text = |errno| refusal("/dev/abctl3".into(), errno).to_string();
        assert!(text(Errno::ESTALE).ends_with("another device by now"));
        assert!(text(Errno::ENODEV).ends_with("no such device"));
        assert!(text(Errno::EBUSY).ends_with("Device or resource busy"));
    }
}
