// SPDX-License-Identifier: GPL-2.0-only

//! The table of devices: a lock in static memory, which the kernel crate initialises by hand.

use crate::table::Table;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

kernel::sync::global_lock! {
    // SAFETY: `init` is the first thing the module does.
    pub(crate) unsafe(uninit) static TABLE: Mutex<Table> = Table::new();
}

/// Makes the table usable. Once.
pub(crate) fn init() -> Result {
    static DONE: Atomic<u32> = Atomic::new(0);
    if DONE.xchg(1, Relaxed) != 0 {
        return Err(EBUSY);
    }
    // SAFETY: Got here once, as the exchange above says.
    unsafe { TABLE.init() };
    Ok(())
}
