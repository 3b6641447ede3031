// SPDX-License-Identifier: GPL-2.0-only

//! A block-layer request, owned.
//!
//! C header: `include/linux/blk-mq.h`.

use super::ffi;
use super::task::NoBottomHalves;
use super::user::NoFaults;
use crate::ledger::Op;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use kernel::bindings;

// Checked by static_assert in helpers.c.
const OP_MASK: u32 = 0xff;
const OP_READ: u32 = 0;
const OP_WRITE: u32 = 1;
const OP_FLUSH: u32 = 2;
const OP_DISCARD: u32 = 3;
const OP_SECURE_ERASE: u32 = 5;
const OP_WRITE_ZEROES: u32 = 9;
const FUA: u32 = 1 << 17;
const NOUNMAP: u32 = 1 << 28;
const FLAG_SCHED_TAGS: u32 = 1 << 4;
const FLAGS_TIMED: u32 = 0x920;

/// How a request ends: a `blk_status_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(super) u8);

impl Status {
    /// Well.
    pub(crate) const OK: Status = Status(0);
    /// EOPNOTSUPP.
    pub(crate) const NOT_SUPPORTED: Status = Status(1);
    /// ETIMEDOUT.
    pub(crate) const TIMED_OUT: Status = Status(2);
    /// ENOSPC.
    pub(crate) const NO_SPACE: Status = Status(3);
    /// EREMOTEIO.
    pub(crate) const TARGET: Status = Status(5);
    /// ENODATA.
    pub(crate) const MEDIUM: Status = Status(7);
    /// EIO.
    pub(crate) const IO_ERROR: Status = Status(10);
}

/// A started request that must be ended. Dropped unended, it ends with an I/O error.
///
/// # Invariants
///
/// The pointer is a request that was started and has not been ended, and nobody else will end it.
pub(crate) struct Request(NonNull<bindings::request>);

/// A request that belongs to somebody else.
pub(crate) struct Seen<'a>(ManuallyDrop<Request>, PhantomData<&'a Request>);

impl core::ops::Deref for Seen<'_> {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.0
    }
}

// SAFETY: A request may be worked on and ended from any thread.
unsafe impl Send for Request {}
// SAFETY: Shared references only read what does not change while the request is in flight.
unsafe impl Sync for Request {}

impl Request {
    /// # Safety
    ///
    /// `request` must be valid, started, and given up by the caller.
    pub(super) unsafe fn from_raw(request: NonNull<bindings::request>) -> Self {
        // INVARIANT: By the contract of this function.
        Request(request)
    }

    /// Gives the request back to the block layer without ending it.
    pub(super) fn into_raw(self) -> NonNull<bindings::request> {
        ManuallyDrop::new(self).0
    }

