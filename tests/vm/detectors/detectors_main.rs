// SPDX-License-Identifier: GPL-2.0

//! Commits, when it is loaded, the one crime that it was asked for, so that the debug kernel can be
//! seen to notice: `insmod detectors.ko crime=N`, by the numbers below.
//!
//! Every crime leaves the machine able to go on, and the module able to be unloaded.

mod sys;

use core::mem::ManuallyDrop;
use kernel::prelude::*;
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
            5 => sys::delete_twice()?,
            6 => leak()?,
            // For longer than anybody should.
            7 => sys::sleep_uninterruptibly(20_000),
            // An hour before its time.
            8 => sys::free_set_timer(3_600_000)?,
            _ => return Err(EINVAL),
        }
        Ok(Detectors)
    }
}

/// Reads memory that was given back.
fn use_after_free() -> Result {
    let stale = sys::read_freed(KBox::new([1u64; 8], GFP_KERNEL)?);
    pr_info!("read {} after it was freed\n", stale & 1);
    Ok(())
}

/// Reads behind the end of memory.
fn out_of_bounds() -> Result {
    let behind = sys::read_behind(&*KBox::new([1u8; 40], GFP_KERNEL)?);
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

/// Forgets memory, several times: some stale copy of the address may hide one.
fn leak() -> Result {
    for number in 0..16u64 {
        let _ = ManuallyDrop::new(KBox::new([number; 24], GFP_KERNEL)?);
    }
    Ok(())
}
