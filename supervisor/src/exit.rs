// SPDX-License-Identifier: MIT
//! Exit statuses, the same as abusectl's, and errors that carry one.

/// Drained as asked.
pub const OK: u8 = 0;
/// It could not do its work, or left something behind.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The device is not set up, or was reset.
pub const NOT_SET_UP: u8 = 3;
/// There is no such device, or it was removed.
pub const NO_DEVICE: u8 = 4;
/// Another supervisor has this device.
pub const BUSY: u8 = 5;

/// An error and the exit status it ends with.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// What to tell.
    pub error: anyhow::Error,
}

impl Failure {
    /// With this status.
    pub fn new(status: u8, error: impl Into<anyhow::Error>) -> Failure {
        Failure {
            status,
            error: error.into(),
        }
    }

    /// A wrong command line.
    pub fn usage(message: String) -> Failure {
        Failure::new(USAGE, anyhow::Error::msg(message))
    }

    /// Somebody else has it.
    pub fn busy(message: String) -> Failure {
        Failure::new(BUSY, anyhow::Error::msg(message))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(FAILED, error)
    }
}
