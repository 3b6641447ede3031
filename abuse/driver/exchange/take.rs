// SPDX-License-Identifier: GPL-2.0-only

//! Taking: claim, copy to the worker, commit.

use super::complete::{end_each, Leaving};
use crate::abi::{self, Exchange, Take};
use crate::device::{Device, LockedLedger, Woken, CHUNK};
use crate::ledger::{Claim, Op, Told, Unclaimed, Wake, Who};
use crate::sys::few::{Few, FillingBoth};
use crate::sys::request::{Request, Status};
use crate::sys::task::{self, NoBottomHalves};
use crate::sys::trace;
use crate::sys::user::{self, NoFaults};
use crate::transfer;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

/// Where the bytes of requests are placed.
#[derive(Clone, Copy)]
struct Arena {
    next: u64,
    /// What is left, from there.
    room: u64,
    /// Of a number of bytes, the part that moves on; nothing if no bytes are placed at all.
    mask: u64,
}

impl Arena {
    fn new(call: &Exchange) -> Self {
        match call.flags & abi::X_NO_DATA {
            0 => Arena {
                next: call.arena,
                room: call.arena_bytes,
                mask: !u64::from(abi::ARENA_ALIGN - 1),
            },
            _ => Arena {
                next: 0,
                room: u64::MAX,
                mask: 0,
            },
        }
    }

    /// The place of the next `bytes`, for which there is room.
    #[inline(always)]
    fn place(&mut self, bytes: u32) -> u64 {
        let step = u64::from(bytes).wrapping_add(u64::from(abi::ARENA_ALIGN - 1)) & self.mask;
        let at = self.next;
        self.next = at.wrapping_add(step);
        self.room = self.room.saturating_sub(step);
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
///
/// `known` is where the ledger keeps the worker that used this file last.
pub(super) fn take(
    device: &Arc<Device>,
    who: &Who,
    known: &Atomic<u32>,
    call: &mut Exchange,
    patience: u64,
) -> Result {
    let mut arena = Arena::new(call);
    let mut wait = match patience {
        0 => None,
        abi::FOREVER => Some(u64::MAX),
        patience => Some(task::now().saturating_add(patience)),
    };
    let terms = Terms {
        data: call.flags & abi::X_NO_DATA == 0,
        detached: call.flags & abi::X_DETACHED != 0,
        holder: known.load(Relaxed),
    };
    let mut taker = Taker {
        device,
        who,
        known,
        terms,
        is_known: false,
    };
    let mut tries = 0;
    while call.taken < call.take_max {
        let Some((taken, trouble)) = taker.take(call, &mut arena, wait)? else {
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
                arena = Arena::new(call);
            }
        }
        if call.taken > 0 {
            // Whatever else is there is taken too, but not waited for.
            wait = None;
        }
    }
    Ok(())
}

/// A chunk of claims, and what the worker is told of each.
struct Claimed {
    claims: Claims,
    entries: Few<Take, CHUNK>,
    /// Whether there may be data to copy.
    writes: bool,
    /// Whether the next one did not fit.
    too_big: bool,
}

type Claims = Few<Claim<Request, ()>, CHUNK>;

/// How requests are taken.
#[derive(Clone, Copy)]
struct Terms {
    data: bool,
    detached: bool,
    /// Where the ledger keeps the worker.
    holder: u32,
}

impl Terms {
    /// Claims up to `most` requests that are there.
    #[inline(never)] // Else what others keep in registers is in its way.
    fn claim(
        self,
        ledger: &mut LockedLedger<'_>,
        most: usize,
        arena: &mut Arena,
        now: u64,
        claimed: &mut Claimed,
    ) {
        let epoch = ledger.epoch();
        let mut both = FillingBoth::new(&mut claimed.claims, &mut claimed.entries);
        let (mut others, mut places) = (false, *arena);
        while !both.has(most) {
            match ledger.take_begin(self.holder, self.detached, places.room, now) {
                Ok(claim) => {
                    let (request, told) = (&claim.request, &claim.told);
                    let mut flags = 0;
                    if told.op != Op::Read {
                        others = true;
                        flags = flags_of(request, told);
                    }
                    let entry = Take {
                        id: claim.id,
                        sector: request.sector_of(told.op),
                        buffer: match told.op.has_data() {
                            true => places.place(told.bytes),
                            false => 0,
                        },
                        age_ns: told.age,
                        length: told.bytes,
                        attempt: told.attempt,
                        epoch,
                        op: told.op as u16,
                        flags: flags | u16::from(told.failure) << abi::REQ_FAILED_SHIFT,
                    };
                    both.push(claim.bare(), entry);
                }
                Err(Unclaimed::TooBig(_)) => {
                    claimed.too_big = true;
                    break;
                }
                Err(Unclaimed::Nothing) => break,
            }
        }
        claimed.writes = others && self.data;
        *arena = places;
    }
}

/// Who takes, chunk by chunk.
struct Taker<'a> {
    device: &'a Arc<Device>,
    who: &'a Who,
    known: &'a Atomic<u32>,
    terms: Terms,
    /// Whether `terms.holder` is the worker. It stays so as long as the caller lives and has the
    /// file open: through this call.
    is_known: bool,
}

