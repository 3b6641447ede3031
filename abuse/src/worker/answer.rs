// SPDX-License-Identifier: MIT

//! One request: what the driver handed out in, what goes back to it out.

use std::any::Any;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::{Asked, Places};
use crate::request::{done, Failure, Outcome};
use crate::sys::Arena;
use crate::{abi, Backend, Operation};

/// What of disk and backend decides how a request is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The backend looks at no data.
    pub(super) no_data: bool,
    /// The backend says where the bytes are, and the driver moves them.
    pub(super) forward: bool,
    /// Everything is durable before it is completed.
    pub(super) write_through: bool,
}

/// Serves a request whose bytes are `data`, or have a place. Always comes to an answer; the error is
/// for the log. The answer may need `places`, and the bytes, until it is exchanged.
pub(super) fn answer<B: Backend>(
    backend: &B,
    take: &abi::Take,
    data: Option<&mut [u8]>,
    places: &mut Vec<abi::Extent>,
    terms: Terms,
) -> (abi::Done, Option<io::Error>) {
    // A backend that panicked in the middle has its own state to look after; ours is plain bytes,
    // and the answer says that they are not to be trusted.
    let served = catch_unwind(AssertUnwindSafe(|| match terms.forward {
        true => forward(backend, take, places, terms),
        false => perform(backend, take, data, terms),
    }));
    let error = match served {
        Ok(Ok(done)) => return (done, None),
        Ok(Err(error)) => error,
        Err(panic) => panicked(&*panic),
    };
    (failed(take, &error), Some(error))
}

/// The answer to a request that went wrong.
#[cold]
pub(super) fn failed(take: &abi::Take, error: &io::Error) -> abi::Done {
    done(take.id, Outcome::Failed(Failure::from(error)))
}

/// Serves the requests of a batch from `next` on, until one of them goes wrong: it is the one at
/// `next` then, and has no answer yet.
pub(super) fn all_that_go_well<B: Backend>(
    backend: &B,
    batch: &[abi::Take],
    next: &mut usize,
    mut arena: Option<&mut Arena>,
    terms: Terms,
    answers: &mut Vec<abi::Done>,
    turns: &AtomicU64,
) -> io::Result<()> {
    // As in `answer`. What has been answered stays so.
    let served = catch_unwind(AssertUnwindSafe(|| {
        while let Some(take) = batch.get(*next) {
            turns.fetch_add(1, Ordering::Relaxed);
            let length = take.length as usize;
            let arena = arena.as_deref_mut();
            let data = arena.and_then(|arena| arena.slice_mut(take.buffer, length));
            answers.push(perform(backend, take, data, terms)?);
            *next += 1;
        }
        Ok(())
    }));
    served.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

#[inline(always)]
fn perform<B: Backend>(
    backend: &B,
    take: &abi::Take,
    data: Option<&mut [u8]>,
    terms: Terms,
) -> io::Result<abi::Done> {
    let Some(operation) = Operation::from_abi(take.op) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let offset = take.sector.checked_mul(512).ok_or_else(stray)?;
    let length = u64::from(take.length);
    let durable = terms.write_through || take.flags & abi::REQ_FUA != 0;
    if is_again(take) {
        backend.fence()?;
    }
    let settle = || if durable { backend.flush() } else { Ok(()) };
    match operation {
        Operation::Read if terms.no_data => return Ok(done(take.id, Outcome::Zeroes)),
        Operation::Read => {
            let data = data.ok_or_else(stray)?;
            backend.read(offset, data)?;
            return Ok(done(take.id, Outcome::Data(data)));
        }
        Operation::Write if terms.no_data => {}
        Operation::Write => {
            let data = data.ok_or_else(stray)?;
            backend.write(offset, data, durable)?;
        }
        Operation::Flush => backend.flush()?,
        Operation::Discard => {
            backend.discard(offset, length)?;
            settle()?;
        }
        Operation::WriteZeroes => {
            let may_unmap = take.flags & abi::REQ_NOUNMAP == 0;
            backend.write_zeroes(offset, length, may_unmap)?;
            settle()?;
        }
        Operation::SecureErase => {
            backend.secure_erase(offset, length)?;
            settle()?;
        }
    }
    Ok(done(take.id, Outcome::Done))
}

/// Whether a request that changes something is done again after the death of whoever held it.
#[inline(always)]
pub(super) fn is_again(take: &abi::Take) -> bool {
    take.attempt > 0 && take.op != abi::OP_READ
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> io::Error {
    io::Error::other(format!("the backend panicked: {}", message(panic)))
}

fn forward<B: Backend>(
    backend: &B,
    take: &abi::Take,
    places: &mut Vec<abi::Extent>,
    terms: Terms,
) -> io::Result<abi::Done> {
    let Some(operation) = Operation::from_abi(take.op) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let asked = Asked {
        operation,
        offset: take.sector.checked_mul(512).ok_or_else(stray)?,
        length: take.length,
        durable: terms.write_through || take.flags & abi::REQ_FUA != 0,
        keep_allocated: operation == Operation::WriteZeroes && take.flags & abi::REQ_NOUNMAP != 0,
        failed: Failure::of_forward(take.flags),
    };
    if is_again(take) {
        backend.fence()?;
    }
    let mut places = Places::new(places);
    backend.forward(&asked, &mut places)?;
    if let Some(done) = places.done(take.id) {
        return Ok(done);
    }
    match operation {
        Operation::Read => Err(io::Error::other("the backend named no place for a read")),
        _ => Ok(done(take.id, Outcome::Done)),
    }
}

pub(super) fn stray() -> io::Error {
    io::Error::other("the driver's request lies outside the worker's memory")
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it did not say why")
}
