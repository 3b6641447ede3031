// SPDX-License-Identifier: MIT

//! One device: open it, set it up, look at it, re-offer what a dead worker held, reset it.
//!
//! ```no_run
//! use abuse::{Device, Selection, Setup};
//!
//! let device = Device::open("/dev/abctl0")?;
//! let made = device.setup(&Setup { depth: 64, ..Setup::new(1 << 30) })?;
//! println!("{} has {} bytes", device.disk_path().display(), made.bytes);
//!
//! // A worker with process id 4711 was killed: offer what it had taken to the others.
//! println!("{} resumed", device.requeue(&Selection::pid(4711))?.requeued);
//! # Ok::<(), abuse::Error>(())
//! ```
//!
//! Nothing here connects: a [`Device`] is an open file, and dropping it changes nothing but that
//! what was taken through it is offered again (unless the device was set up otherwise).

mod hint;
mod path;
mod registry;
mod select;
mod setup;
mod status;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::error::{Error, Result};
use crate::{abi, sys};

pub use path::is_name;
pub use registry::{Added, NewDevice, Registry};
pub use select::{Reconnect, Reconnected, Requeued, ResetOutcome, Selection};
pub use setup::Setup;
pub use status::{OpCounts, Operation, State, Status};

/// An open control node. Clones share one open file.
#[derive(Clone, Debug)]
pub struct Device {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    file: File,
    path: PathBuf,
    number: u32,
}

impl Device {
    /// Opens a device to serve or to change it. `path` is `/dev/abctlN`, `/dev/abuseN`, `N`, or the
    /// name the device was added under.
    pub fn open(path: impl AsRef<Path>) -> Result<Device> {
        Device::open_as(path.as_ref(), true)
    }

