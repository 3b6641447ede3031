// SPDX-License-Identifier: MIT

//! What a thread has taken and not begun, where others can take it over.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Arena;
use crate::abi;

/// An arena and the requests in it that nobody has begun yet.
///
/// One thread owns it, at its [`Seat`]; any other may relieve it of a request, whose bytes it copies.
///
/// # Invariants
///
/// - There is at most one `Seat`.
/// - The bytes of the requests in `rest` lie in the arena and overlap neither each other nor those of
///   the request that [`Seat::next`] gave out last. They belong to whoever holds the lock of `rest`.
/// - All other bytes belong to the seat, and so does the arena itself while `waiting` is 0: only the
///   seat makes it more, and others make it less when they are done with what they took.
pub(crate) struct Desk {
    arena: UnsafeCell<Option<Arena>>,
    rest: Mutex<VecDeque<abi::Take>>,
    /// How long `rest` is, and changed last, under its lock.
    waiting: AtomicUsize,
    seated: AtomicBool,
}

// SAFETY: by the invariants each byte of the arena belongs to one thread at a time, and passes to
// another under a lock; an `Arena` belongs to the process and may be used from any thread.
unsafe impl Sync for Desk {}

impl Desk {
    /// An arena, if the backend looks at data at all, and room for so many requests.
    pub(crate) fn new(arena: Option<Arena>, most: usize) -> Desk {
        Desk {
            arena: UnsafeCell::new(arena),
            rest: Mutex::new(VecDeque::with_capacity(most)),
            waiting: AtomicUsize::new(0),
            seated: AtomicBool::new(false),
        }
    }

    /// The one who owns it; `None` if somebody does.
    pub(crate) fn sit(&self) -> Option<Seat<'_>> {
        let taken = self.seated.swap(true, Ordering::Acquire);
        (!taken).then_some(Seat { desk: self })
    }

    /// Requests that nobody has begun; by the time one asks for them there may be fewer.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn rest(&self) -> MutexGuard<'_, VecDeque<abi::Take>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, rest: &VecDeque<abi::Take>) {
        self.waiting.store(rest.len(), Ordering::SeqCst);
    }
}

/// The owner's side of a [`Desk`].
pub(crate) struct Seat<'a> {
    desk: &'a Desk,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.desk.seated.store(false, Ordering::Release);
    }
}

