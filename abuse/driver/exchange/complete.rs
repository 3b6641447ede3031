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
use crate::sys::user::{self, NoFaults};
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
        let entries = match user::read_few::<Done, CHUNK>(at, count) {
            Ok(entries) => entries,
            Err(error) if completed == 0 && failed == 0 => return Err(error),
            // What cannot be read is refused; there is nowhere to say so but in the count.
            Err(_) => return Ok((completed, failed.saturating_add(left))),
        };
        let entries = entries.as_slice();
        let mut statuses = [0i32; CHUNK];
        let mut all = complete_chunk(device, entries, &mut statuses);
        if !all {
            if statuses.contains(&FORWARD) {
                forward(device, entries, &mut statuses);
            }
            all = complete_missing(device, entries, &mut statuses);
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

/// A request that is being completed: as which entry, and what becomes of it.
struct Begun<'a> {
    finish: Finish<Request, ()>,
    done: &'a Done,
    fate: Fate,
}

/// Requests that have left the ledger, with how they end.
pub(super) type Leaving = Few<(Ended<Request>, Status), CHUNK>;

/// Completes some entries, under two short holds of the lock; under one if none of them brings data.
/// Says in `statuses` what became of those that were not completed. Returns whether all of them were.
#[inline(never)] // Its frame must be gone when memory is faulted in.
fn complete_chunk(
    device: &Arc<Device>,
    entries: &[Done],
    statuses: &mut [i32; CHUNK],
) -> bool {
    let mut all = true;
    let mut together = Together::new();
    let mut leaving: Leaving = Few::new();
    let mut wake = Wake::default();
    let mut begun: Few<Begun<'_>, CHUNK> = Few::new();
    // All of them were done when the worker said so.
    let now = task::now();
    let mut ledger = device.ledger.lock();
    let mut filling = begun.filling();
    for (done, place) in entries.iter().zip(statuses.iter_mut()) {
        let status = match check(done) {
            Err(_) if is_forward(done) => FORWARD,
            Err(error) => error.to_errno(),
            Ok(()) => match ledger.finish_begin(done.id, false) {
                Ok(finish) => {
                    let fate = fate_of(&finish, done);
                    if fate == Fate::End {
                        // Nothing can go wrong any more: under this very hold of the lock.
                        let status = status_of(done.result);
                        if trace::put_is_on() {
                            trace::put(device.number(), finish.id, &finish.request, status);
                        }
                        let gone = ledger.finish_commit(finish.bare(), status == Status::OK, now);
                        wake = wake.and(gone.wake);
                        leave(gone, status, &mut together, &mut leaving);
                        continue;
                    }
                    // There is room for as many as there are entries.
                    let finish = finish.bare();
                    filling.push(Begun { finish, done, fate });
                    continue;
                }
                Err(refusal) => refused(refusal),
            },
        };
        all = false;
        *place = status;
    }
    drop(filling);
    drop(ledger);

    if !begun.is_empty() {
        if !bring_all(&mut begun) {
            all = false;
            wake = wake.and(undo(device, &mut begun, entries, statuses, &mut leaving));
        }
        let mut ledger = device.ledger.lock();
        if trace::put_is_on() {
            for Begun { finish, done, .. } in begun.as_slice() {
                let status = status_of(done.result);
                trace::put(device.number(), finish.id, &finish.request, status);
            }
        }
        begun.take_each(|_, begun| {
            // Only what ends well brings data.
            let status = Status::OK;
            let gone = ledger.finish_commit(begun.finish, true, now);
            wake = wake.and(gone.wake);
            leave(gone, status, &mut together, &mut leaving);
        });
        drop(ledger);
    }
    device.wake(wake);
    end(device, together, &mut leaving);
    all
}

