// SPDX-License-Identifier: MIT

//! A mapping of a file that other processes map too.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// The bytes of a file, shared with whoever else maps it.
///
/// It hands out no references, only copies: another process may write the same bytes at any time,
/// as two machines may write to one disk. Who reads while another writes gets some mixture of both,
/// which is what a disk promises, too.
///
/// # Invariants
///
/// `base` is the start of a shared mapping of `bytes` readable and writable bytes that lives as
/// long as `self`, and the file was at least that long with all its blocks allocated.
pub(crate) struct SharedMemory {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for SharedMemory {}
// SAFETY: no references to the bytes exist; see the type for what racing copies mean.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps the first `bytes` bytes of `file`, which must be that long and without holes.
    pub(crate) fn map(file: &File, bytes: usize) -> io::Result<SharedMemory> {
        if bytes == 0 || file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: a new mapping wherever the kernel likes touches no memory in use.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
        // Invariant: the mapping above, inside the file as checked.
        Ok(SharedMemory { base, bytes })
    }

    /// Copies from `offset` into `into`.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = self.place(offset, into.len())?;
        // SAFETY: `place` found the range inside the mapping; `into` is no part of it, since no
        // reference to the mapping ever leaves this type.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies `from` to `offset`.
    pub(crate) fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let to = self.place(offset, from.len())?;
        // SAFETY: as in `read`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Clears `length` bytes from `offset`.
    pub(crate) fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| out_of_range())?;
        let to = self.place(offset, length)?;
        // SAFETY: `place` found the range inside the mapping.
        unsafe { std::ptr::write_bytes(to, 0, length) };
        Ok(())
    }

    /// Pointer to `offset`, if `length` bytes from there lie in the mapping.
    fn place(&self, offset: u64, length: usize) -> io::Result<*mut u8> {
        let offset = usize::try_from(offset).map_err(|_| out_of_range())?;
        match offset.checked_add(length) {
            Some(end) if end <= self.bytes => Ok(self.base.as_ptr().wrapping_add(offset)),
            _ => Err(out_of_range()),
        }
    }
}

fn out_of_range() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: by the invariant the whole mapping, and nothing refers to it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