    /// Opens a device only to look at it: [`Device::status`] works, whatever changes something is
    /// refused with EBADF.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Device> {
        Device::open_as(path.as_ref(), false)
    }

    fn open_as(name: &Path, write: bool) -> Result<Device> {
        let called = path::find(name)?;
        let path = called.node;
        let fail = |errno| hint::error(path.display(), "open", errno);
        // O_NONBLOCK says nothing to the driver; on a stray FIFO it keeps open() from waiting.
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .map_err(|error| match error.raw_os_error() {
                Some(errno) => fail(Errno::from_raw(errno)),
                None => Error::new(path.display(), "open", error),
            })?;
        // Ask who this is: the name may be a link, and another driver's node must not get ioctls
        // that mean something else to it.
        let status = match sys::ioctl::status(file.as_fd()) {
            Err(Errno::ENOTTY | Errno::EINVAL | Errno::ENOTSUP) => {
                return Err(Error::refused(
                    path.display(),
                    "open",
                    "it is not the control node of an ABUSE device",
                )
                .with_hint("control nodes are called /dev/abctlN"));
            }
            other => other.map_err(fail)?,
        };
        if status.abi_version != abi::ABI_VERSION {
            return Err(Error::refused(
                path.display(),
                "open",
                format!(
                    "the driver speaks version {} of the ABI, this program version {}",
                    status.abi_version,
                    abi::ABI_VERSION
                ),
            )
            .with_hint("load the module that was built together with this program"));
        }
        let status = Status::from_abi(&status);
        // Between the look and the opening the number may have come to another device.
        if called.name.is_some() && called.name != status.name {
            return Err(hint::error(name.display(), "open", Errno::ENODEV));
        }
        let number = status.number;
        Ok(Device {
            node: Arc::new(Node { file, path, number }),
        })
    }

    /// The numbers of all devices there are, in order.
    pub fn numbers() -> Result<Vec<u32>> {
        path::numbers_in(Path::new("/dev"))
    }

    /// N of `/dev/abctlN` and `/dev/abuseN`.
    pub fn number(&self) -> u32 {
        self.node.number
    }

    /// The control node: `/dev/abctlN`.
    pub fn control_path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/abctl{}", self.number()))
    }

    /// The disk: `/dev/abuseN`. It exists while the device is set up.
    pub fn disk_path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/abuse{}", self.number()))
    }

    /// Everything about the device. Always works, also on a device that is not set up.
    pub fn status(&self) -> Result<Status> {
        sys::ioctl::status(self.fd())
            .map(|raw| Status::from_abi(&raw))
            .map_err(|errno| self.error("status", errno))
    }

    /// Gives the device its shape; its disk appears. Returns what the driver made of the wishes;
    /// [`Setup::adjusted`] lists what it changed.
    ///
    /// EBUSY: it is set up already.
    pub fn setup(&self, setup: &Setup) -> Result<Setup> {
        let mut raw = setup.to_abi();
        sys::ioctl::setup(self.fd(), &mut raw).map_err(|errno| self.error("setup", errno))?;
        Ok(Setup::from_abi(&raw))
    }

    /// Offers requests that were taken to the workers again, in the order they came.
    ///
    /// EBUSY: all there was to re-offer are writes whose owner lives; see [`Selection::force`].
    pub fn requeue(&self, which: &Selection) -> Result<Requeued> {
        let mut raw = which.to_abi();
        sys::ioctl::requeue(self.fd(), &mut raw).map_err(|errno| self.error("requeue", errno))?;
        Ok(Requeued {
            requeued: raw.requeued,
            refused: raw.refused,
        })
    }

    /// Begins a new epoch: read-only or not and the policies change as asked for, and everything taken
    /// is offered again, within the fencing rule. Nothing else about the disk changes.
    ///
    /// EBUSY: all there was to re-offer are writes whose owner lives; nothing changed.
    pub fn reconnect(&self, how: &Reconnect) -> Result<Reconnected> {
        let mut raw = how.to_abi();
        sys::ioctl::reconnect(self.fd(), &mut raw)
            .map_err(|errno| self.error("reconnect", errno))?;
        Ok(Reconnected {
            old_epoch: raw.old_epoch,
            new_epoch: raw.new_epoch,
            requeued: raw.requeued,
            refused: raw.refused,
        })
    }

    /// Ends everything pending with an I/O error and takes the disk away. Never waits for a worker;
    /// with `wait` (up to [`Duration::MAX`], for ever) it waits until the disk is gone.
    ///
    /// EBUSY: open, mounted or with requests pending, and not `force`. EINPROGRESS: not gone within
    /// `wait`; the reset goes on by itself. ENXIO: it was not set up.
    pub fn reset(&self, force: bool, wait: Option<Duration>) -> Result<ResetOutcome> {
        let mut raw = abi::Reset {
            flags: if force { abi::RS_FORCE } else { 0 },
            timeout_ns: wait.map_or(0, nanoseconds),
            ..Default::default()
        };
        sys::ioctl::reset(self.fd(), &mut raw).map_err(|errno| self.error("reset", errno))?;
        Ok(ResetOutcome {
            failed: raw.failed,
            draining: raw.draining,
        })
    }

    /// Makes the disk larger or smaller, also while it is used; returns what it was. Whoever serves it
    /// must be able to serve the new size already.
    ///
    /// EBUSY: smaller, and not `force`, and it is open or a partition ends behind the new size.
    /// EINVAL: no multiple of the block size. ENXIO: it is not set up.
    pub fn resize(&self, bytes: u64, force: bool) -> Result<u64> {
        let mut raw = abi::Resize {
            flags: if force { abi::RZ_FORCE } else { 0 },
            bytes,
            ..Default::default()
        };
        sys::ioctl::resize(self.fd(), &mut raw).map_err(|errno| self.error("resize", errno))?;
        Ok(raw.old_bytes)
    }

    /// Looks for partitions on the disk now, which its workers have to answer for. For that one must
    /// be root.
    ///
    /// EINVAL: no worker has come since the set-up. EBUSY: a partition is in use.
    pub fn partscan(&self) -> Result<()> {
        let path = self.disk_path();
        let disk = File::open(&path).map_err(|error| match error.raw_os_error() {
            Some(errno) => hint::error(path.display(), "partscan", Errno::from_raw(errno)),
            None => Error::new(path.display(), "partscan", error),
        })?;
        sys::ioctl::rescan(disk.as_fd())
            .map_err(|errno| hint::error(path.display(), "partscan", errno))
    }

    /// Waits until requests are there that nobody has taken; `None` waits for ever. `false`: not
    /// within `timeout`.
    ///
    /// ENXIO: there is no disk. ENODEV: the device was removed.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let wait = match deadline {
                // Rounded up: a millisecond too long, never a busy loop at the end.
                Some(deadline) => PollTimeout::try_from(
                    deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999),
                )
                .unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
            match poll(&mut fds, wait) {
                Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Ok(false);
                }
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(self.error("poll", errno)),
            }
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            if events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
                return Err(self.error("poll", Errno::ENODEV));
            }
            if events.contains(PollFlags::POLLHUP) {
                return Err(self.error("poll", Errno::ENXIO));
            }
            return Ok(events.contains(PollFlags::POLLIN));
        }
    }

    #[inline]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.node.file.as_fd()
    }

    /// The name this device was opened by, for messages.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.node.path.display()
    }

    pub(crate) fn error(&self, operation: &'static str, errno: Errno) -> Error {
        hint::error(self.name(), operation, errno)
    }
}

/// As the ABI counts time: too long is for ever.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(abi::FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_control_node_is_refused_by_name() {
        let error = Device::open("/dev/null").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/dev/null: open failed: it is not the control node of an ABUSE device"
        );
        let error = Device::open("/dev/abctl4000000000").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_time_too_long_for_the_abi_is_for_ever() {
        assert_eq!(nanoseconds(Duration::ZERO), 0);
        assert_eq!(nanoseconds(Duration::from_secs(1)), 1_000_000_000);
        assert_eq!(nanoseconds(Duration::MAX), abi::FOREVER);
    }
}
