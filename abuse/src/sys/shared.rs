// SPDX-License-Identifier: MIT

//! A mapping of a file that other processes map too.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use nix::errno::Errno;

/// Where the kernel puts a huge page it is at a multiple of this, on every machine we run on.
const HUGE: usize = 2 << 20;
/// Of linux/mman.h, since 6.1.
const MADV_COLLAPSE: libc::c_int = 25;

/// The bytes of a file, shared with whoever else maps it.
///
/// It hands out no references, only copies: another process may write the same bytes at any time,
/// as two machines may write to one disk. Who reads while another writes gets some mixture of both,
/// which is what a disk promises, too.
///
/// # Invariants
///
/// `base` is the start of a shared mapping of `bytes` readable and writable bytes that lives as
/// long as `self`, and the file was at least that long with all its blocks allocated. It lies in
/// `_around`, an address range of this type alone.
pub(crate) struct SharedMemory {
    base: NonNull<u8>,
    bytes: usize,
    _around: Range,
}

/// Address space that goes when this is dropped, with whatever is mapped in it.
struct Range {
    base: *mut libc::c_void,
    bytes: usize,
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: mapped by `SharedMemory::map`, and nothing refers to it.
        unsafe { libc::munmap(self.base, self.bytes) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for SharedMemory {}
// SAFETY: no references to the bytes exist; see the type for what racing copies mean.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps the first `bytes` bytes of `file`, which must be that long and without holes; where the
    /// kernel can make huge pages of it.
    pub(crate) fn map(file: &File, bytes: usize) -> io::Result<SharedMemory> {
        if bytes == 0 || file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // Miri, under which the copies below are tested, maps no files and nothing at a place.
        if cfg!(miri) {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let around = new_mapping(bytes, access, none, -1)?;
            return SharedMemory::checked(around.base, bytes, around);
        }
        let spacious = bytes
            .checked_add(HUGE)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let around = new_mapping(spacious, libc::PROT_NONE, none, -1)?;
        // Within the range, which is larger by as much as it may be moved up.
        let place = (around.base as usize).next_multiple_of(HUGE) as *mut libc::c_void;
        // SAFETY: replaces a part of `around`, which nothing refers to yet.
        let base = unsafe {
            libc::mmap(
                place,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        SharedMemory::checked(base, bytes, around)
    }

    /// The same of a file of hugetlbfs, which knows best where.
    pub(crate) fn map_huge(file: &File, bytes: usize) -> io::Result<SharedMemory> {
        if bytes == 0 || file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let around = new_mapping(bytes, access, libc::MAP_SHARED, file.as_raw_fd())?;
        SharedMemory::checked(around.base, bytes, around)
    }

    fn checked(base: *mut libc::c_void, bytes: usize, around: Range) -> io::Result<SharedMemory> {
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
        // Invariant: the callers' mapping, inside the file as checked, and inside `around`.
        Ok(SharedMemory {
            base,
            bytes,
            _around: around,
        })
    }

    /// Has the kernel make huge pages of it, as far as it consists of whole ones. An error says why
    /// some or all of it stays as it was.
    pub(crate) fn join_pages(&self) -> nix::Result<()> {
        for advice in [libc::MADV_HUGEPAGE, MADV_COLLAPSE] {
            // SAFETY: exactly the mapping; neither advice changes its contents.
            let answer = unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, advice) };
            Errno::result(answer)?;
        }
        Ok(())
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

/// A mapping wherever the kernel likes.
fn new_mapping(bytes: usize, access: i32, flags: i32, file: i32) -> io::Result<Range> {
    // SAFETY: touches no memory in use.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, file, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(Range { base, bytes })
}

fn out_of_range() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the file: it ends within a page.
    const BYTES: usize = 6000;

    fn memory() -> SharedMemory {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("abuse-shared-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(BYTES as u64).unwrap();
        assert!(SharedMemory::map(&file, BYTES + 1).is_err());
        assert!(SharedMemory::map(&file, 0).is_err());
        SharedMemory::map(&file, BYTES).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_and_what_is_cleared_is_nought() {
        let memory = memory();
        memory.write(5990, &[7; 10]).unwrap();
        memory.write(0, &[8; 3]).unwrap();
        memory.zero(1, 1).unwrap();
        memory.zero(5995, 5).unwrap();
        let mut all = [1; BYTES];
        memory.read(0, &mut all).unwrap();
        assert_eq!(all[..4], [8, 0, 8, 0]);
        assert_eq!(all[5989..], [0, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn nothing_behind_its_end_is_read_or_written() {
        let memory = memory();
        assert!(memory.read(5999, &mut [0; 2]).is_err());
        assert!(memory.write(6000, &[1]).is_err());
        assert!(memory.write(u64::MAX, &[1, 2]).is_err());
        assert!(memory.zero(1, u64::MAX).is_err());
        assert!(memory.zero(6000, 0).is_ok());
    }
}
