// SPDX-License-Identifier: GPL-2.0-only

//! A file of a worker's that requests are forwarded to.
//!
//! C headers: `include/linux/file.h`, `include/linux/fs.h`.

use super::ffi;
use super::request::Request;
use super::task::NoBottomHalves;
use core::ptr::NonNull;
use kernel::bindings;

// What `abuse_file_facts` says.
const REGULAR: u32 = 1 << 0;
const BLOCK: u32 = 1 << 1;
const READABLE: u32 = 1 << 2;
const WRITABLE: u32 = 1 << 3;
const APPENDS: u32 = 1 << 4;
const DIRECT: u32 = 1 << 5;
const IN_MEMORY: u32 = 1 << 6;
const NO_WAIT: u32 = 1 << 7;

/// A counted reference to an open file, with what does not change of it.
///
/// # Invariants
///
/// The pointer is a `struct file` of which this owns one count.
pub(crate) struct Backing {
    file: NonNull<bindings::file>,
    fd: i32,
    facts: u32,
}

// SAFETY: A `struct file` may be used and released from any thread.
unsafe impl Send for Backing {}
// SAFETY: As above.
unsafe impl Sync for Backing {}

impl Backing {
    /// The caller's file of this number, if it has one that can be read or written at all.
    pub(crate) fn get(fd: i32) -> Option<Self> {
        // SAFETY: Looks the number up in the caller's table; returns a counted pointer or none.
        let file = NonNull::new(unsafe { bindings::fget(fd as u32) })?;
        // SAFETY: Just got.
        let facts = unsafe { ffi::abuse_file_facts(file.as_ptr()) };
        // INVARIANT: The count is ours.
        Some(Backing { file, fd, facts })
    }

    /// The same file, if it was got by this number.
    #[inline(always)]
    pub(crate) fn again(&self, fd: i32) -> Option<Self> {
        if fd != self.fd {
            return None;
        }
        // SAFETY: Valid by the type invariant.
        unsafe { ffi::abuse_file_get(self.file.as_ptr()) };
        // INVARIANT: The new count is ours.
        Some(Backing { ..*self })
    }

    fn has(&self, fact: u32) -> bool {
        self.facts & fact != 0
    }

    /// Whether it is a regular file, and not a block device or something without places.
    pub(crate) fn is_regular(&self) -> bool {
        self.has(REGULAR)
    }

    /// Whether it is a regular file or a block device, whose data have places.
    pub(crate) fn has_places(&self) -> bool {
        self.has(REGULAR | BLOCK)
    }

    /// Whether it is open for reading.
    pub(crate) fn is_readable(&self) -> bool {
        self.has(READABLE)
    }

    /// Whether it is open for writing at any place.
    pub(crate) fn is_writable(&self) -> bool {
        self.has(WRITABLE) && !self.has(APPENDS)
    }

    /// Whether its I/O goes past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.has(DIRECT)
    }

    /// Whether its pages have no other place than memory, so that it waits for no device.
    pub(super) fn is_in_memory(&self) -> bool {
        self.has(IN_MEMORY)
    }

    /// Whether it can be read on condition that nothing has to be waited for.
    pub(super) fn can_be_tried(&self) -> bool {
        self.has(NO_WAIT)
    }

    /// Its bytes, at this moment.
    pub(crate) fn bytes(&self) -> u64 {
        // SAFETY: Valid by the type invariant.
        unsafe { ffi::abuse_file_bytes(self.file.as_ptr()) }
    }

    /// Whether it is the disk that this request is of, or a partition of it, or lies on a file
    /// system there.
    pub(crate) fn is_on_disk_of(&self, request: &Request) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { ffi::abuse_file_is_on(self.file.as_ptr(), request.as_ptr()) }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.file.as_ptr()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // The last reference must not be released as the worker's own task work, since what that
        // waits for may be served by this very worker.
        let _off = NoBottomHalves::new();
        // SAFETY: The count is ours by the type invariant.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
