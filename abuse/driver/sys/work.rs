// SPDX-License-Identifier: GPL-2.0-only

//! The module's own work queue, which has run dry when it is dropped; and its hold on itself.
//!
//! C headers: `include/linux/workqueue.h`, `include/linux/module.h`.

use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;
use kernel::workqueue::Queue;

/// A work queue.
///
/// # Invariants
///
/// The pointer is a work queue that is destroyed only by drop.
pub(crate) struct WorkQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue may be used from any thread.
unsafe impl Send for WorkQueue {}
// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// Makes one, for work that may wait for disks.
    pub(crate) fn new() -> Result<Self> {
        // Nothing that frees memory waits for this queue.
        let flags = bindings::wq_flags_WQ_UNBOUND;
        // SAFETY: The format is static and takes nothing.
        let queue = unsafe { bindings::alloc_workqueue_noprof(c"abuse".as_char_ptr(), flags, 0) };
        // INVARIANT: Just allocated.
        Ok(WorkQueue(NonNull::new(queue).ok_or(ENOMEM)?))
    }

    /// Makes one for device `number` to move data to and from files. Memory may be freed by what it
    /// does, so it does it when there is none, too. Of its own: what one device waits for another may
    /// have to do.
    pub(crate) fn of_device(number: u32) -> Result<Self> {
        /// As much at once, of what sleeps.
        const MOST: i32 = 32;
        let flags = bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM;
        // SAFETY: The format is static and takes one number.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(c"abuse%u".as_char_ptr(), flags, MOST, number)
        };
        // INVARIANT: Just allocated.
        Ok(WorkQueue(NonNull::new(queue).ok_or(ENOMEM)?))
    }

    /// Waits for all work that has been put here, and for what that work puts here.
    pub(crate) fn drain(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }

    /// Where to put work.
    pub(crate) fn queue(&self) -> &Queue {
        // SAFETY: Valid by the type invariant for as long as `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant; waits for what is still queued.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// Keeps this module from being unloaded.
pub(crate) struct ModuleRef(());

impl ModuleRef {
    /// Takes a reference, unless the module is on its way out.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The module runs this code.
        match unsafe { bindings::try_module_get(crate::THIS_MODULE.as_ptr()) } {
            true => Ok(ModuleRef(())),
            false => Err(ENODEV),
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: Taken by `new`.
        unsafe { bindings::module_put(crate::THIS_MODULE.as_ptr()) };
    }
}
