// SPDX-License-Identifier: MIT

//! A disk in a file, sparse or not, or on a block device.

mod able;
mod align;
mod fence;
mod forward;
mod open;
mod rings;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags};

use super::{Asked, Backend, Bytes, Capabilities, Places, Transfer};
use crate::error::Result;
use crate::sys::file::{block_discard, block_erase, block_zero, write_durable};
pub use open::FileOptions;

/// A file or a block device.
///
/// It is read and written past the page cache (O_DIRECT) wherever its file system can: a write that
/// fails then fails here and now. Through the page cache an error would show up in one fdatasync only,
/// and if the worker that saw it died before it could say so, its successor would never learn of it. So
/// there every change is made durable before it is completed, which is slow: what is lost then was never
/// completed, and is done again.
///
/// ```
/// use abuse::backend::{Backend, File, FileOptions};
/// use abuse::Setup;
///
/// let path = std::env::temp_dir().join(format!("abuse-doc-{}", std::process::id()));
/// let mut options = FileOptions::for_disk(&Setup::new(1 << 30));
/// options.create = true; // sparse: it takes space as it is written
/// let file = File::open(&path, &options)?;
/// file.write(4096, &[7; 4096], true).unwrap();
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), abuse::Error>(())
/// ```
pub struct File {
    file: fs::File,
    path: PathBuf,
    bytes: u64,
    kind: Kind,
    access: Access,
    read_only: bool,
    forward: bool,
    able: able::Able,
    /// Reads and writes are under way together; and what says so to others.
    rings: Option<rings::Rings>,
}

/// What stands behind the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Regular,
    Block,
}

/// How its bytes are reached.
#[derive(Debug)]
enum Access {
    /// Past the page cache. Buffers must begin at multiples of `memory`.
    Direct { memory: usize },
    /// Through the page cache, and durable at once. The lock is held by whoever makes something
    /// durable: the kernel tells an error of this descriptor once, to whoever asks first.
    Buffered { one: Mutex<()> },
}

