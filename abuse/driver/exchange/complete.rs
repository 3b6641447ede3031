// SPDX-License-Identifier: GPL-2.0-only

//! Completing: begin, bring the data, commit; and seeing requests to their end.

use super::forward::forward;
use crate::abi::{self, Done, Exchange};
use crate::device::{Device, DeviceLedger, CHUNK};
use crate::ledger::{Ended, Finish, Op, Refusal, Wake};
use crate::sys::few::Few;
use crate::sys::request::{Request, Status, Together};
use crate::sys::task::{self, NoBottomHalves};
use crate::sys::trace;
use crate::sys::user;
use crate::transfer;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::sync::Arc;

// Not among the kernel crate's error codes.
const ESTALE: i32 = kernel::bindings::ESTALE as i32;

/// Completes what the call names. Returns how many were completed and how many refused.
pub(super) fn complete(device: &Arc<Device>, call: &Exchange) -> Result<(u32, u32)> {
    let (mut completed, mut failed) = (0u32, 0u32);
    let mut at = call.done;
    let mut left = call.done_count;
    while left > 0 {
        let count = (left as usize).min(CHUNK);
        let mut entries: Few<Done, CHUNK> = Few::new();
        while entries.as_slice().len() < count {
            let _ = entries.push(Done::default());
        }
        let entries = entries.as_mut_slice();
        if let Err(error) = user::read_slice(at, entries) {
            if completed == 0 && failed == 0 {
                return Err(error);
            }
            // What cannot be read is refused; there is nowhere to say so but in the count.
            return Ok((completed, failed.saturating_add(left)));
        }
        let (mut statuses, mut all) = complete_chunk(device, entries);
        if !all && statuses.contains(&FORWARD) {
            forward(device, entries, &mut statuses);
            all = statuses.iter().all(|&status| status == 0);
        }
        at = at.wrapping_add(size_of::<Done>().wrapping_mul(count) as u64);
        left = left.saturating_sub(count as u32);
        if all {
            completed = completed.wrapping_add(count as u32);
            continue;
        }
        for (index, &status) in statuses.iter().take(count).enumerate() {
            if status == 0 {
                completed = completed.wrapping_add(1);
                continue;
            }
            failed = failed.wrapping_add(1);
            if trace::put_is_on() {
                let id = entries.get(index).map_or(0, |done| done.id);
                trace::put_refused(device.number(), id, status);
            }
            let back = count.wrapping_sub(index).wrapping_mul(size_of::<Done>());
            let entry = at.wrapping_sub(back as u64);
            // A caller that takes this memory away is told by the count alone.
            let _ = user::write(entry.wrapping_add(STATUS_OFFSET), &status);
        }
    }
    Ok((completed, failed))
}

const STATUS_OFFSET: u64 = core::mem::offset_of!(Done, status) as u64;

/// A request that is being completed: which entry it is of, and what becomes of it.
struct Begun {
    finish: Finish<Request>,
    entry: u8,
    fate: Brought,
}

const _: () = assert!(CHUNK <= u8::MAX as usize);

/// Requests that have left the ledger, with how they end.
pub(super) type Leaving = Few<(Ended<Request>, Status), CHUNK>;

