// SPDX-License-Identifier: MIT

//! Reading and writing a disk past the page cache: one call, one request.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::wait::Pending;

const ALIGN: usize = 4096;

/// A disk open with O_DIRECT. Clones share the open file.
#[derive(Clone, Debug)]
pub struct Direct {
    file: Arc<File>,
}

impl Direct {
    /// Opens it for reading and writing.
    pub fn open(path: impl AsRef<Path>) -> Result<Direct> {
        Direct::open_with(path.as_ref(), OFlag::empty())
    }

    /// ... and every write is durable before it ends, as with FUA.
    pub fn open_durable(path: impl AsRef<Path>) -> Result<Direct> {
        Direct::open_with(path.as_ref(), OFlag::O_DSYNC)
    }

    fn open_with(path: &Path, more: OFlag) -> Result<Direct> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_DIRECT | more).bits())
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Direct {
            file: Arc::new(file),
        })
    }

    /// Reads exactly so many bytes.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0xee; length + ALIGN];
        let start = buffer.as_ptr().align_offset(ALIGN);
        self.file
            .read_exact_at(&mut buffer[start..start + length], offset)?;
        Ok(buffer[start..start + length].to_vec())
    }

    /// Writes all of it.
    pub fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut buffer = vec![0; data.len() + ALIGN];
        let start = buffer.as_ptr().align_offset(ALIGN);
        buffer[start..start + data.len()].copy_from_slice(data);
        self.file
            .write_all_at(&buffer[start..start + data.len()], offset)
    }

    /// fsync: a FLUSH, where the disk has a volatile cache.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Begins a read in a thread.
    pub fn start_read(&self, offset: u64, length: usize) -> Pending<io::Result<Vec<u8>>> {
        let file = self.clone();
        Pending::start(&format!("the read at {offset}"), move || {
            file.read(offset, length)
        })
    }

    /// Begins a write in a thread.
    pub fn start_write(&self, offset: u64, data: Vec<u8>) -> Pending<io::Result<()>> {
        let file = self.clone();
        Pending::start(&format!("the write at {offset}"), move || {
            file.write(offset, &data)
        })
    }

    /// Begins an fsync in a thread.
    pub fn start_flush(&self) -> Pending<io::Result<()>> {
        let file = self.clone();
        Pending::start("the fsync", move || file.flush())
    }
}
