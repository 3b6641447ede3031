// SPDX-License-Identifier: MIT

//! Backends that know where the bytes are and let the driver move them.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{unsupported, Backend, Capabilities};
use crate::{abi, Failure, Operation};

/// What a request wants of a backend that forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The operation.
    pub operation: Operation,
    /// Where, in bytes from the start of the disk; 0 of a flush.
    pub offset: u64,
    /// Bytes; 0 of a flush.
    pub length: u32,
    /// It must be durable before it is completed. The driver sees to that where it moves the data.
    pub durable: bool,
    /// Space that is zeroed must stay allocated. The driver sees to that too.
    pub keep_allocated: bool,
    /// How it failed where it was sent to with [`Places::come_back`]. Everything may be tried then but
    /// to look at a write's data.
    pub failed: Option<Failure>,
}

/// Where the bytes of one request are, in the order of the request: pieces of files that stay open as
/// long as the backend is there.
pub struct Places<'a> {
    extents: &'a mut Vec<abi::Extent>,
    comes_back: bool,
    files: PhantomData<BorrowedFd<'a>>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(extents: &'a mut Vec<abi::Extent>) -> Places<'a> {
        extents.clear();
        Places {
            extents,
            comes_back: false,
            files: PhantomData,
        }
    }

    /// The next `length` bytes of the request are in `file`, from `offset` on. A flush names each file
    /// that may have to be flushed, with 0 and 0.
    pub fn add(&mut self, file: BorrowedFd<'a>, offset: u64, length: u32) {
        self.extents.push(abi::Extent {
            offset,
            length,
            fd: file.as_raw_fd(),
        });
    }

    /// If it fails the request is to come back, to this worker or another, with [`Asked::failed`].
    /// Else it ends with the error.
    pub fn come_back(&mut self) {
        self.comes_back = true;
    }

    /// Bytes that were named.
    pub fn length(&self) -> u64 {
        self.extents
            .iter()
            .map(|extent| u64::from(extent.length))
            .sum()
    }

    /// The entry that sends request `id` there, if any place was named. It holds the address of the
    /// places: those must live until the entry was exchanged.
    pub(crate) fn done(&self, id: u64) -> Option<abi::Done> {
        (!self.extents.is_empty()).then(|| abi::Done {
            id,
            buffer: self.extents.as_ptr() as u64,
            // Too many are refused by the driver.
            length: u32::try_from(self.extents.len()).unwrap_or(u32::MAX),
            flags: match self.comes_back {
                true => abi::DONE_FORWARD | abi::DONE_RETURN,
                false => abi::DONE_FORWARD,
            },
            ..abi::Done::default()
        })
    }
}

/// A disk whose bytes are in files, and all that is needed is to say where: served as [`Mapped`].
///
/// ```no_run
/// use std::fs::File;
/// use std::io;
/// use std::os::fd::AsFd;
///
/// use abuse::backend::{Asked, Map, Mapped, Places};
/// use abuse::{Device, Worker};
///
/// /// A disk that begins behind a header.
/// struct Behind(File, u64);
///
/// impl Map for Behind {
///     fn map<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
///         places.add(self.0.as_fd(), self.1 + asked.offset, asked.length);
///         Ok(())
///     }
/// }
///
/// let file = File::options().read(true).write(true).open("/srv/image")?;
/// Worker::new(Device::open("/dev/abctl0")?).run(Mapped(Behind(file, 65536)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Map: Send + Sync {
    /// As [`Backend::forward`].
    fn map<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()>;

    /// What it can do, beyond reads, writes and flushes.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// The backend that a [`Map`] is.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<M>(pub M);

impl<M: Map> Backend for Mapped<M> {
    fn read(&self, _offset: u64, _buf: &mut [u8]) -> io::Result<()> {
        Err(unsupported())
    }

    fn write(&self, _offset: u64, _buf: &[u8], _durable: bool) -> io::Result<()> {
        Err(unsupported())
    }

    fn flush(&self) -> io::Result<()> {
        Err(unsupported())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            forward: true,
            ..self.0.capabilities()
        }
    }

    fn forward<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        self.0.map(asked, places)
    }
}
