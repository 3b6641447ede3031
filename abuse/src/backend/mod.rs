// SPDX-License-Identifier: MIT

//! Where the bytes of a disk are: the trait a backend author implements, and three backends.
//!
//! Three methods make a disk:
//!
//! ```
//! use std::io;
//! use std::sync::RwLock;
//! use abuse::Backend;
//!
//! struct Memory(RwLock<Vec<u8>>);
//!
//! impl Backend for Memory {
//!     fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
//!         let bytes = self.0.read().map_err(|_| io::Error::other("poisoned"))?;
//!         buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
//!         Ok(())
//!     }
//!     fn write(&self, offset: u64, buf: &[u8], _durable: bool) -> io::Result<()> {
//!         let mut bytes = self.0.write().map_err(|_| io::Error::other("poisoned"))?;
//!         bytes[offset as usize..][..buf.len()].copy_from_slice(buf);
//!         Ok(())
//!     }
//!     fn flush(&self) -> io::Result<()> {
//!         Ok(()) // nothing here survives a power cut anyway
//!     }
//! }
//!
//! let memory = Memory(RwLock::new(vec![0; 8192]));
//! memory.write(4096, b"hello", false)?;
//! let mut back = [0; 5];
//! memory.read(4096, &mut back)?;
//! assert_eq!(&back, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What a backend promises
//!
//! - **Any thread, any order.** Methods are called from several threads at once, and requests that
//!   are in flight together have no order among them.
//! - **Again.** A worker may die after it wrote and before it said so; another one then gets the
//!   same request once more. Doing it twice must come to the same as doing it once, as it does for
//!   bytes at an offset.
//! - **Durable means durable.** A write with `durable` set is on stable storage when it returns. A
//!   [`flush`](Backend::flush) covers every write *any* worker of this disk completed before it
//!   began, those of other threads and other processes too; a backend that cannot promise that
//!   says [`alone`](Capabilities::alone).
//! - **Nothing late.** When a method returns, or its process is dead, nothing of it reaches the backing
//!   store any more. What is done by io_uring or AIO outlives its process: such a backend has to wait
//!   for what the dead began, in [`fence`](Backend::fence), which a worker calls before it does one of
//!   their requests again. [`File`] does so.
//! - **Forwards.** A backend that only knows in which files the bytes are says so, and the driver
//!   moves them itself: see [`Map`]. What has been sent there goes on whatever becomes of the worker.
//! - **Errors are answers.** An error becomes the request's result (see [`Failure`]); a panic
//!   becomes an I/O error, and the worker goes on.
//!
//! [`Failure`]: crate::Failure

mod file;
mod forward;
mod null;
mod ram;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;

use std::io;
use std::os::unix::fs::FileExt;

pub use file::{File, FileOptions};
pub use forward::{Asked, Map, Mapped, Places};
pub use null::Null;
pub use ram::{Pages, Ram};
pub use transfer::{Bytes, Transfer};

/// What serves the requests of a disk. See the [module](self) for what it promises.
///
/// Offsets and lengths are in bytes, multiples of the disk's logical block, and lie within the
/// disk. A worker's buffers begin at multiples of 4096.
pub trait Backend: Send + Sync {
    /// Fills `buf` from `offset`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Stores `buf` at `offset`; with `durable` it is on stable storage before this returns.
    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()>;

    /// Makes every write completed before on stable storage.
    fn flush(&self) -> io::Result<()>;

    /// Does several at once, in any order; each has its `result` when this returns. Called instead of
    /// `read` and `write` where the backend says [`together`](Capabilities::together).
    fn transfer(&self, all: &mut [Transfer<'_>]) {
        for one in all {
            one.result = match &mut one.bytes {
                Bytes::Into(into) => self.read(one.offset, into),
                Bytes::From(from) => self.write(one.offset, from, one.durable),
            };
        }
    }

    /// The bytes of all requests that the calling thread will serve lie in here, until it says so of
    /// other memory.
    fn prepare(&self, _memory: &mut [u8]) {}

    /// Waits until nothing of workers that are dead can reach the backing store any more. Called before
    /// a request that changes something is done again, because whoever held it has died.
    fn fence(&self) -> io::Result<()> {
        Ok(())
    }

    /// What else the backend can do, and what it needs. Asked once, when serving begins.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Forgets a range: its contents may be anything afterwards.
    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(unsupported())
    }

