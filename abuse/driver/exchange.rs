// SPDX-License-Identifier: GPL-2.0-only

//! EXCHANGE: complete requests, then take new ones.
//!
//! Both ways a request is handled in three steps: begin under the ledger's lock, copy without any
//! lock and without faulting, commit or abort under the lock. A copy that met a missing page is
//! undone, the page is brought in while nothing is held, and it is tried again. So a worker with
//! slow memory delays nobody but itself.

use crate::abi::{self, Done, Exchange, Take};
use crate::device::{Device, DeviceLedger, Woken, CHUNK};
use crate::ledger::{Claim, Ended, Finish, Next, Op, Refusal, Wake, Who};
use crate::sys::few::Few;
use crate::sys::request::{Request, Status, Together};
use crate::sys::task::{self, NoBottomHalves};
use crate::sys::trace;
use crate::sys::user;
use crate::transfer;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

// Not among the kernel crate's error codes.
const ESTALE: i32 = kernel::bindings::ESTALE as i32;

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
    if call.flags & !flags != 0 || call.reserved != 0 {
        return Err(EINVAL);
    }
    if call.done_count > MOST || call.take_max > MOST || call.take_min > call.take_max.max(1) {
        return Err(EINVAL);
    }
    let last = known.load(Relaxed);
    let ledger = device.ledger.lock();
    let (alive, epoch) = (ledger.is_alive(), ledger.epoch());
    // It stays its own as long as the caller lives and has the file open: through this call.
    let is_known = ledger.holder_is(last, who);
    drop(ledger);
    if !alive {
        return Err(device.absence());
    }
    call.epoch = epoch;
    let (completed, failed) = complete(device, call)?;
    call.done_failed = failed;
    call.taken = 0;
    if call.take_max > 0 {
        let mut holder = last;
        if !is_known {
            holder = match device.holder(who) {
                Ok(holder) => holder,
                Err(error) if completed == 0 && failed == 0 => return Err(error),
                Err(_) => {
                    call.queued = device.ledger.lock().queued();
                    return Ok(());
                }
            };
            known.store(holder, Relaxed);
        }
        Device::mark_live(device);
        // A worker is told of a refusal at once.
        let patience = if failed == 0 { call.timeout_ns } else { 0 };
        let outcome = take(device, holder, call, patience);
        if let Err(error) = outcome {
            if completed == 0 && failed == 0 && call.taken == 0 {
                return Err(error);
            }
        }
        if call.taken > 0 {
            // How many are left was seen when the last were handed over.
            return Ok(());
        }
    }
    call.queued = device.ledger.lock().queued();
    Ok(())
}

// --- Completing ---------------------------------------------------------------------------------

