// SPDX-License-Identifier: GPL-2.0-only

//! Completing: begin, bring the data, commit; and seeing requests to their end.

use super::forward::forward;
use crate::abi::{self, Done, Exchange};
use crate::device::{Device, DeviceLedger, LockedLedger, CHUNK};
use crate::ledger::{Ended, Facts, Finish, Op, Refusal, Wake};
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
    let mut failed = 0u32;
    let mut at = call.done;
    let mut left = call.done_count;
    while left > 0 {
        let first = left == call.done_count;
        let count = (left as usize).min(CHUNK);
        let mut entries: Few<Done, CHUNK> = Few::new();
        if let Err(error) = user::read_few(at, count, &mut entries) {
            if first {
                return Err(error);
            }
            // What cannot be read is refused; there is nowhere to say so but in the count.
            failed = failed.saturating_add(left);
            break;
        }
        let entries = entries.as_slice();
        let mut refused: Refused = Few::new();
        if !complete_chunk(device, entries, first, &mut refused) {
            return Err(device.absence());
        }
        if !refused.is_empty() {
            failed = failed.saturating_add(complete_others(device, at, entries, &refused));
        }
        at = at.wrapping_add(size_of::<Done>().wrapping_mul(count) as u64);
        left = left.saturating_sub(count as u32);
    }
    Ok((call.done_count.saturating_sub(failed), failed))
}

/// Sees to the entries that could not be completed at once: forwards those that ask for it, brings in
/// what was missing, and tells the worker of the others. Returns how many those are.
#[cold]
fn complete_others(device: &Arc<Device>, at: u64, entries: &[Done], refused: &Refused) -> u32 {
    let mut statuses = [0i32; CHUNK];
    for &(entry, status) in refused.as_slice() {
        if let Some(place) = statuses.get_mut(usize::from(entry)) {
            *place = status;
        }
    }
    if statuses.contains(&FORWARD) {
        forward(device, entries, &mut statuses);
    }
    let mut failed = 0u32;
    for (index, (done, status)) in entries.iter().zip(statuses).enumerate() {
        let status = match status {
            AGAIN => complete_slowly(device, done),
            status => status,
        };
        if status == 0 {
            continue;
        }
        failed = failed.wrapping_add(1);
        if trace::put_is_on() {
            trace::put_refused(device.number(), done.id, status);
        }
        let entry = at.wrapping_add(index.wrapping_mul(size_of::<Done>()) as u64);
        // A caller that takes this memory away is told by the count alone.
        let _ = user::write(entry.wrapping_add(STATUS_OFFSET), &status);
    }
    failed
}

const STATUS_OFFSET: u64 = core::mem::offset_of!(Done, status) as u64;

/// Entries that were not completed, and why not.
type Refused = Few<(u8, i32), CHUNK>;

const _: () = assert!(CHUNK <= u8::MAX as usize);

/// A request that is being completed: as which entry, and what becomes of it.
struct Begun<'a> {
    finish: Finish<Request, ()>,
    done: &'a Done,
    fate: Fate,
}

/// Requests that have left the ledger, with how they end.
pub(super) type Leaving = Few<(Ended<Request>, Status), CHUNK>;

/// Completes some entries, under two short holds of the lock; under one if none of them brings data.
/// Says which were not completed. False if there is no disk, which only the `first` hear.
#[inline(never)] // Its frame must be gone when memory is faulted in.
fn complete_chunk(
    device: &Arc<Device>,
    entries: &[Done],
    first: bool,
    refused: &mut Refused,
) -> bool {
    let mut ending = Ending {
        together: Together::new(),
        leaving: Few::new(),
        // All of them were done when the worker said so.
        now: task::now(),
    };
    let mut begun: Few<Begun<'_>, CHUNK> = Few::new();
    let mut ledger = device.ledger.lock();
    if first && !ledger.is_alive() {
        return false;
    }
    begin_all(
        device,
        &mut ledger,
        entries,
        &mut begun,
        &mut ending,
        refused,
    );
    let mut wake = ledger.wake_the_kept();
    drop(ledger);

    if !begun.is_empty() {
        if !bring_all(&mut begun) {
            let leaving = &mut ending.leaving;
            wake = wake.and(undo(device, &mut begun, entries, refused, leaving));
        }
        let mut ledger = device.ledger.lock();
        if trace::put_is_on() {
            for Begun { finish, done, .. } in begun.as_slice() {
                let status = status_of(done.result);
                trace::put(device.number(), finish.id, finish.request.seen(), status);
            }
        }
        commit_all(&mut ledger, &mut begun, &mut ending);
        wake = wake.and(ledger.wake_the_kept());
        drop(ledger);
    }
    device.wake(wake);
    end(device, ending.together, &mut ending.leaving);
    true
}