    /// The request, to be looked at, as a copy: what a reference was taken to has to be in memory.
    #[inline(always)]
    pub(crate) fn seen(&self) -> Seen<'_> {
        // INVARIANT: The copy is no owner, and is gone before `self` is.
        Seen(ManuallyDrop::new(Request(self.0)), PhantomData)
    }

    fn raw(&self) -> &bindings::request {
        // SAFETY: Valid by the type invariant; the fields read here do not change in flight.
        unsafe { self.0.as_ref() }
    }

    /// What it asks for, if this driver knows it.
    pub(crate) fn op(&self) -> Option<Op> {
        match self.raw().cmd_flags & OP_MASK {
            OP_READ => Some(Op::Read),
            OP_WRITE => Some(Op::Write),
            OP_FLUSH => Some(Op::Flush),
            OP_DISCARD => Some(Op::Discard),
            OP_SECURE_ERASE => Some(Op::SecureErase),
            OP_WRITE_ZEROES => Some(Op::WriteZeroes),
            _ => None,
        }
    }

    /// Whether it must be durable before it ends.
    pub(crate) fn fua(&self) -> bool {
        self.raw().cmd_flags & FUA != 0
    }

    /// Whether zeroed space must stay allocated.
    pub(crate) fn nounmap(&self) -> bool {
        self.raw().cmd_flags & NOUNMAP != 0
    }

    /// Where it begins, in units of 512 bytes. A flush begins nowhere.
    pub(crate) fn sector(&self) -> u64 {
        self.op().map_or(0, |op| self.sector_of(op))
    }

    /// The same, of a request whose operation is known.
    #[inline(always)]
    pub(crate) fn sector_of(&self, op: Op) -> u64 {
        match op {
            Op::Flush => 0,
            _ => self.raw().__sector,
        }
    }

    /// Bytes it concerns.
    pub(crate) fn bytes(&self) -> u32 {
        self.raw().__data_len
    }

    /// Its data if they are one piece, as those of small requests are.
    #[inline(always)]
    pub(crate) fn only_segment(&self) -> Option<Segment<'_>> {
        let bio = self.raw().bio;
        if bio.is_null() {
            return None;
        }
        // SAFETY: A bio of a request in flight; read as a whole because the struct is packed.
        let iter = unsafe { (*bio).bi_iter };
        // SAFETY: As above.
        let next = unsafe { (*bio).bi_next };
        if !next.is_null() || iter.bi_size == 0 {
            return None;
        }
        // SAFETY: The size is not 0, so there is a vector at the index.
        let vector = unsafe { *(*bio).bi_io_vec.add(iter.bi_idx as usize) };
        let done = iter.bi_bvec_done;
        (vector.bv_len.saturating_sub(done) >= iter.bi_size).then_some(Segment {
            page: vector.bv_page,
            offset: vector.bv_offset.wrapping_add(done),
            len: iter.bi_size,
            _request: core::marker::PhantomData,
        })
    }

    /// Whether its vectors lie side by side: those of several bios do not.
    pub(super) fn is_one_bio(&self) -> bool {
        let bio = self.raw().bio;
        // SAFETY: A bio of a request in flight.
        !bio.is_null() && unsafe { (*bio).bi_next.is_null() }
    }

    /// The memory of its data from `at` on: at most `bytes`, and no more than one bio has. Says how
    /// much it is.
    pub(super) fn memory_at(
        &self,
        at: usize,
        bytes: usize,
        direction: u32,
    ) -> Option<(bindings::iov_iter, usize)> {
        let mut at = at;
        let mut bio = self.raw().bio;
        while !bio.is_null() {
            // SAFETY: A bio of a request in flight; read as a whole because the struct is packed.
            let iter = unsafe { (*bio).bi_iter };
            let size = iter.bi_size as usize;
            if at < size {
                let bytes = bytes.min(size.wrapping_sub(at));
                let skip = at.wrapping_add(iter.bi_bvec_done as usize);
                // SAFETY: The index lies in the vectors of the bio, which are in flight with it, and
                // so many of them hold what comes after it.
                let memory = unsafe {
                    let first = (*bio).bi_io_vec.add(iter.bi_idx as usize);
                    memory(first, vectors_of(bio), skip, bytes, direction)
                };
                return Some((memory, bytes));
            }
            at = at.wrapping_sub(size);
            // SAFETY: A bio of a request in flight, whose chain does not change.
            bio = unsafe { (*bio).bi_next };
        }
        None
    }

    /// What C knows it by, for as long as it is in flight.
    pub(super) fn as_ptr(&self) -> *mut bindings::request {
        self.0.as_ptr()
    }

    /// The pieces of its data, in order. Only for operations that have data.
    pub(crate) fn segments(&self) -> Segments<'_> {
        let bio = self.raw().bio;
        Segments {
            _request: self,
            bio,
            iter: iter_of(bio),
        }
    }

    /// When the block layer made it, in nanoseconds of CLOCK_MONOTONIC, if it has come straight from
    /// there; 0 if it was held up by a scheduler, or no times are kept.
    #[inline(always)]
    pub(crate) fn made_at(&self) -> u64 {
        let raw = self.raw();
        match raw.rq_flags & FLAG_SCHED_TAGS {
            0 => raw.start_time_ns,
            _ => 0,
        }
    }

    /// Ends the request.
    pub(crate) fn end(self, status: Status, _bottom_halves_off: &NoBottomHalves) {
        let request = self.into_raw();
        // SAFETY: Started and not ended by the type invariant, and ours alone.
        unsafe { bindings::blk_mq_end_request(request.as_ptr(), status.0) };
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let _off = NoBottomHalves::new();
        // SAFETY: As in `end`.
        unsafe { bindings::blk_mq_end_request(self.0.as_ptr(), Status::IO_ERROR.0) };
    }
}