/// Completes what the call names. Returns how many were completed and how many refused.
fn complete(device: &Arc<Device>, call: &Exchange) -> Result<(u32, u32)> {
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
        let (statuses, all) = complete_chunk(device, entries);
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
type Leaving = Few<(Ended<Request>, Status), CHUNK>;

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
fn leave(gone: Ended<Request>, status: Status, together: &mut Together, leaving: &mut Leaving) {
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

fn refused(refusal: Refusal) -> i32 {
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
fn end(device: &Device, together: Together, leaving: &mut Leaving) {
    let off = NoBottomHalves::new();
    together.end(&off);
    if !leaving.is_empty() {
        end_each(device, leaving, &off);
    }
}

/// Ends by itself what ended badly, and what somebody wants to hear of.
#[inline(never)]
fn end_each(device: &Device, leaving: &mut Leaving, off: &NoBottomHalves) {
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
fn status_of(result: u16) -> Status {
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

// --- Taking -------------------------------------------------------------------------------------

/// Where the bytes of requests are placed.
struct Arena {
    base: u64,
    bytes: u64,
    used: u64,
}

impl Arena {
    fn room(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }

    /// The place of the next `bytes`.
    fn place(&mut self, bytes: u32) -> u64 {
        let at = self.base.wrapping_add(self.used);
        let align = u64::from(abi::ARENA_ALIGN - 1);
        let end = self.used.saturating_add(u64::from(bytes));
        self.used = end.saturating_add(align) & !align;
        at
    }
}

/// Why a chunk ended early.
enum Trouble {
    /// These bytes of user memory were not there.
    Missing(u64, usize),
    /// The next request does not fit.
    TooBig,
}

/// Takes up to `take_max` requests, waiting up to `patience` nanoseconds for `take_min`.
fn take(device: &Arc<Device>, holder: u32, call: &mut Exchange, patience: u64) -> Result {
    let data = call.flags & abi::X_NO_DATA == 0;
    let mut arena = Arena {
        base: call.arena,
        bytes: call.arena_bytes,
        used: 0,
    };
    let mut deadline = match patience {
        0 => 0,
        abi::FOREVER => u64::MAX,
        patience => task::now().saturating_add(patience),
    };
    let mut tries = 0;
    while call.taken < call.take_max {
        let chunk = Chunk {
            data,
            detached: call.flags & abi::X_DETACHED != 0,
            holder,
        };
        let Some((taken, trouble)) = chunk.take(device, call, &mut arena, deadline)? else {
            return Ok(());
        };
        if taken > 0 {
            call.taken = call.taken.saturating_add(taken);
            tries = 0;
        }
        match trouble {
            // There were no more. What has come since is for the next call, which is not far.
            None if (taken as usize) < CHUNK => return Ok(()),
            None => {}
            Some(Trouble::TooBig) => return Err(EMSGSIZE),
            Some(Trouble::Missing(at, len)) => {
                // The arena begins anew behind what was delivered: simplest is to stop here if
                // anything was.
                if call.taken > 0 {
                    return Ok(());
                }
                tries += 1;
                if tries > transfer::TRIES {
                    return Err(EAGAIN);
                }
                user::fault_in_writable(at, len)?;
                arena.used = 0;
            }
        }
        if call.taken > 0 {
            // Whatever else is there is taken too, but not waited for.
            deadline = 0;
        }
    }
    Ok(())
}

/// Claims with the place of their bytes.
type Claims = Few<(Claim<Request>, u64), CHUNK>;

/// How a chunk of requests is taken.
struct Chunk {
    data: bool,
    detached: bool,
    holder: u32,
}

impl Chunk {
    /// Takes requests, waiting for the first of them until `deadline`. Returns how many, and why no
    /// more; `None`: there are none.
    #[inline(never)] // As `complete_chunk`.
    fn take(
        &self,
        device: &Arc<Device>,
        call: &mut Exchange,
        arena: &mut Arena,
        deadline: u64,
    ) -> Result<Option<(u32, Option<Trouble>)>> {
        let mut claims: Claims = Few::new();
        let Some(too_big) = self.claim(device, call, arena, deadline, &mut claims)? else {
            return Ok(None);
        };
        let (taken, trouble) = self.deliver(device, call, &mut claims);
        Ok(Some((
            taken,
            trouble.or(too_big.then_some(Trouble::TooBig)),
        )))
    }

    /// Claims requests, waiting for them until `deadline`. `None`: there are none. The flag says
    /// that the one after the last did not fit.
    #[inline(always)]
    fn claim(
        &self,
        device: &Arc<Device>,
        call: &mut Exchange,
        arena: &mut Arena,
        deadline: u64,
        claims: &mut Claims,
    ) -> Result<Option<bool>> {
        let most = (call.take_max.saturating_sub(call.taken) as usize).min(CHUNK);
        let mut wait = deadline != 0;
        let mut interrupted = false;
        let mut ledger = device.ledger.lock();
        loop {
            if !ledger.is_alive() {
                return Err(device.absence());
            }
            let mut too_big = false;
            let min = call.take_min.min(ledger.tags());
            // Whoever is being stopped or killed leaves to others what it could do nothing with.
            if !interrupted && (!wait || ledger.is_ready_for(self.holder, min)) {
                let now = task::now();
                call.epoch = ledger.epoch();
                for _ in 0..most {
                    let room = if self.data { arena.room() } else { u64::MAX };
                    match ledger.take_begin(self.holder, self.detached, room, now) {
                        Next::Claim(claim) => {
                            let has_data = self.data && claim.op.has_data();
                            let at = if has_data {
                                arena.place(claim.bytes)
                            } else {
                                0
                            };
                            // There is room for `most`.
                            let _ = claims.push((claim, at));
                        }
                        Next::TooBig(_) => {
                            too_big = true;
                            break;
                        }
                        Next::Nothing => break,
                    }
                }
            }
            let some = !claims.is_empty();
            if some || too_big || !wait {
                // What is left may be for others.
                let wake = ledger.wake();
                drop(ledger);
                device.wake(wake);
                if some || too_big {
                    return Ok(Some(too_big));
                }
                return if interrupted {
                    Err(ERESTARTNOHAND)
                } else {
                    Ok(None)
                };
            }
            match device.sleep(&mut ledger, self.holder, min, deadline) {
                Woken::Look => {}
                Woken::Late => wait = false,
                Woken::Signal => {
                    wait = false;
                    interrupted = true;
                }
            }
        }
    }

    /// Copies claimed requests to the worker and commits them, in order, until one cannot be
    /// copied; that one and all behind it go back. Returns how many were committed.
    #[inline(always)]
    fn deliver(
        &self,
        device: &Arc<Device>,
        call: &mut Exchange,
        claims: &mut Claims,
    ) -> (u32, Option<Trouble>) {
        let mut trouble = None;
        let mut entries: Few<Take, CHUNK> = Few::new();
        let epoch = call.epoch;
        for (claim, at) in claims.as_slice() {
            if self.data && claim.op == Op::Write && !transfer::to_user(&claim.request, *at) {
                trouble = Some(Trouble::Missing(*at, claim.bytes as usize));
                break;
            }
            let _ = entries.push(describe(claim, *at, epoch));
        }
        let offset = (call.taken as usize).wrapping_mul(size_of::<Take>()) as u64;
        let at = call.take.wrapping_add(offset);
        let filled = entries.as_slice();
        let mut count = filled.len();
        if count > 0 && !user::write_nofault(at, filled) {
            trouble = Some(Trouble::Missing(at, core::mem::size_of_val(filled)));
            count = 0;
        }

        let mut leaving: Leaving = Few::new();
        let mut wake = Wake::default();
        let now = task::now();
        let mut ledger = device.ledger.lock();
        claims.take_each(|index, (claim, _)| {
            let gone = if index < count {
                if trace::get_is_on() {
                    let (id, request) = (claim.id, &claim.request);
                    trace::get(device.number(), id, request, claim.attempt, claim.age);
                }
                ledger.take_commit(claim, now)
            } else {
                match ledger.take_abort(claim) {
                    Ok(others) => {
                        wake = wake.and(others);
                        None
                    }
                    Err(gone) => Some(gone),
                }
            };
            if let Some(gone) = gone {
                wake = wake.and(gone.wake);
                let _ = leaving.push((gone, Status::IO_ERROR));
            }
        });
        call.queued = ledger.queued();
        drop(ledger);
        device.wake(wake);
        if !leaving.is_empty() {
            end_each(device, &mut leaving, &NoBottomHalves::new());
        }
        (count as u32, trouble)
    }
}

/// What the worker is told of a request.
#[inline(always)]
fn describe(claim: &Claim<Request>, at: u64, epoch: u32) -> Take {
    let request = &claim.request;
    let flags = match claim.op {
        Op::Write if request.fua() => abi::REQ_FUA,
        Op::WriteZeroes if request.nounmap() => abi::REQ_NOUNMAP,
        _ => 0,
    };
    Take {
        id: claim.id,
        sector: request.sector_of(claim.op),
        buffer: at,
        age_ns: claim.age,
        length: claim.bytes,
        attempt: claim.attempt,
        epoch,
        op: claim.op as u16,
        flags,
    }
}
