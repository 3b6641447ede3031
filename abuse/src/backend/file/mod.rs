// SPDX-License-Identifier: MIT

//! A disk in a file, sparse or not, or on a block device.

mod able;
mod align;
mod forward;
mod open;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags};

use super::{Asked, Backend, Capabilities, Places};
use crate::error::Result;
use crate::sys::file::{block_discard, block_erase, block_zero, write_durable};
pub use open::FileOptions;

/// A file or a block device.
///
/// It is read and written past the page cache (O_DIRECT) wherever its file system can: a write that
/// fails then fails here and now. Through the page cache an error shows up in one fdatasync only,
/// and if the worker that saw it dies before it could say so, its successor never learns of it.
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
    /// Through the page cache. The lock is held by whoever makes something durable, and says
    /// whether that ever failed: the kernel reports an error once and then takes the lost pages for
    /// written, so from then on nothing here is durable any more.
    Buffered { lost: Mutex<bool> },
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

    /// Runs what makes something durable, and remembers a failure where the kernel does not.
    fn make_durable(&self, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let Access::Buffered { lost } = &self.access else {
            return act();
        };
        let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
        if *lost {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let result = act();
        if let Err(error) = &result {
            *lost = true;
            log::error!(
                "{}: written data were lost ({error}); every flush fails from now on, because the \
                 kernel would report the next one as good",
                self.path.display()
            );
        }
        result
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
        if durable {
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

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            size_bytes: Some(self.bytes),
            read_only: self.read_only,
            // The driver waits for it.
            slow: !self.forward,
            forward: self.forward,
            discard: self.able.discard,
            write_zeroes: !self.read_only,
            secure_erase: self.able.erase,
            ..Capabilities::default()
        }
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        match self.kind {
            Kind::Regular => self.reshape(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, length),
            Kind::Block => Ok(block_discard(&self.file, offset, length)?),
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> io::Result<()> {
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

    fn broken() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    #[test]
    fn after_lost_data_no_buffered_flush_succeeds_any_more() {
        let (_directory, file) = open(true);
        file.flush().unwrap();
        assert!(file.make_durable(broken).is_err());
        assert!(file.flush().is_err());
        assert!(file.write(0, &[1; 4096], true).is_err());
        // Nothing is promised for a plain write.
        file.write(0, &[1; 4096], false).unwrap();
    }

    #[test]
    fn with_direct_io_an_error_is_over_when_it_was_told() {
        let (_directory, file) = open(false);
        if !file.is_direct() {
            eprintln!("skipped: {} has no direct I/O", file.path().display());
            return;
        }
        assert!(file.make_durable(broken).is_err());
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
