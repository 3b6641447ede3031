// SPDX-License-Identifier: GPL-2.0-only

//! Forwarding: a worker says in which files the data of a request are, and the driver moves them.
//!
//! The extents are read and the files looked up before anything is locked, since both may wait. The
//! ledger then gives the request out of the worker's hands, if it may go there: from that moment on
//! nothing the worker does or suffers matters any more. What has been moved by the time the call
//! returns ends in it; the rest lands in the device's work queue, see [`Tower`].

use super::complete::{end, leave, refused, status_of, Leaving, FORWARD};
use crate::abi::{self, Done, Extent};
use crate::device::{Device, Hangar, CHUNK};
use crate::ledger::{Forward, Op, Unforwarded, Wake};
use crate::sys::backing::Backing;
use crate::sys::few::Few;
use crate::sys::flight::{plugged, Flusher, Grounded, Outcome, Tower};
use crate::sys::request::{Request, Status, Together};
use crate::sys::{task, trace, user};
use core::mem::size_of;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::Arc;

// Not among the kernel crate's error codes.
const ELOOP: i32 = bindings::ELOOP as i32;
const EOPNOTSUPP: i32 = bindings::EOPNOTSUPP as i32;

/// A request that the kernel serves.
pub(crate) struct Cargo {
    forward: Forward<Request>,
    /// Whether it is offered again if that fails.
    returns: bool,
}

/// Forwards the entries that are marked so, and says in their place what became of them.
#[inline(never)]
pub(super) fn forward(device: &Arc<Device>, entries: &[Done], statuses: &mut [i32; CHUNK]) {
    let mut spare: Hangar = Few::new();
    let wanted = statuses.iter().filter(|&&status| status == FORWARD).count();
    let mut hangar = device.hangar.lock();
    while spare.as_slice().len() < wanted {
        let Some(flight) = hangar.pop() else { break };
        let _ = spare.push(flight);
    }
    drop(hangar);

    let mut ready: Few<(Grounded<Device>, u8), CHUNK> = Few::new();
    for (entry, (done, status)) in entries.iter().zip(statuses.iter_mut()).enumerate() {
        if *status == FORWARD {
            let before = ready.as_slice().last().map(|(flight, _)| flight);
            *status = match prepare(device, done, &mut spare, before) {
                Ok(flight) => {
                    // There is room for as many as there are entries.
                    let _ = ready.push((flight, entry as u8));
                    0
                }
                Err(error) => error.to_errno(),
            };
        }
    }

    let mut loaded: Few<Grounded<Device>, CHUNK> = Few::new();
    let mut wake = Wake::default();
    let write_through = device.is_write_through();
    let mut ledger = device.ledger.lock();
    ready.take_each(|_, (mut flight, entry)| {
        let Some(done) = entries.get(usize::from(entry)) else {
            return;
        };
        let begun = ledger.forward_begin(done.id, |op, bytes, request| {
            fits(&flight, op, bytes, request)
        });
        let error = match begun {
            Ok((forward, others)) => {
                wake = wake.and(others);
                if trace::put_is_on() {
                    trace::put(
                        device.number(),
                        forward.id,
                        forward.request.seen(),
                        Status::OK,
                    );
                }
                let (op, durable) = (forward.op, write_through || forward.request.fua());
                let returns = done.flags & abi::DONE_RETURN != 0;
                flight.load(Cargo { forward, returns }, op, durable);
                let _ = loaded.push(flight);
                return;
            }
            Err(Unforwarded::Refused(refusal)) => refused(refusal),
            Err(Unforwarded::Unfit(error)) => error.to_errno(),
        };
        // Its files are let go later: they are not closed under a lock.
        let _ = spare.push(flight);
        if let Some(status) = statuses.get_mut(usize::from(entry)) {
            *status = error;
        }
    });
    drop(ledger);
    device.wake(wake);

    let mut landed: Few<Cargo, CHUNK> = Few::new();
    let flusher = Flusher::new();
    let several = loaded.as_slice().len() > 1;
    plugged(several, || {
        loaded.take_each(|_, flight| {
            let Some(mut flight) = flight.start() else {
                return;
            };
            if let Some(cargo) = flight.unload() {
                let _ = landed.push(cargo);
            }
            let _ = spare.push(flight);
        })
    });
    drop(flusher);
    if !landed.is_empty() {
        end_all(device, &mut landed);
    }
    // What was refused still has its files.
    spare.as_mut_slice().iter_mut().for_each(Grounded::clear);
    let mut hangar = device.hangar.lock();
    while let Some(flight) = spare.pop() {
        if let Err(flight) = hangar.push(flight) {
            let _ = spare.push(flight);
            break;
        }
    }
    drop(hangar);
    // What is left is freed here.
}

