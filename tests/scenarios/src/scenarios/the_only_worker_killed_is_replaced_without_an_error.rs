// SPDX-License-Identifier: MIT

//! The only worker of a supervisor is killed with SIGKILL, twenty times, while fio writes and
//! verifies: requests wait until the next one is there, and nothing fails. Prints how long that
//! took: this is what a respawn costs.

use anyhow::Result;

use super::killed_workers_are_replaced_without_an_error::shoot;
use crate::kit::Guest;

pub(super) fn run(guest: &Guest) -> Result<()> {
    shoot(guest, 1)
}
