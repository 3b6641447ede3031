// SPDX-License-Identifier: GPL-2.0

//! Commits, when it is loaded, the one crime that it was asked for, so that the debug kernel can be
//! seen to notice: `insmod detectors.ko crime=N`, by the numbers below.
//!
//! Every crime leaves the machine able to go on, and the module able to be unloaded.

use core::mem::ManuallyDrop;
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;
use kernel::{new_mutex, new_spinlock};

module! {
    type: Detectors,
    name: "detectors",
    authors: ["The ABUSE project"],
    description: "Commits crimes for the detectors of a debug kernel to find",
    license: "GPL",
    params: {
        crime: u32 {
            default: 0,
            description: "Which; 0: none",
        },
    },
}

struct Detectors;

impl kernel::Module for Detectors {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match *module_parameters::crime.value() {
            0 => {}
            1 => use_after_free()?,
            2 => out_of_bounds()?,
            3 => lock_inversion()?,
            4 => sleep_in_atomic()?,
            5 => list_corruption()?,
            6 => leak()?,
            7 => hung_task(),
            8 => free_active_timer()?,
            _ => return Err(EINVAL),
        }
        Ok(Detectors)
    }
}

/// Reads memory that was given back.
fn use_after_free() -> Result {
    let memory = KBox::into_raw(KBox::new([1u64; 8], GFP_KERNEL)?);
    // SAFETY: From `into_raw` above.
    drop(unsafe { KBox::from_raw(memory) });
    // SAFETY: There is none: this is the crime. It reads and changes nothing.
    let stale = unsafe { ptr::read_volatile(memory.cast::<u64>()) };
    pr_info!("read {} after it was freed\n", stale & 1);
    Ok(())
}

/// Reads behind the end of memory.
fn out_of_bounds() -> Result {
    let memory = KBox::new([1u8; 40], GFP_KERNEL)?;
    // SAFETY: There is none: this is the crime. The byte is in the same slab.
    let behind = unsafe { ptr::read_volatile((&raw const *memory).cast::<u8>().wrapping_add(41)) };
    pr_info!("read {} behind the end\n", behind & 1);
    Ok(())
}

/// Takes two locks in one order, then in the other.
fn lock_inversion() -> Result {
    let one = KBox::pin_init(new_mutex!((), "detectors::one"), GFP_KERNEL)?;
    let two = KBox::pin_init(new_mutex!((), "detectors::two"), GFP_KERNEL)?;
    {
        let _one = one.lock();
        let _two = two.lock();
    }
    let _two = two.lock();
    let _one = one.lock();
    Ok(())
}

/// Allocates in a way that may sleep, under a spin lock.
fn sleep_in_atomic() -> Result {
    let lock = KBox::pin_init(new_spinlock!((), "detectors::spin"), GFP_KERNEL)?;
    let _guard = lock.lock();
    let _memory = KBox::new(0u64, GFP_KERNEL)?;
    Ok(())
}

extern "C" {
    fn detectors_delete_twice(head: *mut bindings::list_head, entry: *mut bindings::list_head);
}

/// Takes an entry off its list twice.
fn list_corruption() -> Result {
    let list = KBox::new(Opaque::<[bindings::list_head; 2]>::uninit(), GFP_KERNEL)?;
    let head = list.get().cast::<bindings::list_head>();
    // SAFETY: Two list heads; the callee initialises what it uses.
    unsafe { detectors_delete_twice(head, head.add(1)) };
    Ok(())
}

/// Forgets memory, several times: some stale copy of the address may hide one.
fn leak() -> Result {
    for number in 0..16u64 {
        let _ = ManuallyDrop::new(KBox::new([number; 24], GFP_KERNEL)?);
    }
    Ok(())
}

/// Waits uninterruptibly for longer than anybody should.
fn hung_task() {
    // SAFETY: A process may sleep here.
    unsafe { bindings::schedule_timeout_uninterruptible(msecs_to_jiffies(20_000) as isize) };
}

unsafe extern "C" fn never(_timer: *mut bindings::timer_list) {}

/// Frees a timer that is still set.
fn free_active_timer() -> Result {
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
    // SAFETY: Initialised above. An hour from now; the detector takes it down when it is freed.
    unsafe { bindings::mod_timer(timer.get(), bindings::jiffies + msecs_to_jiffies(3_600_000)) };
    drop(timer);
    Ok(())
}