/// Requests that went well and are to end together: the block layer gives their tags back at once.
/// Gathering ends nothing, so it may be done under a lock.
///
/// # Invariants
///
/// What is in the batch was started, has not been ended, and is this one's alone.
pub(crate) struct Together {
    batch: bindings::io_comp_batch,
    /// Those of all of them.
    flags: u32,
}

impl Together {
    /// Nobody yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        // INVARIANT: Nothing is in it.
        Together {
            // SAFETY: An empty batch is all zero.
            batch: unsafe { core::mem::zeroed() },
            flags: 0,
        }
    }

    /// Adds a request; it comes back if the block layer wants it to be ended by itself.
    ///
    /// This is `blk_mq_add_to_batch`, which is inline in C, for requests of a disk that went well:
    /// behind a call it is twice as long.
    #[inline(always)]
    pub(crate) fn add(&mut self, request: Request) -> Result<(), Request> {
        let raw = request.raw();
        let flags = raw.rq_flags;
        if flags & FLAG_SCHED_TAGS != 0 || raw.end_io.is_some() {
            return Err(request);
        }
        self.flags |= flags;
        // INVARIANT: Started and not ended, by the invariant of what is consumed here.
        let request = request.into_raw().as_ptr();
        let list = &mut self.batch.req_list;
        // SAFETY: Nobody else uses the links of a request that was started and is ours.
        unsafe { (*request).__bindgen_anon_1.rq_next = core::ptr::null_mut() };
        if list.tail.is_null() {
            list.head = request;
        } else {
            // SAFETY: In this list, by the type invariant; as above.
            unsafe { (*list.tail).__bindgen_anon_1.rq_next = request };
        }
        list.tail = request;
        Ok(())
    }

    /// Ends them, well.
    pub(crate) fn end(mut self, _bottom_halves_off: &NoBottomHalves) {
        self.end_all();
    }

    fn end_all(&mut self) {
        if !self.batch.req_list.head.is_null() {
            self.batch.need_ts = self.flags & FLAGS_TIMED != 0;
            // SAFETY: By the type invariant; this empties the batch.
            unsafe { bindings::blk_mq_end_request_batch(&mut self.batch) };
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if !self.batch.req_list.head.is_null() {
            let _off = NoBottomHalves::new();
            self.end_all();
        }
    }
}

/// The memory that `bytes` of `count` vectors are in, after `skip`.
///
/// # Safety
///
/// There are as many vectors, with as many bytes, for as long as the result is used.
pub(super) unsafe fn memory(
    vectors: *const bindings::bio_vec,
    count: usize,
    skip: usize,
    bytes: usize,
    direction: u32,
) -> bindings::iov_iter {
    let mut memory = MaybeUninit::uninit();
    let all = skip.wrapping_add(bytes);
    // SAFETY: By the contract.
    unsafe { bindings::iov_iter_bvec(memory.as_mut_ptr(), direction, vectors, count, all) };
    if skip > 0 {
        // SAFETY: Initialised above, with more than that.
        unsafe { bindings::iov_iter_advance(memory.as_mut_ptr(), skip) };
    }
    // SAFETY: Initialised above.
    unsafe { memory.assume_init() }
}