impl Taker<'_> {
    /// Takes requests, waiting for the first of them until `wait` if at all. Returns how many, and
    /// why no more; `None`: there are none.
    #[inline(never)] // As `complete_chunk`.
    fn take(
        &mut self,
        call: &mut Exchange,
        arena: &mut Arena,
        wait: Option<u64>,
    ) -> Result<Option<(u32, Option<Trouble>)>> {
        let mut claimed = Claimed {
            claims: Few::new(),
            entries: Few::new(),
            writes: false,
            too_big: false,
        };
        let now = self.claim(call, arena, wait, &mut claimed)?;
        if claimed.claims.is_empty() && !claimed.too_big {
            return Ok(None);
        }
        let (taken, trouble) = self.deliver(call, &mut claimed, now);
        let too_big = claimed.too_big.then_some(Trouble::TooBig);
        Ok(Some((taken, trouble.or(too_big))))
    }

    /// Claims requests, waiting for them until `wait` if at all. Returns the time.
    #[inline(always)]
    fn claim(
        &mut self,
        call: &mut Exchange,
        arena: &mut Arena,
        mut wait: Option<u64>,
        claimed: &mut Claimed,
    ) -> Result<u64> {
        let most = (call.take_max.saturating_sub(call.taken) as usize).min(CHUNK);
        let device = self.device;
        let mut interrupted = false;
        let mut ledger = device.ledger.lock();
        loop {
            if !ledger.is_alive() {
                return Err(device.absence());
            }
            if !self.is_known {
                if !ledger.holder_is(self.terms.holder, self.who) {
                    drop(ledger);
                    self.enter()?;
                    ledger = device.ledger.lock();
                    continue;
                }
                self.is_known = true;
            }
            let min = call.take_min.min(ledger.tags());
            let holder = self.terms.holder;
            let mut now = 0;
            // Whoever is being stopped or killed leaves to others what it could do nothing with.
            if !interrupted && (wait.is_none() || ledger.is_ready_for(holder, min)) {
                now = task::now();
                self.terms.claim(&mut ledger, most, arena, now, claimed);
            }
            let some = !claimed.claims.is_empty() || claimed.too_big;
            let Some(deadline) = wait.filter(|_| !some) else {
                call.epoch = ledger.epoch();
                call.queued = ledger.queued();
                // What is left may be for others.
                let wake = ledger.wake();
                drop(ledger);
                device.wake(wake);
                return match interrupted && !some {
                    true => Err(ERESTARTNOHAND),
                    false => Ok(now),
                };
            };
            let woken;
            (ledger, woken) = device.sleep(ledger, holder, min, call.spin, deadline);
            match woken {
                Woken::Look => {}
                Woken::Late => wait = None,
                Woken::Signal => {
                    wait = None;
                    interrupted = true;
                }
            }
        }
    }

    /// Finds the worker's place in the ledger, or makes one.
    #[cold]
    fn enter(&mut self) -> Result {
        self.terms.holder = self.device.holder(self.who)?;
        self.known.store(self.terms.holder, Relaxed);
        Ok(())
    }

    /// Copies claimed requests to the worker and commits them, in order, until one cannot be
    /// copied; that one and all behind it go back. Returns how many were committed.
    #[inline(always)]
    fn deliver(
        &self,
        call: &mut Exchange,
        claimed: &mut Claimed,
        now: u64,
    ) -> (u32, Option<Trouble>) {
        let device = self.device;
        let mut trouble = None;
        let Claimed {
            claims,
            entries,
            writes,
            ..
        } = claimed;
        let entries = entries.as_slice();
        let no_faults = NoFaults::new();
        let mut count = entries.len();
        if *writes {
            if let Some(index) = copy_writes(claims, entries, &no_faults) {
                count = index;
                trouble = entries
                    .get(index)
                    .map(|entry| Trouble::Missing(entry.buffer, entry.length as usize));
            }
        }
        let offset = (call.taken as usize).wrapping_mul(size_of::<Take>()) as u64;
        let at = call.take.wrapping_add(offset);
        let filled = entries.get(..count).unwrap_or(&[]);
        if count > 0 && !user::write_nofault(at, filled, &no_faults) {
            trouble = Some(Trouble::Missing(at, core::mem::size_of_val(filled)));
            count = 0;
        }
        drop(no_faults);

        let mut leaving: Leaving = Few::new();
        if trouble.is_some() {
            give_back(device, claims, count, &mut leaving);
        }
        let mut ledger = device.ledger.lock();
        if trace::get_is_on() {
            for (claim, entry) in claims.as_slice().iter().zip(entries) {
                let (id, request) = (claim.id, &claim.request);
                trace::get(device.number(), id, request, entry.attempt, entry.age_ns);
            }
        }
        claims.take_each(|_, claim| {
            if let Some(gone) = ledger.take_commit(claim, now) {
                let _ = leaving.push((gone, Status::IO_ERROR));
            }
        });
        call.queued = ledger.queued();
        let wake = match leaving.is_empty() {
            true => Wake::default(),
            false => ledger.wake_the_kept(),
        };
        drop(ledger);
        device.wake(wake);
        if !leaving.is_empty() {
            end_each(device, &mut leaving, &NoBottomHalves::new());
        }
        (count as u32, trouble)
    }
}

