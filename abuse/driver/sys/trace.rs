// SPDX-License-Identifier: GPL-2.0-only

//! Tracepoints: the life of each request, for perf and trace-cmd.
//!
//! While nobody traces, each costs the path it lies on one instruction that does nothing: the static
//! key is looked at here and not behind a call. What is behind it may be called with the ledger
//! locked, and has to be, so that the events of a request come in the order of what they tell.
//!
//! C headers: `include/linux/tracepoint.h`, `sys/trace.h`.

use super::ffi;
use super::request::{Request, Seen, Status};
use super::task::ProcessRef;
use crate::ledger::{Again, Ended, Op, Why};
use kernel::bindings;

/// `struct abuse_trace_request`
#[repr(C)]
pub(super) struct About {
    id: u64,
    sector: u64,
    device: u32,
    bytes: u32,
    op: u32,
}

impl About {
    fn new(device: u32, id: u64, op: Option<Op>, request: &Request) -> Self {
        About {
            id,
            sector: request.sector(),
            device,
            bytes: request.bytes(),
            op: op.map_or(UNKNOWN, |op| op as u32),
        }
    }

    /// A request of which the id is all that is known.
    fn unknown(device: u32, id: u64) -> Self {
        About {
            id,
            sector: 0,
            device,
            bytes: 0,
            op: UNKNOWN,
        }
    }
}

/// Of an operation that is not known.
const UNKNOWN: u32 = 255;

macro_rules! point {
    ($(#[$doc:meta])* $enabled:ident, $key:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $enabled() -> bool {
            #[allow(
                improper_ctypes,
                reason = "the kernel's struct; only the address of its key is used"
            )]
            extern "C" {
                static $key: bindings::tracepoint;
            }
            // SAFETY: The static key of a tracepoint that trace.c defines.
            unsafe { kernel::jump_label::static_branch_unlikely!($key, bindings::tracepoint, key) }
        }
    };
}

point!(
    /// Whether anybody wants to hear of arrivals.
    queue_is_on,
    __tracepoint_abuse_queue
);
point!(
    /// Whether anybody wants to hear of what is taken.
    get_is_on,
    __tracepoint_abuse_get
);
point!(
    /// Whether anybody wants to hear of what is completed.
    put_is_on,
    __tracepoint_abuse_put
);
point!(
    /// Whether anybody wants to hear of what is offered again.
    requeue_is_on,
    __tracepoint_abuse_requeue
);
point!(
    /// Whether anybody wants to hear of ends.
    end_is_on,
    __tracepoint_abuse_end
);

/// A request arrives, and will be known by this id.
#[cold]
pub(crate) fn queue(device: u32, id: u64, request: Seen<'_>) {
    let about = About::new(device, id, request.op(), &request);
    let flags = u32::from(request.fua()) | u32::from(request.nounmap()) << 1;
    // SAFETY: The callee reads the struct.
    unsafe { ffi::abuse_do_trace_queue(&about, flags) };
}

/// The calling process has taken a request.
#[cold]
pub(crate) fn get(device: u32, id: u64, request: &Request, attempt: u32, age: u64) {
    let about = About::new(device, id, request.op(), request);
    // SAFETY: As above.
    unsafe { ffi::abuse_do_trace_get(&about, attempt, age, false) };
}

/// The calling client of 2009 has seen a request.
#[cold]
pub(crate) fn show(device: u32, id: u64, request: &Request) {
    let about = About::new(device, id, request.op(), request);
    // SAFETY: As above.
    unsafe { ffi::abuse_do_trace_get(&about, 0, 0, true) };
}

/// The calling process completes a request.
#[cold]
pub(crate) fn put(device: u32, id: u64, request: Seen<'_>, status: Status) {
    let about = About::new(device, id, request.op(), &request);
    // SAFETY: As above.
    unsafe { ffi::abuse_do_trace_put(&about, status.0, 0) };
}

/// The calling process could not complete what it knows by this id.
#[cold]
pub(crate) fn put_refused(device: u32, id: u64, errno: i32) {
    let about = About::unknown(device, id);
    // SAFETY: As above.
    unsafe { ffi::abuse_do_trace_put(&about, Status::OK.0, errno) };
}

/// A request is offered again, or given up.
#[cold]
pub(crate) fn requeue(device: u32, why: Why, again: &Again<'_, Request, ProcessRef>) {
    let about = About::new(device, again.id, Some(again.op), again.request);
    let process = again.holder.process();
    let process = process.map_or(core::ptr::null_mut(), ProcessRef::as_ptr);
    let why = match why {
        Why::Asked => 0,
        Why::Expired => 1,
        Why::Forced => 2,
        Why::Closed(None) => 3,
        Why::Closed(Some(_)) => 4,
    };
    // SAFETY: The holder keeps its process, and null is a process without a number.
    unsafe {
        ffi::abuse_do_trace_requeue(
            &about,
            again.new.unwrap_or(0),
            process,
            again.attempt,
            again.held_for,
            why,
        )
    };
}

/// A request whose owner had to give it back is offered again, as its completion failed.
#[cold]
pub(crate) fn requeue_failed(device: u32, id: u64, new: u64) {
    let about = About::unknown(device, id);
    // SAFETY: As above.
    unsafe { ffi::abuse_do_trace_requeue(&about, new, core::ptr::null_mut(), 0, 0, 5) };
}

/// A request that was forwarded in vain is offered again.
#[cold]
pub(crate) fn requeue_forward(device: u32, id: u64, new: u64) {
    let about = About::unknown(device, id);
    // SAFETY: As above.
    unsafe { ffi::abuse_do_trace_requeue(&about, new, core::ptr::null_mut(), 0, 0, 6) };
}

/// A request ends.
#[cold]
pub(crate) fn end(device: u32, ended: &Ended<Request>, status: Status) {
    let about = About::new(device, ended.id, ended.request.op(), &ended.request);
    let age = super::task::now().saturating_sub(ended.queued_at);
    // SAFETY: The callee reads the struct.
    unsafe { ffi::abuse_do_trace_end(&about, status.0, age) };
}