impl Seat<'_> {
    /// The arena, if there is one and nothing in it waits for anybody.
    #[inline]
    pub(crate) fn arena(&mut self) -> Option<&mut Arena> {
        if self.desk.waiting() > 0 {
            return None;
        }
        // SAFETY: nothing waits, and only `fill`, which needs this very borrow to be over, changes
        // that: the arena is the seat's, of which there is one, and it is borrowed exclusively.
        unsafe { &mut *self.desk.arena.get() }.as_mut()
    }

    /// Another arena in place of this one; `false` if something in it waits for somebody.
    pub(crate) fn replace(&mut self, arena: Arena) -> bool {
        if self.desk.waiting() > 0 {
            return false;
        }
        // SAFETY: as in `arena`.
        unsafe { *self.desk.arena.get() = Some(arena) };
        true
    }

    /// Puts down what was taken, in order, for [`Seat::next`] and for whoever helps. What was there
    /// is there no more.
    pub(crate) fn fill(&mut self, taken: &[abi::Take]) {
        let mut rest = self.desk.rest();
        rest.clear();
        // SAFETY: `rest` is empty, and this thread holds its lock: as in `arena`.
        let arena = unsafe { &*self.desk.arena.get() };
        let mut free = 0;
        for take in taken {
            let mut take = *take;
            if has_bytes(&take) {
                // A driver that is mistaken must not make two threads write to the same bytes.
                let place = arena.as_ref().filter(|_| take.buffer >= free);
                match place.and_then(|arena| arena.slice(take.buffer, take.length as usize)) {
                    Some(_) => free = take.buffer + u64::from(take.length),
                    None => take.buffer = STRAY,
                }
            }
            rest.push_back(take);
        }
        self.desk.note(&rest);
    }

    /// What the next request asks for, unless somebody takes it over first.
    pub(crate) fn peek(&self) -> Option<u16> {
        self.desk.rest().front().map(|take| take.op)
    }

    /// The next request, with its bytes; `None` instead of bytes for one that has none, or whose bytes
    /// are nowhere. From now on it is this thread's alone.
    pub(crate) fn next(&mut self) -> Option<(abi::Take, Option<&mut [u8]>)> {
        let mut rest = self.desk.rest();
        let take = rest.pop_front()?;
        self.desk.note(&rest);
        drop(rest);
        if !has_bytes(&take) {
            return Some((take, None));
        }
        // SAFETY: by the invariants these bytes are nobody else's, now that the request is in `rest`
        // no more; they stay borrowed until the next call.
        let bytes = unsafe { bytes_of(self.desk, &take) };
        Some((take, bytes))
    }

    /// Takes over the last request of somebody else's desk; its bytes are copied into this one's arena,
    /// over whatever is in there. Then it is the only one on this desk.
    pub(crate) fn relieve(&mut self, other: &Desk) -> Option<abi::Take> {
        if self.desk.waiting() > 0 || other.waiting() == 0 {
            return None;
        }
        let mut rest = other.rest();
        let mut take = rest.pop_back()?;
        if let Some(room) = self.arena().filter(|_| has_bytes(&take)) {
            let place = room.address();
            // SAFETY: under the lock of the other's `rest`, in which the request was until now.
            let theirs = unsafe { bytes_of(other, &take) };
            match (theirs, room.slice_mut(place, take.length as usize)) {
                (Some(from), Some(to)) => {
                    if take.op == abi::OP_WRITE {
                        to.copy_from_slice(from);
                    }
                    take.buffer = place;
                }
                // Room is for the largest request of the disk, unless that has become larger.
                (Some(_), None) => {
                    rest.push_back(take);
                    return None;
                }
                (None, _) => {}
            }
        }
        other.note(&rest);
        drop(rest);
        self.fill(&[take]);
        Some(take)
    }
}

/// No arena has anything here.
const STRAY: u64 = u64::MAX;

fn has_bytes(take: &abi::Take) -> bool {
    matches!(take.op, abi::OP_READ | abi::OP_WRITE)
}