/// Completes some entries, under two short holds of the lock. Returns their statuses, and whether all
/// of them are 0.
#[inline(never)] // Its frame must be gone when memory is faulted in.
fn complete_chunk(device: &Arc<Device>, entries: &[Done]) -> ([i32; CHUNK], bool) {
    let mut all = true;
    let mut statuses = [0i32; CHUNK];
    let mut begun: Few<Begun, CHUNK> = Few::new();
    let mut ledger = device.ledger.lock();
    for (entry, done) in entries.iter().enumerate() {
        let status = match check(done) {
            Err(_) if is_forward(done) => FORWARD,
            Err(error) => error.to_errno(),
            Ok(()) => match ledger.finish_begin(done.id, false) {
                Ok(finish) => {
                    // There is room for as many as there are entries.
                    let _ = begun.push(Begun {
                        finish,
                        entry: entry as u8,
                        fate: Brought::All,
                    });
                    continue;
                }
                Err(refusal) => refused(refusal),
            },
        };
        all = false;
        if let Some(place) = statuses.get_mut(entry) {
            *place = status;
        }
    }
    drop(ledger);
    if !all && begun.is_empty() {
        return (statuses, all);
    }

    for begun in begun.as_mut_slice() {
        if let Some(done) = entries.get(usize::from(begun.entry)) {
            if begun.finish.op == Op::Read && done.result == abi::OK {
                begun.fate = bring(&begun.finish, done);
            }
        }
    }

    let mut together = Together::new();
    let mut leaving: Leaving = Few::new();
    let mut wake = Wake::default();
    let mut again = false;
    let now = task::now();
    let mut ledger = device.ledger.lock();
    begun.take_each(|_, begun| {
        let entry = usize::from(begun.entry);
        if begun.fate == Brought::All {
            let result = entries.get(entry).map_or(abi::OK, |done| done.result);
            let status = status_of(result);
            let gone = commit(device, &mut ledger, begun.finish, status, now);
            wake = wake.and(gone.wake);
            leave(gone, status, &mut together, &mut leaving);
            return;
        }
        all = false;
        again |= begun.fate == Brought::Missing;
        if let Some(status) = statuses.get_mut(entry) {
            *status = match begun.fate {
                Brought::Never => EINVAL.to_errno(),
                _ => AGAIN,
            };
        }
        match abort(device, &mut ledger, begun.finish) {
            Ok(others) => wake = wake.and(others),
            Err(gone) => {
                wake = wake.and(gone.wake);
                leave(gone, Status::IO_ERROR, &mut together, &mut leaving);
            }
        }
    });
    drop(ledger);
    device.wake(wake);
    end(device, together, &mut leaving);

    if again {
        for (done, status) in entries.iter().zip(&mut statuses) {
            if *status == AGAIN {
                *status = complete_slowly(device, done);
            }
        }
    }
    (statuses, all)
}

/// Sees to the end of a request, once the ledger is unlocked.
#[inline(always)]
pub(super) fn leave(
    gone: Ended<Request>,
    status: Status,
    together: &mut Together,
    leaving: &mut Leaving,
) {
    if status != Status::OK || gone.doomed || trace::end_is_on() {
        return leave_alone(gone, status, leaving);
    }
    let Ended {
        request,
        id,
        queued_at,
        doomed,
        wake,
    } = gone;
    if let Err(request) = together.add(request) {
        let gone = Ended {
            request,
            id,
            queued_at,
            doomed,
            wake,
        };
        leave_alone(gone, status, leaving);
    }
}

#[cold]
fn leave_alone(gone: Ended<Request>, status: Status, leaving: &mut Leaving) {
    // There is room for every request of a chunk.
    let _ = leaving.push((gone, status));
}

/// Marks an entry that is to be tried again; no status that anybody gets to see.
const AGAIN: i32 = i32::MIN;
/// Marks an entry that is to be forwarded; as above.
pub(super) const FORWARD: i32 = i32::MIN + 1;

pub(super) fn refused(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::Stale => -ESTALE,
        Refusal::Unknown => ENOENT.to_errno(),
    }
}

/// Completes an entry whose buffer was not there: brings it in first, and tries a few times.
fn complete_slowly(device: &Arc<Device>, done: &Done) -> i32 {
    for _ in 0..transfer::TRIES {
        if let Err(error) = user::fault_in_readable(done.buffer, done.length as usize) {
            return error.to_errno();
        }
        let begun = device.ledger.lock().finish_begin(done.id, false);
        let finish = match begun {
            Ok(finish) => finish,
            Err(refusal) => return refused(refusal),
        };
        let all = matches!(bring(&finish, done), Brought::All);
        if finish_one(device, finish, all.then(|| status_of(done.result))) {
            return 0;
        }
    }
    EAGAIN.to_errno()
}