/// Ends what went well at once.
#[inline(never)]
fn end_all(device: &Device, landed: &mut Few<Cargo, CHUNK>) {
    let mut together = Together::new();
    let mut leaving: Leaving = Few::new();
    let now = task::now();
    let mut ledger = device.ledger.lock();
    landed.take_each(|_, cargo| {
        let gone = ledger.forward_commit(cargo.forward, true, now);
        leave(gone, Status::OK, &mut together, &mut leaving);
    });
    let wake = ledger.wake_the_kept();
    drop(ledger);
    device.wake(wake);
    end(device, together, &mut leaving);
}

/// Reads where an entry wants to go, and looks its files up. That of the entry before is at hand.
#[inline(always)]
fn prepare(
    device: &Device,
    done: &Done,
    spare: &mut Hangar,
    before: Option<&Grounded<Device>>,
) -> Result<Grounded<Device>> {
    if done.length == 0 || done.length > abi::MAX_EXTENTS {
        return Err(EINVAL);
    }
    let mut flight = match spare.pop() {
        Some(flight) => flight,
        None => Grounded::new(device, device.runway()?)?,
    };
    let mut at = done.buffer;
    for _ in 0..done.length {
        let extent: Extent = user::read(at)?;
        let last = flight
            .pieces()
            .last()
            .or(before.and_then(|flight| flight.pieces().last()));
        let file = match last.and_then(|(file, _, _)| file.again(extent.fd)) {
            Some(file) => file,
            None => Backing::get(extent.fd).ok_or(EBADF)?,
        };
        flight.add(file, extent.offset, extent.length)?;
        at = at.wrapping_add(size_of::<Extent>() as u64);
    }
    Ok(flight)
}

/// Whether a request may go where the worker wants it to go. Under the ledger's lock.
#[inline(always)]
fn fits(flight: &Grounded<Device>, op: Op, bytes: u32, request: &Request) -> Result {
    let mut left = bytes;
    for (file, offset, length) in flight.pieces() {
        if !file.has_places() || op == Op::SecureErase {
            return Err(Error::from_errno(-EOPNOTSUPP));
        }
        if op == Op::Read && !file.is_readable() || op.changes_data() && !file.is_writable() {
            return Err(EBADF);
        }
        if file.is_on_disk_of(request) {
            return Err(Error::from_errno(-ELOOP));
        }
        left = left.checked_sub(length).ok_or(EINVAL)?;
        if op == Op::Flush {
            continue;
        }
        if length == 0 {
            return Err(EINVAL);
        }
        // A regular file grows by being written.
        let end = match op == Op::Write && file.is_regular() {
            true => i64::MAX as u64,
            false => file.bytes(),
        };
        if offset
            .checked_add(u64::from(length))
            .is_none_or(|last| last > end)
        {
            return Err(ERANGE);
        }
    }
    if left > 0 {
        return Err(EINVAL);
    }
    Ok(())
}

impl Tower for Device {
    type Cargo = Cargo;

    fn request(cargo: &Cargo) -> &Request {
        &cargo.forward.request
    }

    fn land(&self, cargo: Cargo, outcome: Outcome) -> Option<(Request, Status)> {
        let result = result_of(outcome);
        let status = status_of(result);
        let id = cargo.forward.id;
        let now = task::now();
        let mut ledger = self.ledger.lock();
        let gone = if cargo.returns && status != Status::OK {
            let returned = ledger.forward_return(cargo.forward, result as u8, now);
            if trace::requeue_is_on() && returned.is_ok() {
                if let Some(new) = ledger.id_now(id) {
                    trace::requeue_forward(self.number(), id, new);
                }
            }
            returned
        } else {
            Err(ledger.forward_commit(cargo.forward, status == Status::OK, now))
        };
        let kept = ledger.wake_the_kept();
        drop(ledger);
        let gone = match gone {
            Ok(wake) => {
                self.wake(wake.and(kept));
                return None;
            }
            Err(gone) => gone,
        };
        self.wake(kept);
        let status = match gone.doomed {
            true => Status::IO_ERROR,
            false => status,
        };
        if trace::end_is_on() {
            trace::end(self.number(), &gone, status);
        }
        Some((gone.request, status))
    }
}

/// The result, as a worker would give it, for an errno of a file.
fn result_of(outcome: Outcome) -> u16 {
    match outcome.unsigned_abs() {
        0 => abi::OK,
        bindings::ENOSPC | bindings::EDQUOT => abi::NO_SPACE,
        bindings::ETIMEDOUT => abi::TIMED_OUT,
        bindings::ENODATA => abi::MEDIUM_ERROR,
        bindings::EOPNOTSUPP => abi::NOT_SUPPORTED,
        bindings::EROFS | bindings::EREMOTEIO => abi::WRITE_PROTECTED,
        _ => abi::IO_ERROR,
    }
}
