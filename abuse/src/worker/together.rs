// SPDX-License-Identifier: MIT

//! A batch whose reads and writes are done together, by a backend that is faster so.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::answer::{is_again, panicked, stray, Terms};
use crate::backend::Transfer;
use crate::request::{done, Failure, Outcome};
use crate::sys::Arena;
use crate::{abi, Backend};

/// Room for the transfers of a batch, kept from one to the next.
#[derive(Default)]
pub(super) struct Spare(Vec<Transfer<'static>>);

/// Whether a request moves bytes, and so goes with others.
pub(super) fn moves_bytes(take: &abi::Take) -> bool {
    matches!(take.op, abi::OP_READ | abi::OP_WRITE)
}

/// Serves the requests of a batch that move bytes, which lie in `arena` in the order of the batch, and
/// tells the answer to each of them, in that order; the error is for the log.
pub(super) fn serve<B: Backend>(
    backend: &B,
    batch: &[abi::Take],
    arena: &mut Arena,
    terms: Terms,
    spare: &mut Spare,
    mut tell: impl FnMut(&abi::Take, abi::Done, Option<io::Error>),
) {
    let fenced = match batch.iter().any(is_again) {
        true => backend.fence(),
        false => Ok(()),
    };
    let mut at = arena.address();
    let mut rest = arena.all_mut();
    let mut transfers = emptied(std::mem::take(&mut spare.0));
    for (index, take) in batch.iter().enumerate() {
        if !moves_bytes(take) || (fenced.is_err() && is_again(take)) {
            continue;
        }
        let Some(bytes) = cut(&mut rest, &mut at, take) else {
            continue;
        };
        let offset = take.sector.saturating_mul(512);
        let mut transfer = match take.op {
            abi::OP_READ => Transfer::read(offset, bytes),
            _ => {
                let durable = terms.write_through || take.flags & abi::REQ_FUA != 0;
                Transfer::write(offset, bytes, durable)
            }
        };
        transfer.place = index;
        transfers.push(transfer);
    }
    let panic = catch_unwind(AssertUnwindSafe(|| backend.transfer(&mut transfers))).err();
    let mut results = transfers.iter_mut().peekable();
    for (index, take) in batch.iter().enumerate() {
        if !moves_bytes(take) {
            continue;
        }
        let result = match results.next_if(|transfer| transfer.place == index) {
            Some(transfer) => match (&panic, std::mem::replace(&mut transfer.result, Ok(()))) {
                (Some(panic), _) => Err(panicked(&**panic)),
                (None, Ok(())) if take.op == abi::OP_READ => {
                    let data = Outcome::Data(transfer.bytes());
                    tell(take, done(take.id, data), None);
                    continue;
                }
                (None, result) => result,
            },
            None => match &fenced {
                Err(error) if is_again(take) => {
                    Err(io::Error::new(error.kind(), error.to_string()))
                }
                _ => Err(stray()),
            },
        };
        match result {
            Ok(()) => tell(take, done(take.id, Outcome::Done), None),
            Err(error) => {
                let failed = Outcome::Failed(Failure::from(&error));
                tell(take, done(take.id, failed), Some(error));
            }
        }
    }
    spare.0 = emptied(transfers);
}

/// The bytes of a request, cut off what is left of the arena, which begins at `at`; requests lie in it
/// in their order.
fn cut<'a>(rest: &mut &'a mut [u8], at: &mut u64, take: &abi::Take) -> Option<&'a mut [u8]> {
    let skip = usize::try_from(take.buffer.checked_sub(*at)?).ok()?;
    let length = take.length as usize;
    if skip.checked_add(length)? > rest.len() {
        return None;
    }
    let (_, behind) = std::mem::take(rest).split_at_mut(skip);
    let (bytes, behind) = behind.split_at_mut(length);
    *rest = behind;
    *at = take.buffer + u64::from(take.length);
    Some(bytes)
}

/// The same room, with nothing in it: for transfers of other memory.
fn emptied<'b>(mut transfers: Vec<Transfer<'_>>) -> Vec<Transfer<'b>> {
    transfers.clear();
    // Nothing is mapped; what is collected in place keeps its memory. A filter would keep the type, too.
    #[allow(clippy::unnecessary_filter_map)]
    transfers.into_iter().filter_map(|_| None).collect()
}
