// SPDX-License-Identifier: MIT

//! How a request ends, and what an I/O error of a backend becomes on the wire.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::Extent;
use crate::abi;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Done. For everything but a read.
    Done,
    /// A read's data, exactly as many as the request's length.
    Data(&'a [u8]),
    /// A read of nothing but zeros.
    Zeroes,
    /// The driver moves the data itself, to or from these places, one after the other; or flushes,
    /// discards or zeroes there. From now on it makes no difference what becomes of this process.
    Forward {
        /// As many bytes as the request has.
        to: &'a [Extent<'a>],
        /// If that fails the request is offered again, with [`Request::failed`](super::Request::failed);
        /// else it ends with the error.
        returns: bool,
    },
    /// With an error.
    Failed(Failure),
}

/// The errors that mean something to a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// EIO: whatever has no name of its own.
    Io,
    /// ENOSPC: the backing store is full.
    NoSpace,
    /// ETIMEDOUT: the backing store did not answer in time.
    TimedOut,
    /// ENODATA: this place on the medium is bad.
    Medium,
    /// EOPNOTSUPP: the backend lacks the operation.
    NotSupported,
    /// EREMOTEIO: the target refuses the write.
    WriteProtected,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 6] = [
        Failure::Io,
        Failure::NoSpace,
        Failure::TimedOut,
        Failure::Medium,
        Failure::NotSupported,
        Failure::WriteProtected,
    ];

    /// What the flags of a taken request say of its last forward.
    pub(crate) fn of_forward(flags: u16) -> Option<Failure> {
        match flags >> abi::REQ_FAILED_SHIFT {
            abi::OK => None,
            result => Failure::ALL
                .into_iter()
                .find(|failure| failure.to_abi() == result)
                .or(Some(Failure::Io)),
        }
    }

    /// The number of the ABI.
    pub(crate) fn to_abi(self) -> u16 {
        match self {
            Failure::Io => abi::IO_ERROR,
            Failure::NoSpace => abi::NO_SPACE,
            Failure::TimedOut => abi::TIMED_OUT,
            Failure::Medium => abi::MEDIUM_ERROR,
            Failure::NotSupported => abi::NOT_SUPPORTED,
            Failure::WriteProtected => abi::WRITE_PROTECTED,
        }
    }

    /// Its name in lower case, as `abusectl put --result` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Io => "io-error",
            Failure::NoSpace => "no-space",
            Failure::TimedOut => "timed-out",
            Failure::Medium => "medium-error",
            Failure::NotSupported => "not-supported",
            Failure::WriteProtected => "write-protected",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<&io::Error> for Failure {
    /// The one place where a backend's errors become results.
    fn from(error: &io::Error) -> Failure {
        if let Some(errno) = error.raw_os_error() {
            return match Errno::from_raw(errno) {
                Errno::ENOSPC | Errno::EDQUOT => Failure::NoSpace,
                Errno::ETIMEDOUT => Failure::TimedOut,
                Errno::ENODATA => Failure::Medium,
                Errno::EOPNOTSUPP | Errno::ENOSYS => Failure::NotSupported,
                Errno::EROFS | Errno::EREMOTEIO => Failure::WriteProtected,
                _ => Failure::Io,
            };
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::NoSpace,
            io::ErrorKind::TimedOut => Failure::TimedOut,
            io::ErrorKind::Unsupported => Failure::NotSupported,
            io::ErrorKind::ReadOnlyFilesystem => Failure::WriteProtected,
            _ => Failure::Io,
        }
    }
}

impl From<Failure> for io::Error {
    /// The error that becomes this failure again.
    fn from(failure: Failure) -> io::Error {
        io::Error::from_raw_os_error(match failure {
            Failure::Io => libc::EIO,
            Failure::NoSpace => libc::ENOSPC,
            Failure::TimedOut => libc::ETIMEDOUT,
            Failure::Medium => libc::ENODATA,
            Failure::NotSupported => libc::EOPNOTSUPP,
            Failure::WriteProtected => libc::EREMOTEIO,
        })
    }
}