/// Brings the data of all that are to have some. Returns whether all of it was there.
#[inline(always)]
fn bring_all(begun: &mut Few<Begun<'_>, CHUNK>) -> bool {
    let mut all = true;
    let no_faults = NoFaults::new();
    for begun in begun.as_mut_slice() {
        let request = &begun.finish.request;
        match begun.fate {
            Fate::Copy => {
                if !transfer::from_user(request, begun.done.buffer, &no_faults) {
                    begun.fate = Fate::Missing;
                    all = false;
                }
            }
            Fate::Zero => transfer::zero(request),
            Fate::Missing | Fate::Never => all = false,
            Fate::End => {}
        }
    }
    all
}

/// Gives those back whose data were not to be had, and says why. The others stay in the list.
#[cold]
fn undo<'a>(
    device: &Device,
    begun: &mut Few<Begun<'a>, CHUNK>,
    entries: &[Done],
    statuses: &mut [i32; CHUNK],
    leaving: &mut Leaving,
) -> Wake {
    let mut wake = Wake::default();
    let mut others: Few<Begun<'a>, CHUNK> = Few::new();
    let mut ledger = device.ledger.lock();
    begun.take_each(|_, begun| {
        let status = match begun.fate {
            Fate::Missing => AGAIN,
            Fate::Never => EINVAL.to_errno(),
            _ => {
                let _ = others.push(begun);
                return;
            }
        };
        for (done, place) in entries.iter().zip(statuses.iter_mut()) {
            if core::ptr::eq(done, begun.done) {
                *place = status;
            }
        }
        match abort(device, &mut ledger, begun.finish) {
            Ok(others) => wake = wake.and(others),
            Err(gone) => {
                wake = wake.and(gone.wake);
                let _ = leaving.push((gone, Status::IO_ERROR));
            }
        }
    });
    drop(ledger);
    *begun = others;
    wake
}

/// Tries those again whose data were not there. Returns whether all entries are completed now.
#[cold]
fn complete_missing(
    device: &Arc<Device>,
    entries: &[Done],
    statuses: &mut [i32; CHUNK],
) -> bool {
    for (done, status) in entries.iter().zip(statuses.iter_mut()) {
        if *status == AGAIN {
            *status = complete_slowly(device, done);
        }
    }
    statuses.iter().all(|&status| status == 0)
}

/// Sees to the end of a request, once the ledger is unlocked.
#[inline(always)]
pub(super) fn leave(
    gone: Ended<Request>,
    status: Status,
    together: &mut Together,
    leaving: &mut Leaving,
) {
    // Taken apart, so that it is in memory only if it is left alone.
    let Ended {
        request,
        id,
        queued_at,
        doomed,
        wake,
    } = gone;
    let together = if status != Status::OK || doomed || trace::end_is_on() {
        Err(request)
    } else {
        together.add(request)
    };
    if let Err(request) = together {
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
        let brought = match fate_of(&finish, done) {
            Fate::Copy => transfer::from_user(&finish.request, done.buffer, &NoFaults::new()),
            // The entry was looked at before, and what it names has not changed.
            _ => false,
        };
        if finish_one(device, finish, brought.then(|| status_of(done.result))) {
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
            if trace::put_is_on() {
                trace::put(device.number(), finish.id, &finish.request, status);
            }
            let gone = ledger.finish_commit(finish, status == Status::OK, now);
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

/// Aborts a finish, and tells whoever traces if the request is offered again because of that.
#[cold]
fn abort<T>(
    device: &Device,
    ledger: &mut DeviceLedger,
    finish: Finish<Request, T>,
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

/// What becomes of a completion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It ends the request: all data are there, or none are needed.
    End,
    /// Data have to be copied.
    Copy,
    /// Data have to be zeroed.
    Zero,
    /// A page was missing.
    Missing,
    /// The entry does not fit the request.
    Never,
}

/// Only a read that went well brings data.
#[inline(always)]
fn fate_of(finish: &Finish<Request>, done: &Done) -> Fate {
    if finish.facts.op != Op::Read || done.result != abi::OK {
        return Fate::End;
    }
    if done.flags & abi::DONE_ZERO != 0 {
        return Fate::Zero;
    }
    match done.length == finish.facts.bytes {
        true => Fate::Copy,
        false => Fate::Never,
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
