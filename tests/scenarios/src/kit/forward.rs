// SPDX-License-Identifier: MIT

//! Requests that are forwarded, and a place where they stay under way for as long as it takes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use abuse::{Device, Outcome, Request, Take};
use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::mount::LoopDevice;
use super::{wait_for, Guest, Layer, Pending, PATIENCE};

/// The next request, without its data.
pub fn take(device: &Device) -> Result<Request> {
    let options = Take {
        timeout: Some(PATIENCE),
        no_data: true,
        ..Take::default()
    };
    let mut taken = device.take(&options)?;
    taken.pop().context("no request came")
}

/// Answers what still comes until that work is over, well: an fsync behind a durable write, say.
pub fn serve_until_over<T: Send + 'static>(device: &Device, work: &mut Pending<T>) -> Result<()> {
    let options = Take {
        timeout: Some(Duration::from_millis(20)),
        no_data: true,
        ..Take::default()
    };
    wait_for("the work", PATIENCE, || {
        for request in device.take(&options)? {
            request.complete(Outcome::Done)?;
        }
        Ok(work.is_over().then_some(()))
    })
}

/// A block device that answers only when it is told to.
pub struct Stuck<'g> {
    layer: Layer<'g>,
    _below: LoopDevice<'g>,
}

impl<'g> Stuck<'g> {
    /// With so many bytes. It answers at first.
    pub fn new(guest: &'g Guest, bytes: u64) -> Result<Stuck<'g>> {
        let below = guest.loop_device(&guest.file("stuck.img"), bytes)?;
        Ok(Stuck {
            layer: Layer::linear(guest, below.path(), bytes)?,
            _below: below,
        })
    }

    /// Its node.
    pub fn path(&self) -> &Path {
        self.layer.path()
    }

    /// It is open, past the page cache if `direct`.
    pub fn open(&self, direct: bool) -> Result<File> {
        let flags = match direct {
            true => OFlag::O_DIRECT,
            false => OFlag::empty(),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.bits());
        Ok(options.open(self.path())?)
    }

    /// It answers no more.
    pub fn hold(&self) -> Result<()> {
        self.layer.suspend()
    }

    /// It answers again, what came meanwhile too.
    pub fn go_on(&self) -> Result<()> {
        self.layer.resume()
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        // Else nothing that waits for it ever ends.
        let _ = self.go_on();
    }
}