impl File {
    /// Opens a file as the options say, or creates it.
    ///
    /// Where direct I/O is not to be had it warns through [`log`] and goes through the page cache;
    /// [`File::is_direct`] tells.
    pub fn open(path: impl AsRef<Path>, options: &FileOptions) -> Result<File> {
        open::open(path.as_ref(), options)
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the page cache is bypassed.
    pub fn is_direct(&self) -> bool {
        matches!(self.access, Access::Direct { .. })
    }

    /// Whether reads and writes are under way together, by io_uring.
    pub fn has_rings(&self) -> bool {
        self.rings.is_some()
    }

    /// Does again by itself what could not be done whole together with others.
    fn finish(&self, one: &mut Transfer<'_>) {
        let count = one.count.take();
        let done = match count {
            Some(count) if count >= 0 => count as usize,
            Some(error) if error != -libc::EAGAIN && error != -libc::EINTR => {
                one.result = Err(io::Error::from_raw_os_error(-error));
                return;
            }
            _ => 0,
        };
        let offset = one.offset + done as u64;
        one.result = match &mut one.bytes {
            _ if done == one.length => Ok(()),
            Bytes::Into(into) => self.file.read_exact_at(&mut into[done..], offset),
            Bytes::From(from) if one.durable => self.write_through(offset, &from[done..]),
            Bytes::From(from) => self.file.write_all_at(&from[done..], offset),
        };
    }

    /// Runs what makes something durable: through the page cache once more if it fails. The error may
    /// be another worker's, who died with it, and of what was never completed; what is done anew
    /// without an error is there.
    fn make_durable(&self, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let Access::Buffered { one } = &self.access else {
            return act();
        };
        let _one = one.lock().unwrap_or_else(PoisonError::into_inner);
        act().or_else(|_| act())
    }

    /// Runs a change that is on its way only when it returns, and through the page cache waits for it:
    /// what fails on the way is changed anew.
    fn settle(&self, change: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match self.is_direct() {
            true => change(),
            false => self.make_durable(|| change().and_then(|()| self.file.sync_data())),
        }
    }

    fn write_through(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < buf.len() {
            match write_durable(&self.file, &buf[written..], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Changes the allocation of a range of a regular file.
    fn reshape(&self, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<()> {
        let start = offset.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let length = length.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = flags | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        loop {
            match fallocate(&self.file, flags, start, length) {
                Err(Errno::EINTR) => continue,
                other => return Ok(other?),
            }
        }
    }
}

impl Backend for File {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.takes(buf) {
            return self.file.read_exact_at(buf, offset);
        }
        align::bounced(buf.len(), |aligned| {
            self.file.read_exact_at(aligned, offset)?;
            buf.copy_from_slice(aligned);
            Ok(())
        })
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        if !self.takes(buf) {
            return align::bounced(buf.len(), |aligned| {
                aligned.copy_from_slice(buf);
                self.write(offset, aligned, durable)
            });
        }
        if durable || !self.is_direct() {
            self.make_durable(|| self.write_through(offset, buf))
        } else {
            self.file.write_all_at(buf, offset)
        }
    }

    /// fdatasync: it covers every write of every process to this file.
    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.make_durable(|| self.file.sync_data())
    }

    fn transfer(&self, all: &mut [Transfer<'_>]) {
        if let Some(rings) = &self.rings {
            rings.run(all);
        }
        for one in all {
            self.finish(one);
        }
    }

    fn prepare(&self, memory: &mut [u8]) {
        if let Some(rings) = &self.rings {
            rings.add(&self.file, memory, &self.path);
        }
    }

    fn fence(&self) -> io::Result<()> {
        match self.read_only {
            true => Ok(()),
            false => fence::wait(&self.path, &self.file),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            size_bytes: Some(self.bytes),
            read_only: self.read_only,
            // Together they wait for the medium once, and take as much as they can; where they are
            // forwarded it is the driver that waits.
            slow: self.rings.is_none() && !self.forward,
            together: self.rings.is_some() && !self.forward,
            forward: self.forward,
            discard: self.able.discard,
            write_zeroes: !self.read_only,
            secure_erase: self.able.erase,
            ..Capabilities::default()
        }
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.settle(|| match self.kind {
            Kind::Regular => self.reshape(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, length),
            Kind::Block => Ok(block_discard(&self.file, offset, length)?),
        })
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> io::Result<()> {
        self.settle(|| {
            let done = match (self.kind, may_unmap) {
                // Of a block device, too: it may then unmap what it clears.
                (_, true) => self.reshape(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, length),
                (Kind::Regular, false) => {
                    self.reshape(FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, length)
                }
                (Kind::Block, false) => Ok(block_zero(&self.file, offset, length)?),
            };
            match (done, self.kind) {
                (Err(error), Kind::Regular) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    super::write_zeroes(&self.file, offset, length)
                }
                (Err(error), Kind::Block) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    Ok(block_zero(&self.file, offset, length)?)
                }
                (other, _) => other,
            }
        })
    }

    fn secure_erase(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.kind {
            // A file system may keep old copies anywhere: nobody can promise this for a file.
            Kind::Regular => Err(super::unsupported()),
            Kind::Block => Ok(block_erase(&self.file, offset, length)?),
        }
    }

    fn forward<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        self.place(asked, places)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::backend::tests::TempDir;
    use crate::Setup;

    fn open(buffered: bool) -> (TempDir, File) {
        let directory = TempDir::new();
        let options = FileOptions {
            create: true,
            buffered,
            ..FileOptions::for_disk(&Setup::new(1 << 20))
        };
        let file = File::open(directory.path().join("disk"), &options).unwrap();
        (directory, file)
    }

    /// Fails so often, and counts how often it was asked.
    fn fails(times: u32, asked: &Cell<u32>) -> impl Fn() -> io::Result<()> + '_ {
        move || {
            asked.set(asked.get() + 1);
            match asked.get() <= times {
                true => Err(io::Error::from_raw_os_error(libc::EIO)),
                false => Ok(()),
            }
        }
    }

    #[test]
    fn an_error_that_may_be_anothers_is_told_when_it_comes_again() {
        let (_directory, file) = open(true);
        for (times, calls, well) in [(0, 1, true), (1, 2, true), (2, 2, false)] {
            let asked = Cell::new(0);
            let done = file.make_durable(fails(times, &asked));
            assert_eq!((done.is_ok(), asked.get()), (well, calls), "{times}");
        }
        file.flush().unwrap();
    }

    #[test]
    fn with_direct_io_an_error_is_told_at_once_and_over_then() {
        let (_directory, file) = open(false);
        if !file.is_direct() {
            eprintln!("skipped: {} has no direct I/O", file.path().display());
            return;
        }
        let asked = Cell::new(0);
        assert!(file.make_durable(fails(1, &asked)).is_err());
        assert_eq!(asked.get(), 1);
        file.flush().unwrap();
    }

    #[test]
    fn zeros_written_by_hand_cover_the_range_and_no_more() {
        let (_directory, file) = open(false);
        file.write(0, &[1; 1 << 18], false).unwrap();
        crate::backend::write_zeroes(&file.file, 4096, 150 << 10).unwrap();
        let mut back = vec![9; 1 << 18];
        file.read(0, &mut back).unwrap();
        let zeros = back.iter().filter(|&&byte| byte == 0).count();
        assert_eq!(zeros, 150 << 10);
        assert_eq!((back[4095], back[4096 + (150 << 10)]), (1, 1));
    }
}
