// SPDX-License-Identifier: GPL-2.0

//! What the crimes need of C: all the `unsafe` of this module.
//!
//! C headers: `include/linux/list.h`, `include/linux/sched.h`, `include/linux/timer.h`.

use core::ptr;
use kernel::bindings;
use kernel::prelude::*;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

/// Gives memory back, and reads it then.
pub(crate) fn read_freed(memory: KBox<[u64; 8]>) -> u64 {
    let memory = KBox::into_raw(memory);
    // SAFETY: From `into_raw` above.
    drop(unsafe { KBox::from_raw(memory) });
    // SAFETY: There is none: this is the crime. It reads and changes nothing.
    unsafe { ptr::read_volatile(memory.cast::<u64>()) }
}

/// Reads the second byte behind the end.
pub(crate) fn read_behind(memory: &[u8; 40]) -> u8 {
    // SAFETY: There is none: this is the crime. The byte is in the same slab.
    unsafe { ptr::read_volatile((&raw const *memory).cast::<u8>().wrapping_add(41)) }
}

extern "C" {
    fn detectors_delete_twice(head: *mut bindings::list_head, entry: *mut bindings::list_head);
}

/// Puts an entry on a list, and takes it off twice.
pub(crate) fn delete_twice() -> Result {
    let list = KBox::new(Opaque::<[bindings::list_head; 2]>::uninit(), GFP_KERNEL)?;
    let head = list.get().cast::<bindings::list_head>();
    // SAFETY: Two list heads are that long.
    let entry = unsafe { head.add(1) };
    // SAFETY: Two list heads; the callee initialises what it uses.
    unsafe { detectors_delete_twice(head, entry) };
    Ok(())
}

/// Sleeps so that no signal ends it.
pub(crate) fn sleep_uninterruptibly(milliseconds: u32) {
    // SAFETY: A process may sleep where a module is loaded, the only place this is called from.
    unsafe { bindings::schedule_timeout_uninterruptible(msecs_to_jiffies(milliseconds) as isize) };
}

unsafe extern "C" fn never(_timer: *mut bindings::timer_list) {}

/// Sets a timer to so much later, and gives its memory back.
pub(crate) fn free_set_timer(milliseconds: u32) -> Result {
    let timer = KBox::new(Opaque::<bindings::timer_list>::uninit(), GFP_KERNEL)?;
    // SAFETY: The memory of a timer, and a key that is never used again.
    unsafe {
        bindings::timer_init_key(
            timer.get(),
            Some(never),
            0,
            c"detectors::timer".as_char_ptr(),
            kernel::static_lock_class!().as_ptr(),
        )
    };
    // SAFETY: Only read; it changes all the time.
    let now = unsafe { ptr::read_volatile(&raw const bindings::jiffies) };
    // SAFETY: Initialised above. The detector takes it down when it is freed.
    unsafe { bindings::mod_timer(timer.get(), now + msecs_to_jiffies(milliseconds)) };
    drop(timer);
    Ok(())
}