/// How many vectors a bio has left.
///
/// # Safety
///
/// It is of a request in flight.
unsafe fn vectors_of(bio: *mut bindings::bio) -> usize {
    let mut place = iter_of(bio);
    let mut count = 0usize;
    while place.left > 0 {
        // SAFETY: `left` is not 0, so there is a vector at `index`.
        let len = unsafe { (*(*bio).bi_io_vec.add(place.index as usize)).bv_len };
        place.left = place.left.saturating_sub(len.saturating_sub(place.done));
        place.done = 0;
        place.index = place.index.wrapping_add(1);
        count = count.wrapping_add(1);
    }
    count
}

/// Where a walk over the vectors of one bio stands.
#[derive(Clone, Copy)]
struct Place {
    index: u32,
    done: u32,
    left: u32,
}

fn iter_of(bio: *mut bindings::bio) -> Place {
    if bio.is_null() {
        return Place {
            index: 0,
            done: 0,
            left: 0,
        };
    }
    // SAFETY: A bio of a request in flight; read as a whole because the struct is packed.
    let iter = unsafe { (*bio).bi_iter };
    Place {
        index: iter.bi_idx,
        done: iter.bi_bvec_done,
        left: iter.bi_size,
    }
}

/// The pieces of a request: physically contiguous, of any number of pages each.
pub(crate) struct Segments<'a> {
    _request: &'a Request,
    bio: *mut bindings::bio,
    iter: Place,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        while self.iter.left == 0 {
            if self.bio.is_null() {
                return None;
            }
            // SAFETY: A bio of a request in flight, whose chain does not change.
            self.bio = unsafe { (*self.bio).bi_next };
            self.iter = iter_of(self.bio);
        }
        // SAFETY: `left` is not 0, so there is a vector at `index`.
        let vector = unsafe { *(*self.bio).bi_io_vec.add(self.iter.index as usize) };
        let len = vector
            .bv_len
            .saturating_sub(self.iter.done)
            .min(self.iter.left);
        let offset = vector.bv_offset.wrapping_add(self.iter.done);
        self.iter.index = self.iter.index.wrapping_add(1);
        self.iter.done = 0;
        self.iter.left = self.iter.left.saturating_sub(len);
        Some(Segment {
            page: vector.bv_page,
            offset,
            len,
            _request: core::marker::PhantomData,
        })
    }
}

/// One piece of a request's data.
pub(crate) struct Segment<'a> {
    page: *mut bindings::page,
    offset: u32,
    len: u32,
    _request: core::marker::PhantomData<&'a Request>,
}

impl Segment<'_> {
    /// Bytes.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Offset in its first page.
    pub(crate) fn offset(&self) -> u32 {
        self.offset
    }

    /// As a vector, for as long as the request is in flight.
    pub(super) fn vector(&self) -> bindings::bio_vec {
        bindings::bio_vec {
            bv_page: self.page,
            bv_len: self.len,
            bv_offset: self.offset,
        }
    }

    /// Copies it to user space; whether all of it arrived.
    pub(crate) fn copy_to_user(&self, to: u64, _no_faults: &NoFaults) -> bool {
        // SAFETY: The pages belong to a request in flight, contiguous for `len` bytes; `to` is
        // checked by the callee; there are no page faults.
        unsafe { ffi::abuse_page_to_user(to as *mut _, self.page, self.offset, self.len) }
    }

    /// Fills it from user space; whether all of it came.
    pub(crate) fn copy_from_user(&self, from: u64, _no_faults: &NoFaults) -> bool {
        // SAFETY: As above.
        unsafe { ffi::abuse_page_from_user(self.page, self.offset, from as *const _, self.len) }
    }

    /// Fills it with zeros.
    pub(crate) fn zero(&self) {
        // SAFETY: As above.
        unsafe { ffi::abuse_page_zero(self.page, self.offset, self.len) }
    }
}
