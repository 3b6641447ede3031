// SPDX-License-Identifier: MIT

//! The file backend, where the driver moves the data itself.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::PoisonError;

use nix::sys::stat::{major, makedev, minor};

use super::{Access, File, Kind};
use crate::backend::{Asked, Backend, Places};
use crate::{Failure, Operation};

impl File {
    /// Whether it is this disk or a partition of it, or lies on a file system there: then nothing can
    /// be forwarded to it. What lies on something that lies there cannot be told.
    pub fn is_on(&self, disk: &Path) -> bool {
        let (Ok(file), Ok(disk)) = (self.file.metadata(), disk.metadata()) else {
            return false;
        };
        let below = match self.kind {
            Kind::Regular => file.dev(),
            Kind::Block => file.rdev(),
        };
        below == disk.rdev() || whole_disk(below) == Some(disk.rdev())
    }

    /// Where a request's bytes are; or does it, where the driver cannot.
    pub(super) fn place<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        let (offset, length) = (asked.offset, u64::from(asked.length));
        match asked.operation {
            Operation::Flush if self.read_only => return Ok(()),
            // Of the page cache an error is told once, and must be remembered here.
            Operation::Flush if !self.is_direct() => return self.flush(),
            Operation::Write if asked.durable && !self.is_direct() => {
                self.not_lost(asked.failed)?;
                places.come_back();
            }
            Operation::SecureErase => return self.secure_erase(offset, length),
            // A file system may have no call for it.
            Operation::WriteZeroes if asked.failed == Some(Failure::NotSupported) => {
                self.write_zeroes(offset, length, !asked.keep_allocated)?;
                return match asked.durable {
                    true => self.flush(),
                    false => Ok(()),
                };
            }
            Operation::WriteZeroes => {
                fail(asked.failed)?;
                places.come_back();
            }
            Operation::Read | Operation::Write | Operation::Flush | Operation::Discard => {
                fail(asked.failed)?;
            }
        }
        places.add(self.file.as_fd(), offset, asked.length);
        Ok(())
    }

    /// Fails if written data were lost, as they are when this request has come back.
    fn not_lost(&self, failed: Option<Failure>) -> io::Result<()> {
        let Access::Buffered { lost } = &self.access else {
            return Ok(());
        };
        let lost = *lost.lock().unwrap_or_else(PoisonError::into_inner);
        match failed {
            None if !lost => Ok(()),
            None => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(failure) => self.make_durable(|| Err(failure.into())),
        }
    }
}

/// The disk that a partition is of.
fn whole_disk(partition: u64) -> Option<u64> {
    let place = format!("/sys/dev/block/{}:{}", major(partition), minor(partition));
    let place = std::fs::canonicalize(place).ok()?;
    let number = std::fs::read_to_string(place.parent()?.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// What has come back although nobody asked for it: whoever served the disk before did.
fn fail(failed: Option<Failure>) -> io::Result<()> {
    failed.map_or(Ok(()), |failure| Err(failure.into()))
}
