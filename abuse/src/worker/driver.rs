// SPDX-License-Identifier: MIT

//! What a worker needs of a driver; the tests have one of their own.

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::sys::ioctl::{self, Call, Reply};
use crate::{Device, Status};

/// Where requests come from. Called from all threads of a worker.
pub(super) trait Driver: Sync {
    /// Completes requests, then takes new ones. EINTR only if nothing took effect.
    fn exchange(&self, call: Call<'_>) -> nix::Result<Reply>;

    /// The device as it is now.
    fn status(&self) -> Result<Status>;

    /// The device's name in messages.
    fn label(&self) -> String;

    /// What an errno of [`Driver::exchange`] means.
    fn failure(&self, errno: Errno) -> Error {
        super::failure(self.label(), errno)
    }
}

impl Driver for Device {
    fn exchange(&self, call: Call<'_>) -> nix::Result<Reply> {
        ioctl::exchange(self.fd(), call)
    }

    fn status(&self) -> Result<Status> {
        Device::status(self)
    }

    fn label(&self) -> String {
        self.name().to_string()
    }
}
