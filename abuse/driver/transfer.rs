// SPDX-License-Identifier: GPL-2.0-only

//! The data of a request to and from a worker's buffer.
//!
//! Nothing here faults: a copy that meets a page that is not there fails at once, and is undone and
//! tried again by the caller after it has brought the pages in. So no request is ever in the middle
//! of a copy for as long as a worker pleases, and RESET waits for nobody.

use crate::sys::request::Request;
use crate::sys::user::NoFaults;

/// How often a copy is tried whose pages keep vanishing.
pub(crate) const TRIES: u32 = 3;

/// Copies the data of a request to `to`; whether all of it arrived.
#[inline(always)]
pub(crate) fn to_user(request: &Request, to: u64, no_faults: &NoFaults) -> bool {
    match request.only_segment() {
        Some(segment) => segment.copy_to_user(to, no_faults),
        None => all_to_user(request, to, no_faults),
    }
}

#[cold]
fn all_to_user(request: &Request, to: u64, no_faults: &NoFaults) -> bool {
    let mut at = to;
    request.segments().all(|segment| {
        let copied = segment.copy_to_user(at, no_faults);
        at = at.wrapping_add(u64::from(segment.len()));
        copied
    })
}

/// Fills the data of a request from `from`; whether all of it came.
#[inline(always)]
pub(crate) fn from_user(request: &Request, from: u64, no_faults: &NoFaults) -> bool {
    match request.only_segment() {
        Some(segment) => segment.copy_from_user(from, no_faults),
        None => all_from_user(request, from, no_faults),
    }
}

#[cold]
fn all_from_user(request: &Request, from: u64, no_faults: &NoFaults) -> bool {
    let mut at = from;
    request.segments().all(|segment| {
        let copied = segment.copy_from_user(at, no_faults);
        at = at.wrapping_add(u64::from(segment.len()));
        copied
    })
}

/// Fills the data of a request with zeros.
pub(crate) fn zero(request: &Request) {
    if let Some(segment) = request.only_segment() {
        return segment.zero();
    }
    request.segments().for_each(|segment| segment.zero());
}