/// Copies what is to be written to the worker. Returns the place of the first that did not arrive.
#[inline(never)]
fn copy_writes(claims: &Claims, entries: &[Take], no_faults: &NoFaults) -> Option<usize> {
    let mut both = claims.as_slice().iter().zip(entries);
    both.position(|(claim, entry)| {
        let writes = entry.op == Op::Write as u16;
        writes && !transfer::to_user(&claim.request, entry.buffer, no_faults)
    })
}

/// Puts all claims but the first `count` back into the queue.
#[cold]
fn give_back(device: &Device, claims: &mut Claims, count: usize, leaving: &mut Leaving) {
    let mut wake = Wake::default();
    let mut ledger = device.ledger.lock();
    while claims.as_slice().len() > count {
        let Some(claim) = claims.pop() else {
            break;
        };
        match ledger.take_abort(claim) {
            Ok(others) => wake = wake.and(others),
            Err(gone) => {
                let _ = leaving.push((gone, Status::IO_ERROR));
            }
        }
    }
    wake = wake.and(ledger.wake_the_kept());
    drop(ledger);
    device.wake(wake);
}

/// What the worker is told of a request beside its operation.
#[inline(always)]
fn flags_of(request: &Request, told: &Told) -> u16 {
    match told.op {
        Op::Write if request.fua() => abi::REQ_FUA,
        Op::WriteZeroes if request.nounmap() => abi::REQ_NOUNMAP,
        _ => 0,
    }
}