/// Requests on their way out.
struct Ending {
    together: Together,
    leaving: Leaving,
    now: u64,
}

/// Begins to complete, and ends what needs no data at once.
#[inline(never)] // As `Terms::claim`.
fn begin_all<'a>(
    device: &Device,
    ledger: &mut LockedLedger<'_>,
    entries: &'a [Done],
    begun: &mut Few<Begun<'a>, CHUNK>,
    ending: &mut Ending,
    refused: &mut Refused,
) {
    let mut filling = begun.filling();
    for done in entries {
        let status = match check(done) {
            Err(_) if is_forward(done) => FORWARD,
            Err(error) => error.to_errno(),
            Ok(()) => match ledger.finish_begin(done.id, false) {
                Ok(finish) => {
                    let (facts, finish) = (finish.facts, finish.bare());
                    let fate = fate_of(facts, done);
                    if fate != Fate::End {
                        // There is room for as many as there are entries.
                        filling.push(Begun { finish, done, fate });
                        continue;
                    }
                    // Nothing can go wrong any more: under this very hold of the lock.
                    let status = status_of(done.result);
                    if trace::put_is_on() {
                        let (id, request) = (finish.id, finish.request.seen());
                        trace::put(device.number(), id, request, status);
                    }
                    let gone = ledger.finish_commit(finish, status == Status::OK, ending.now);
                    leave(gone, status, &mut ending.together, &mut ending.leaving);
                    continue;
                }
                Err(refusal) => self::refused(refusal),
            },
        };
        refuse(entries, done, status, refused);
    }
}

#[cold]
fn refuse(entries: &[Done], done: &Done, status: i32, refused: &mut Refused) {
    let is = |entry: &Done| core::ptr::eq(entry, done);
    if let Some(entry) = entries.iter().position(is) {
        let _ = refused.push((entry as u8, status));
    }
}

/// Ends those whose data have been brought.
#[inline(never)] // As `Terms::claim`.
fn commit_all(
    ledger: &mut LockedLedger<'_>,
    begun: &mut Few<Begun<'_>, CHUNK>,
    ending: &mut Ending,
) {
    begun.take_each(|_, begun| {
        // Only what ends well brings data.
        let gone = ledger.finish_commit(begun.finish, true, ending.now);
        leave(gone, Status::OK, &mut ending.together, &mut ending.leaving);
    });
}

/// Brings the data of all that are to have some. Returns whether all of it was there.
#[inline(never)] // As `Terms::claim`.
fn bring_all(begun: &mut Few<Begun<'_>, CHUNK>) -> bool {
    let mut all = true;
    let no_faults = NoFaults::new();
    for begun in begun.as_mut_slice() {
        let request = &begun.finish.request;
        if begun.fate == Fate::Copy {
            if !transfer::from_user(request, begun.done.buffer, &no_faults) {
                begun.fate = Fate::Missing;
                all = false;
            }
            continue;
        }
        match begun.fate {
            Fate::Zero => transfer::zero(request),
            Fate::Missing | Fate::Never => all = false,
            Fate::End | Fate::Copy => {}
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
    refused: &mut Refused,
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
        refuse(entries, begun.done, status, refused);
        match abort(device, &mut ledger, begun.finish) {
            Ok(others) => wake = wake.and(others),
            Err(gone) => {
                let _ = leaving.push((gone, Status::IO_ERROR));
            }
        }
    });
    wake = wake.and(ledger.wake_the_kept());
    drop(ledger);
    *begun = others;
    wake
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
        let brought = match fate_of(finish.facts, done) {
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
                trace::put(device.number(), finish.id, finish.request.seen(), status);
            }
            let gone = ledger.finish_commit(finish, status == Status::OK, now);
            Ok((gone, status))
        }
        None => {
            abort(device, &mut ledger, finish).map_or_else(|gone| Ok((gone, Status::IO_ERROR)), Err)
        }
    };
    let wake = ledger.wake_the_kept();
    drop(ledger);
    match gone {
        Ok((gone, status)) => {
            device.wake(wake);
            let mut leaving: Leaving = Few::new();
            let _ = leaving.push((gone, status));
            end_each(device, &mut leaving, &NoBottomHalves::new());
            true
        }
        Err(others) => {
            device.wake(wake.and(others));
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
fn fate_of(asked: Facts, done: &Done) -> Fate {
    if asked.op != Op::Read || done.result != abi::OK {
        return Fate::End;
    }
    if done.flags != 0 || done.length != asked.bytes {
        return unlikely_fate(done);
    }
    Fate::Copy
}

#[cold]
fn unlikely_fate(done: &Done) -> Fate {
    match done.flags & abi::DONE_ZERO {
        0 => Fate::Never,
        _ => Fate::Zero,
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
