// SPDX-License-Identifier: MIT

//! f2fs, mounted with discard, under stress while a worker is killed every two seconds: nothing
//! fails, and when it is unmounted its own checker finds it clean. See [`stress`].

use anyhow::Result;

use crate::kit::stress::{stress, FileSystem};
use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    stress(guest, &FileSystem::F2FS)
}