/// The entry that completes request `id` this way. It holds the address of the data: those must
/// live until the entry was exchanged.
#[inline]
pub(crate) fn done(id: u64, outcome: Outcome<'_>) -> abi::Done {
    let done = abi::Done {
        id,
        ..Default::default()
    };
    match outcome {
        Outcome::Done => done,
        Outcome::Data(data) => abi::Done {
            buffer: data.as_ptr() as u64,
            // Longer than any request is refused by the driver as any other wrong length.
            length: u32::try_from(data.len()).unwrap_or(u32::MAX),
            ..done
        },
        Outcome::Zeroes => abi::Done {
            flags: abi::DONE_ZERO,
            ..done
        },
        Outcome::Forward { to, returns } => abi::Done {
            buffer: to.as_ptr() as u64,
            length: u32::try_from(to.len()).unwrap_or(u32::MAX),
            flags: match returns {
                true => abi::DONE_FORWARD | abi::DONE_RETURN,
                false => abi::DONE_FORWARD,
            },
            ..done
        },
        Outcome::Failed(failure) => abi::Done {
            result: failure.to_abi(),
            ..done
        },
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{size_of, size_of_val};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn errors_that_mean_something_to_a_filesystem_keep_their_meaning() {
        for (errno, failure) in [
            (libc::ENOSPC, Failure::NoSpace),
            (libc::EDQUOT, Failure::NoSpace),
            (libc::ETIMEDOUT, Failure::TimedOut),
            (libc::ENODATA, Failure::Medium),
            (libc::EOPNOTSUPP, Failure::NotSupported),
            (libc::EROFS, Failure::WriteProtected),
            (libc::EIO, Failure::Io),
            (libc::EINVAL, Failure::Io),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Failure::from(&error), failure, "{error}");
        }
        for (kind, failure) in [
            (io::ErrorKind::StorageFull, Failure::NoSpace),
            (io::ErrorKind::TimedOut, Failure::TimedOut),
            (io::ErrorKind::Unsupported, Failure::NotSupported),
            (io::ErrorKind::ReadOnlyFilesystem, Failure::WriteProtected),
            (io::ErrorKind::UnexpectedEof, Failure::Io),
        ] {
            assert_eq!(Failure::from(&io::Error::from(kind)), failure, "{kind}");
        }
    }

    #[test]
    fn every_failure_has_a_result_of_its_own() {
        let mut results: Vec<u16> = Failure::ALL.map(Failure::to_abi).to_vec();
        results.dedup();
        assert_eq!(results, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_failure_is_the_same_again_after_it_was_an_error() {
        for failure in Failure::ALL {
            assert_eq!(Failure::from(&io::Error::from(failure)), failure);
        }
    }

    #[test]
    fn a_forward_s_failure_is_in_the_flags() {
        assert_eq!(Failure::of_forward(abi::REQ_FUA | abi::REQ_NOUNMAP), None);
        for failure in Failure::ALL {
            let flags = (failure.to_abi() << abi::REQ_FAILED_SHIFT) | abi::REQ_FUA;
            assert_eq!(Failure::of_forward(flags), Some(failure));
        }
        assert_eq!(Failure::of_forward(0xf000), Some(Failure::Io));
    }

    #[test]
    fn a_forward_names_places() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let to = [
            Extent::new(file.as_fd(), 4096, 512),
            Extent::new(file.as_fd(), 0, 512),
        ];
        let ends = done(
            7,
            Outcome::Forward {
                to: &to,
                returns: false,
            },
        );
        assert_eq!((ends.length, ends.flags), (2, abi::DONE_FORWARD));
        assert_eq!(ends.buffer, to.as_ptr() as u64);
        let comes_back = done(
            7,
            Outcome::Forward {
                to: &to,
                returns: true,
            },
        );
        assert_eq!(comes_back.flags, abi::DONE_FORWARD | abi::DONE_RETURN);
        assert_eq!(size_of_val(&to), 2 * size_of::<abi::Extent>());
    }

    #[test]
    fn only_a_read_s_data_travel() {
        let data = [1, 2, 3];
        let read = done(5, Outcome::Data(&data));
        assert_eq!((read.id, read.length), (5, 3));
        assert_eq!(read.buffer, data.as_ptr() as u64);
        assert_eq!(done(5, Outcome::Done).buffer, 0);
        assert_eq!(done(5, Outcome::Zeroes).flags, abi::DONE_ZERO);
        assert_eq!(done(5, Outcome::Failed(Failure::NoSpace)).result, 2);
    }
}