/// The bytes of a request.
///
/// # Safety
///
/// They must be the caller's by the invariants of [`Desk`], for as long as it keeps them.
#[allow(clippy::mut_from_ref)] // That is what the contract is about.
unsafe fn bytes_of<'a>(desk: &'a Desk, take: &abi::Take) -> Option<&'a mut [u8]> {
    // SAFETY: the arena itself is replaced only while `rest` is empty and nothing is given out.
    let arena = unsafe { &*desk.arena.get() }.as_ref()?;
    let place = arena.pointer(take.buffer, take.length as usize)?;
    // SAFETY: `pointer` found the range inside the mapping, and the caller vouches that it is its own.
    Some(unsafe { std::slice::from_raw_parts_mut(place, take.length as usize) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(id: u64, op: u16, buffer: u64, length: u32) -> abi::Take {
        abi::Take {
            id,
            op,
            buffer,
            length,
            ..abi::Take::default()
        }
    }

    /// A desk with three writes of a page each, of ones, twos and threes.
    fn laid() -> (Desk, u64) {
        let mut arena = Arena::new(4 * 4096).unwrap();
        let base = arena.address();
        for page in 0..3u8 {
            let bytes = arena.slice_mut(base + u64::from(page) * 4096, 4096);
            bytes.unwrap().fill(page + 1);
        }
        let desk = Desk::new(Some(arena), 4);
        let takes: Vec<_> = (0..3u64)
            .map(|page| take(page + 1, abi::OP_WRITE, base + page * 4096, 4096))
            .collect();
        desk.sit().unwrap().fill(&takes);
        (desk, base)
    }

    #[test]
    fn the_owner_goes_in_order_and_others_take_the_last() {
        let (desk, _) = laid();
        let other = Desk::new(Some(Arena::new(4096).unwrap()), 4);
        let (mut seat, mut helper) = (desk.sit().unwrap(), other.sit().unwrap());
        let (first, bytes) = seat.next().unwrap();
        assert_eq!((first.id, bytes.unwrap()[4095]), (1, 1));
        assert_eq!(helper.relieve(&desk).unwrap().id, 3);
        assert_eq!((desk.waiting(), other.waiting()), (1, 1));
        let (last, bytes) = helper.next().unwrap();
        assert_eq!((last.id, bytes.unwrap()[0]), (3, 3));
        assert_ne!(last.buffer, 0);
        assert_eq!(seat.next().unwrap().0.id, 2);
        assert!(seat.next().is_none() && helper.relieve(&desk).is_none());
    }

    #[test]
    fn the_arena_is_nobodys_while_something_in_it_waits() {
        let (desk, _) = laid();
        let mut seat = desk.sit().unwrap();
        assert!(desk.sit().is_none(), "two owners");
        assert!(seat.arena().is_none());
        assert!(!seat.replace(Arena::new(4096).unwrap()));
        while seat.next().is_some() {}
        assert!(seat.arena().is_some() && seat.replace(Arena::new(4096).unwrap()));
    }

    #[test]
    fn what_overlaps_or_lies_elsewhere_has_no_bytes() {
        let (desk, base) = laid();
        let mut seat = desk.sit().unwrap();
        let takes = [
            take(1, abi::OP_READ, base, 8192),
            take(2, abi::OP_READ, base + 4096, 4096),
            take(3, abi::OP_READ, base + 4 * 4096, 512),
            take(4, abi::OP_FLUSH, 0, 0),
        ];
        seat.fill(&takes);
        let had: Vec<bool> = std::iter::from_fn(|| Some(seat.next()?.1.is_some())).collect();
        assert_eq!(had, [true, false, false, false]);
    }

    #[test]
    fn what_does_not_fit_stays_where_it_is() {
        let (desk, base) = laid();
        let mut seat = desk.sit().unwrap();
        seat.fill(&[take(9, abi::OP_READ, base, 8192)]);
        let small = Desk::new(Some(Arena::new(4096).unwrap()), 4);
        assert!(small.sit().unwrap().relieve(&desk).is_none());
        assert_eq!(seat.next().unwrap().0.id, 9);
    }

    #[test]
    fn every_request_is_begun_once_by_many() {
        const ROUNDS: u64 = 2_000;
        let (desk, base) = laid();
        let done = Mutex::new(Vec::new());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let own = Desk::new(Some(Arena::new(4096).unwrap()), 1);
                    let mut seat = own.sit().unwrap();
                    while !over.load(Ordering::Acquire) {
                        if seat.relieve(&desk).is_some() {
                            let (take, bytes) = seat.next().unwrap();
                            let bytes = bytes.unwrap();
                            assert!(bytes.iter().all(|&byte| byte == take.id as u8));
                            done.lock().unwrap().push(take.id);
                        }
                    }
                });
            }
            let mut seat = desk.sit().unwrap();
            while let Some((take, _)) = seat.next() {
                done.lock().unwrap().push(take.id);
            }
            for round in 0..ROUNDS {
                let ids = (0..3).map(|page| (4 + round * 3 + page, base + page * 4096));
                let takes: Vec<_> = ids
                    .map(|(id, at)| take(id, abi::OP_WRITE, at, 4096))
                    .collect();
                for take in &takes {
                    let arena = seat.arena().unwrap();
                    let bytes = arena.slice_mut(take.buffer, 4096).unwrap();
                    bytes.fill(take.id as u8);
                }
                seat.fill(&takes);
                while let Some((take, bytes)) = seat.next() {
                    assert!(bytes.unwrap().iter().all(|&byte| byte == take.id as u8));
                    done.lock().unwrap().push(take.id);
                }
            }
            over.store(true, Ordering::Release);
        });
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, (1..=3 + ROUNDS * 3).collect::<Vec<_>>());
    }
}