/// Commits a finish with a status, or aborts it. Returns whether the request has ended.
pub(crate) fn finish_one(
    device: &Arc<Device>,
    finish: Finish<Request>,
    status: Option<Status>,
) -> bool {
    let now = task::now();
    let mut ledger = device.ledger.lock();
    let gone = match status {
        Some(status) => {
            let gone = commit(device, &mut ledger, finish, status, now);
            Ok((gone, status))
        }
        None => {
            abort(device, &mut ledger, finish).map_or_else(|gone| Ok((gone, Status::IO_ERROR)), Err)
        }
    };
    drop(ledger);
    match gone {
        Ok((gone, status)) => {
            device.wake(gone.wake);
            let mut leaving: Leaving = Few::new();
            let _ = leaving.push((gone, status));
            end_each(device, &mut leaving, &NoBottomHalves::new());
            true
        }
        Err(wake) => {
            device.wake(wake);
            false
        }
    }
}

/// Commits a finish, and tells whoever traces.
#[inline(always)]
fn commit(
    device: &Device,
    ledger: &mut DeviceLedger,
    finish: Finish<Request>,
    status: Status,
    now: u64,
) -> Ended<Request> {
    if trace::put_is_on() {
        trace::put(device.number(), finish.id, &finish.request, status);
    }
    ledger.finish_commit(finish, status == Status::OK, now)
}

/// Aborts a finish, and tells whoever traces if the request is offered again because of that.
#[cold]
fn abort(
    device: &Device,
    ledger: &mut DeviceLedger,
    finish: Finish<Request>,
) -> core::result::Result<Wake, Ended<Request>> {
    let id = finish.id;
    let outcome = ledger.finish_abort(finish);
    if trace::requeue_is_on() && outcome.is_ok() {
        if let Some(new) = ledger.id_now(id).filter(|&new| new != id) {
            trace::requeue_failed(device.number(), id, new);
        }
    }
    outcome
}

/// Ends what has left the ledger.
#[inline(always)]
pub(super) fn end(device: &Device, together: Together, leaving: &mut Leaving) {
    let off = NoBottomHalves::new();
    together.end(&off);
    if !leaving.is_empty() {
        end_each(device, leaving, &off);
    }
}

/// Ends by itself what ended badly, and what somebody wants to hear of.
#[inline(never)]
pub(super) fn end_each(device: &Device, leaving: &mut Leaving, off: &NoBottomHalves) {
    leaving.take_each(|_, (gone, status)| {
        let status = if gone.doomed {
            Status::IO_ERROR
        } else {
            status
        };
        if trace::end_is_on() {
            trace::end(device.number(), &gone, status);
        }
        gone.request.end(status, off);
    });
}

#[inline(always)]
fn check(done: &Done) -> Result {
    let known = done.flags & !abi::DONE_ZERO == 0 && done.result <= abi::WRITE_PROTECTED;
    if known && done.reserved == 0 {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

#[cold]
fn is_forward(done: &Done) -> bool {
    let flags = abi::DONE_FORWARD | abi::DONE_RETURN;
    let known = done.flags & !flags == 0 && done.flags & abi::DONE_FORWARD != 0;
    known && done.result == abi::OK && done.reserved == 0
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Brought {
    /// All data are there, or none are needed.
    All,
    /// A page was missing.
    Missing,
    /// The entry does not fit the request.
    Never,
}

/// Brings the data of a read that went well.
#[inline(always)]
fn bring(finish: &Finish<Request>, done: &Done) -> Brought {
    if finish.op != Op::Read || done.result != abi::OK {
        return Brought::All;
    }
    if done.flags & abi::DONE_ZERO != 0 {
        transfer::zero(&finish.request);
        return Brought::All;
    }
    if done.length != finish.bytes {
        return Brought::Never;
    }
    match transfer::from_user(&finish.request, done.buffer) {
        true => Brought::All,
        false => Brought::Missing,
    }
}

#[inline(always)]
pub(super) fn status_of(result: u16) -> Status {
    if result == abi::OK {
        return Status::OK;
    }
    match result {
        abi::NO_SPACE => Status::NO_SPACE,
        abi::TIMED_OUT => Status::TIMED_OUT,
        abi::MEDIUM_ERROR => Status::MEDIUM,
        abi::NOT_SUPPORTED => Status::NOT_SUPPORTED,
        abi::WRITE_PROTECTED => Status::TARGET,
        _ => Status::IO_ERROR,
    }
}
