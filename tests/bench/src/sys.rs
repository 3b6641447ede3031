// SPDX-License-Identifier: MIT

//! What tells the counting emulator that a phase begins or ends: instructions that do nothing.

use std::arch::asm;

/// From here on it counts, from nought.
#[inline(never)]
pub(crate) fn begin() {
    // SAFETY: a nop, which touches neither memory nor registers.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x84, 0x00, 0x01, 0x00, 0xab, 0x5e") };
}

/// Up to here it has counted. Phases are numbered by their ends, from 0.
#[inline(never)]
pub(crate) fn end() {
    // SAFETY: as above.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x84, 0x00, 0x02, 0x00, 0xab, 0x5e") };
}
