// SPDX-License-Identifier: MIT

//! The file backend, where the driver moves the data itself.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, makedev, minor};

use super::{File, Kind};
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
        let zero = || self.write_zeroes(offset, length, !asked.keep_allocated);
        match asked.operation {
            Operation::Flush if self.read_only => return Ok(()),
            Operation::SecureErase => return self.secure_erase(offset, length),
            // Through the page cache everything is durable before it ends, and an error may be of
            // somebody else's change: see `make_durable`.
            Operation::Flush if !self.is_direct() => return self.flush(),
            Operation::Discard if !self.is_direct() => return self.discard(offset, length),
            Operation::WriteZeroes if !self.is_direct() => return zero(),
            Operation::Write if !self.is_direct() => {
                // The driver has its data: it sends them once more.
                if asked.failed.is_none() {
                    places.come_back();
                }
            }
            // A file system may have no call for it.
            Operation::WriteZeroes if asked.failed == Some(Failure::NotSupported) => {
                zero()?;
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

#[cfg(test)]
mod tests {
    use nix::fcntl::{fcntl, FcntlArg, OFlag};

    use super::*;
    use crate::backend::tests::TempDir;
    use crate::backend::FileOptions;
    use crate::{abi, Setup};

    fn asked(operation: Operation, failed: Option<Failure>) -> Asked {
        Asked {
            operation,
            offset: 4096,
            length: 4096,
            durable: false,
            keep_allocated: false,
            failed,
        }
    }

    #[test]
    fn through_the_page_cache_a_write_is_durable_and_sent_twice() {
        let directory = TempDir::new();
        let options = FileOptions {
            create: true,
            buffered: true,
            forward: true,
            ..FileOptions::for_disk(&Setup::new(1 << 20))
        };
        let file = File::open(directory.path().join("disk"), &options).unwrap();
        let flags = fcntl(&file.file, FcntlArg::F_GETFL).unwrap();
        assert!(OFlag::from_bits_retain(flags).contains(OFlag::O_DSYNC));

        let mut extents = Vec::new();
        for (failed, flags) in [
            (None, abi::DONE_FORWARD | abi::DONE_RETURN),
            (Some(Failure::Io), abi::DONE_FORWARD),
        ] {
            let mut places = Places::new(&mut extents);
            let write = asked(Operation::Write, failed);
            file.place(&write, &mut places).unwrap();
            assert_eq!(places.done(1).unwrap().flags, flags, "{failed:?}");
        }
        for operation in [Operation::WriteZeroes, Operation::Flush] {
            let mut places = Places::new(&mut extents);
            file.place(&asked(operation, None), &mut places).unwrap();
            assert!(places.done(1).is_none(), "{operation:?} is not done here");
        }
        let mut places = Places::new(&mut extents);
        let read = asked(Operation::Read, Some(Failure::Io));
        assert!(file.place(&read, &mut places).is_err());
    }
}
