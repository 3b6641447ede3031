// SPDX-License-Identifier: GPL-2.0-only

//! Processes, and the state of the calling thread.
//!
//! C headers: `include/linux/pid.h`, `include/linux/sched/mm.h`, `include/linux/bottom_half.h`.

use super::ffi;
use crate::ledger::Process;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;

/// A counted reference to a process, which may be dead.
///
/// # Invariants
///
/// The pointer is a `struct pid` of which this owns one count.
pub(crate) struct ProcessRef(NonNull<bindings::pid>);

// SAFETY: A `struct pid` may be used and released from any thread.
unsafe impl Send for ProcessRef {}
// SAFETY: As above.
unsafe impl Sync for ProcessRef {}

impl ProcessRef {
    /// The process of the caller.
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: Takes no argument; returns a counted pointer.
        // INVARIANT: The count is ours.
        NonNull::new(unsafe { ffi::abuse_current_process() }).map(ProcessRef)
    }

    /// What C knows it by, for as long as this lives.
    pub(super) fn as_ptr(&self) -> *mut bindings::pid {
        self.0.as_ptr()
    }

    /// Its number, as the caller's pid namespace knows it; 0 if it does not.
    pub(crate) fn number(&self) -> u32 {
        // SAFETY: The pointer is valid by the type invariant.
        let number = unsafe { bindings::pid_vnr(self.0.as_ptr()) };
        number.max(0) as u32
    }
}

impl Process for ProcessRef {
    fn is_alive(&self) -> bool {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { ffi::abuse_process_is_alive(self.0.as_ptr()) }
    }
}

impl Drop for ProcessRef {
    fn drop(&mut self) {
        // SAFETY: The count is ours by the type invariant.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}

/// Tells the caller's process from others; valid while a [`ProcessRef`] to it is held.
pub(crate) fn current_key() -> usize {
    // SAFETY: Takes no argument; the result is not dereferenced.
    unsafe { ffi::abuse_current_process_key() as usize }
}

/// A token for a caller that brought none: of its pid and its start time.
pub(crate) fn current_token() -> u64 {
    // SAFETY: Takes no argument.
    unsafe { ffi::abuse_current_token() }
}

/// Whether the caller is on its way out.
pub(crate) fn current_is_dying() -> bool {
    // SAFETY: Takes no argument.
    unsafe { ffi::abuse_current_is_dying() }
}

/// Whether the caller may administer the system.
pub(crate) fn may_administer() -> bool {
    // SAFETY: Takes a constant.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}

/// Nanoseconds of CLOCK_MONOTONIC: suspend does not age anything.
pub(crate) fn now() -> u64 {
    // SAFETY: Takes no argument.
    let now = unsafe { bindings::ktime_get() };
    now.max(0) as u64
}

/// A number nobody can guess.
pub(crate) fn random() -> u64 {
    // SAFETY: Takes no argument.
    unsafe { bindings::get_random_u64() }
}

/// While it lives, this thread allocates without starting I/O, which might be served by the very
/// caller.
pub(crate) struct NoIo {
    flags: u32,
    _not_send: PhantomData<*mut ()>,
}

impl NoIo {
    /// Begins.
    pub(crate) fn new() -> Self {
        // SAFETY: Restored by drop, on the same thread since the type is not `Send`.
        let flags = unsafe { ffi::abuse_noio_save() };
        NoIo {
            flags,
            _not_send: PhantomData,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: The flags are those that `abuse_noio_save` returned on this thread.
        unsafe { ffi::abuse_noio_restore(self.flags) };
    }
}

/// While it lives, bottom halves are disabled on this CPU. Requests are ended under it: the end of
/// an I/O can drop the last reference to a file, whose release would otherwise run as task work of
/// the very worker that a partition scan, holding `open_mutex`, waits for (CVE-2025-68823).
pub(crate) struct NoBottomHalves(PhantomData<*mut ()>);

impl NoBottomHalves {
    /// Begins.
    pub(crate) fn new() -> Self {
        // SAFETY: Enabled again by drop, on the same thread since the type is not `Send`.
        unsafe { ffi::abuse_bh_disable() };
        NoBottomHalves(PhantomData)
    }
}

impl Drop for NoBottomHalves {
    fn drop(&mut self) {
        // SAFETY: Pairs with `new`.
        unsafe { ffi::abuse_bh_enable() };
    }
}
