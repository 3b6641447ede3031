// SPDX-License-Identifier: MIT

//! Calls on files and block devices that neither std nor nix has.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// `_IO(0x12, 119)`, `_IO(0x12, 125)` and `_IO(0x12, 127)` of linux/fs.h: all take `u64[2]`, start
/// and length.
const BLKDISCARD: u32 = 0x1277;
const BLKSECDISCARD: u32 = 0x127d;
const BLKZEROOUT: u32 = 0x127f;

/// Alignment that direct I/O on a file wants, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectAlign {
    /// Of the memory.
    pub memory: u32,
    /// Of offset and length in the file.
    pub offset: u32,
}

/// What the file system says of direct I/O on `file`: `Ok(None)` when it does not say, zeros when
/// there is none.
pub(crate) fn direct_align(file: &File) -> nix::Result<Option<DirectAlign>> {
    // SAFETY: all-zero is a valid statx, which is integers only.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is empty and NUL-terminated, `answer` is alive and of the call's own type.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &mut answer,
        )
    };
    Errno::result(result)?;
    Ok(
        (answer.stx_mask & libc::STATX_DIOALIGN != 0).then_some(DirectAlign {
            memory: answer.stx_dio_mem_align,
            offset: answer.stx_dio_offset_align,
        }),
    )
}

/// Writes some of `from` at `offset`; what it wrote is durable when it returns (RWF_DSYNC).
pub(crate) fn write_durable(file: &File, from: &[u8], offset: u64) -> nix::Result<usize> {
    let vector = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let offset = libc::off64_t::try_from(offset).map_err(|_| Errno::EFBIG)?;
    // SAFETY: one vector that describes `from`, which the call only reads.
    let written = unsafe { libc::pwritev2(file.as_raw_fd(), &vector, 1, offset, libc::RWF_DSYNC) };
    Errno::result(written).map(|count| count as usize)
}

/// Lets a block device forget a range.
pub(crate) fn block_discard(file: &File, offset: u64, length: u64) -> nix::Result<()> {
    block_range(file, BLKDISCARD, offset, length)
}

/// Makes a range of a block device unrecoverable.
pub(crate) fn block_erase(file: &File, offset: u64, length: u64) -> nix::Result<()> {
    block_range(file, BLKSECDISCARD, offset, length)
}

/// Clears a range of a block device.
pub(crate) fn block_zero(file: &File, offset: u64, length: u64) -> nix::Result<()> {
    block_range(file, BLKZEROOUT, offset, length)
}

fn block_range(file: &File, request: u32, offset: u64, length: u64) -> nix::Result<()> {
    let range = [offset, length];
    // SAFETY: all three requests read two u64; any other file answers ENOTTY.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, range.as_ptr()) };
    Errno::result(answer).map(drop)
}