    /// Clears a range; without `may_unmap` its space stays allocated.
    fn write_zeroes(&self, _offset: u64, _length: u64, _may_unmap: bool) -> io::Result<()> {
        Err(unsupported())
    }

    /// Makes a range unrecoverable.
    fn secure_erase(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(unsupported())
    }

    /// Says where the bytes of a request are, so that the driver moves, flushes or clears them there
    /// itself. Asked of a backend with [`Capabilities::forward`], and then nothing else is. If no
    /// place is named the backend has done what was asked, which of a read it cannot. One that does
    /// nothing else is a [`Map`].
    fn forward<'a>(&'a self, _asked: &Asked, _places: &mut Places<'a>) -> io::Result<()> {
        Err(unsupported())
    }
}

/// What a backend can do beyond reading, writing and flushing, and what it needs. A worker refuses
/// to serve a disk that was set up for more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bytes it has; a larger disk is refused. `None`: any size.
    pub size_bytes: Option<u64>,
    /// It cannot write; a writable disk is refused.
    pub read_only: bool,
    /// It looks at no data: reads are zeros and writes vanish, and neither
    /// [`read`](Backend::read) nor [`write`](Backend::write) is called.
    pub no_data: bool,
    /// Its flush covers only its own writes: one thread, and no second process.
    pub alone: bool,
    /// It waits for something, a medium or a network: take less at once, so that other workers have
    /// work, and complete more often.
    pub slow: bool,
    /// It does several reads and writes faster together than one by one, in
    /// [`transfer`](Backend::transfer).
    pub together: bool,
    /// [`discard`](Backend::discard) works.
    pub discard: bool,
    /// [`write_zeroes`](Backend::write_zeroes) works.
    pub write_zeroes: bool,
    /// [`secure_erase`](Backend::secure_erase) works.
    pub secure_erase: bool,
    /// It says where the bytes are and touches none: [`forward`](Backend::forward) is called, and
    /// nothing else.
    pub forward: bool,
}

fn unsupported() -> io::Error {
    io::Error::from_raw_os_error(libc::EOPNOTSUPP)
}

/// Zeros that any file takes, one open for direct I/O too.
static ZEROES: Zeroes = Zeroes([0; 1 << 16]);

#[repr(align(4096))]
struct Zeroes([u8; 1 << 16]);

impl std::ops::Deref for Zeroes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Clears a range of a file whose file system has no call for that.
fn write_zeroes(file: &std::fs::File, offset: u64, length: u64) -> io::Result<()> {
    let end = offset
        .checked_add(length)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = offset;
    while at < end {
        let piece = (end - at).min(ZEROES.len() as u64);
        // At most the length of ZEROES, so it fits any usize.
        file.write_all_at(&ZEROES[..piece as usize], at)?;
        at += piece;
    }
    Ok(())
}

impl<B: Backend + ?Sized> Backend for Box<B> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        (**self).write(offset, buf, durable)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn transfer(&self, all: &mut [Transfer<'_>]) {
        (**self).transfer(all)
    }

    fn prepare(&self, memory: &mut [u8]) {
        (**self).prepare(memory)
    }

    fn fence(&self) -> io::Result<()> {
        (**self).fence()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        (**self).discard(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> io::Result<()> {
        (**self).write_zeroes(offset, length, may_unmap)
    }

    fn secure_erase(&self, offset: u64, length: u64) -> io::Result<()> {
        (**self).secure_erase(offset, length)
    }

    fn forward<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        (**self).forward(asked, places)
    }
}
