// SPDX-License-Identifier: MIT

//! A piece of a file that a request is forwarded to.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::abi;

/// So many bytes of a file or block device, from an offset on. The file stays open as long as this
/// lives.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Extent<'a> {
    raw: abi::Extent,
    file: PhantomData<BorrowedFd<'a>>,
}

impl<'a> Extent<'a> {
    /// A flush names files with offset and length 0.
    pub fn new(file: BorrowedFd<'a>, offset: u64, length: u32) -> Extent<'a> {
        Extent {
            raw: abi::Extent {
                offset,
                length,
                fd: file.as_raw_fd(),
            },
            file: PhantomData,
        }
    }

    /// Where it begins in the file.
    pub fn offset(&self) -> u64 {
        self.raw.offset
    }

    /// How many bytes it has.
    pub fn length(&self) -> u32 {
        self.raw.length
    }
}

impl fmt::Debug for Extent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
