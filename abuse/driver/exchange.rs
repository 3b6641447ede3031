// SPDX-License-Identifier: GPL-2.0-only

//! EXCHANGE: complete requests, then take new ones.
//!
//! Both ways a request is handled in three steps: begin under the ledger's lock, copy without any
//! lock and without faulting, commit or abort under the lock. A copy that met a missing page is
//! undone, the page is brought in while nothing is held, and it is tried again. So a worker with
//! slow memory delays nobody but itself.
//!
//! A request that is forwarded is not copied: see `forward`.

mod complete;
mod forward;
mod take;

use crate::abi::{self, Exchange};
use crate::device::Device;
use crate::ledger::Who;
use complete::complete;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;
use take::take;

pub(crate) use complete::finish_one;

/// Calls with more entries than a device can have requests are refused.
const MOST: u32 = abi::MAX_TAGS;

/// Serves one EXCHANGE, and fills in what the caller gets to see.
///
/// `known` is where the ledger keeps the worker that used this file last.
pub(crate) fn exchange(
    device: &Arc<Device>,
    who: &Who,
    known: &Atomic<u32>,
    call: &mut Exchange,
) -> Result {
    let flags = abi::X_DETACHED | abi::X_NO_DATA;
    if call.flags & !flags != 0 || call.spin > abi::MAX_SPIN {
        return Err(EINVAL);
    }
    if call.done_count > MOST || call.take_max > MOST || call.take_min > call.take_max.max(1) {
        return Err(EINVAL);
    }
    let (mut completed, mut failed) = (0, 0);
    if call.done_count > 0 {
        (completed, failed) = complete(device, call)?;
    }
    call.done_failed = failed;
    call.taken = 0;
    if call.take_max > 0 {
        Device::mark_live(device);
        // A worker is told of a refusal at once.
        let patience = if failed == 0 { call.timeout_ns } else { 0 };
        match take(device, who, known, call, patience) {
            Err(error) if completed == 0 && failed == 0 && call.taken == 0 => return Err(error),
            // How many are left was seen when the last were handed over, or when there were none.
            Ok(()) => return Ok(()),
            Err(_) => {}
        }
    }
    let ledger = device.ledger.lock();
    if !ledger.is_alive() && completed == 0 && failed == 0 {
        return Err(device.absence());
    }
    (call.epoch, call.queued) = (ledger.epoch(), ledger.queued());
    Ok(())
}
