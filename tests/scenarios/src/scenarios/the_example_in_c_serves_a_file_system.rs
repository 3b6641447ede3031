// SPDX-License-Identifier: MIT

//! The example device in C, as it stands in the README, sets a disk up, serves a file system
//! that keeps its bytes across an unmount, and ends when it is told to.

use anyhow::Result;

use crate::kit::{example, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    example::serves_a_file_system(guest, &["memory_disk"])
}
