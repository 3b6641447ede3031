// SPDX-License-Identifier: GPL-2.0-only

//! Moving the data of a request to and from files, without a copy through user space.
//!
//! A [`Flight`] has one leg per piece of a file. It is tried at once, by whoever starts it, where
//! that waits for no device: past the page cache, where it goes on by itself and ends in an
//! interrupt; in files whose pages are nowhere but in memory; and for what the page cache has.
//! Everything else, and what has not come whole in that way, is done in a work queue of the device's
//! own, as the loop driver does it: it may sleep, is not killed, allocates without starting I/O, and
//! is throttled by the file's own device only.
//!
//! Until it has landed the flight keeps its request, by that the disk, and by that the [`Tower`].
//!
//! C headers: `include/linux/fs.h`, `include/linux/uio.h`.

use super::backing::Backing;
use super::disk::Queue;
use super::ffi;
use super::request::{memory, Request, Status};
use super::task::NoBottomHalves;
use super::work::WorkQueue;
use crate::ledger::Op;
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::ffi::c_long;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::workqueue::{Work, WorkItem};
use kernel::{impl_has_work, new_work};

// Checked by static_assert in helpers.c.
const IOCB_DSYNC: i32 = 0x2;
const IOCB_NOWAIT: i32 = 0x8;
const FALLOC_KEEP_SIZE: i32 = 0x1;
const FALLOC_PUNCH_HOLE: i32 = 0x2;
const FALLOC_ZERO_RANGE: i32 = 0x10;

/// How a flight ended: 0, or a negative errno.
pub(crate) type Outcome = i32;

const EIO: Outcome = -(bindings::EIO as i32);
const EOPNOTSUPP: Outcome = -(bindings::EOPNOTSUPP as i32);

/// Where flights start and land: the device.
///
/// Its runway is dropped before anything else of it, which waits for what is landing there.
pub(crate) trait Tower: Queue {
    /// What travels, with its request.
    type Cargo: Send + 'static;

    /// The request, while it is under way.
    fn request(cargo: &Self::Cargo) -> &Request;

    /// A flight has landed, on the runway. What is to end now is ended by the caller.
    fn land(&self, cargo: Self::Cargo, outcome: Outcome) -> Option<(Request, Status)>;
}

type Kiocb = UnsafeCell<MaybeUninit<bindings::kiocb>>;

/// One piece of a file.
struct Leg<T: Tower> {
    kiocb: Kiocb,
    flight: Cell<*const Flight<T>>,
    file: Backing,
    offset: u64,
    bytes: u32,
    /// Whether the file system knows that somebody writes.
    writes: Cell<bool>,
    /// Bytes moved, or a negative errno.
    result: Atomic<i64>,
}

impl<T: Tower> Leg<T> {
    fn new(file: Backing, offset: u64, bytes: u32) -> Self {
        Leg {
            kiocb: UnsafeCell::new(MaybeUninit::uninit()),
            flight: Cell::new(core::ptr::null()),
            file,
            offset,
            bytes,
            writes: Cell::new(false),
            result: Atomic::new(0),
        }
    }

    fn is_whole(&self) -> bool {
        self.result.load(Relaxed) == i64::from(self.bytes)
    }
}

/// Data on their way between a request and files.
///
/// # Invariants
///
/// While there is a cargo its request has not ended, `tower` is the queue data of its disk, and
/// `runway` lives as long as that.
/// `pending` is one for each leg that was begun and has not ended, and one for whoever begins them;
/// whoever takes the last one owns the flight. Legs are begun and read by the owner, but for `kiocb`,
/// `writes`, `flight` and `result` of a leg that was begun, which are its completion's.
#[pin_data]
pub(crate) struct Flight<T: Tower> {
    #[pin]
    work: Work<Flight<T>>,
    tower: NonNull<T>,
    runway: NonNull<WorkQueue>,
    cargo: Option<T::Cargo>,
    /// Pieces of files, in the order of the request's data.
    legs: KVec<Leg<T>>,
    /// All vectors of a request of several bios, if they could be had.
    vectors: KVec<bindings::bio_vec>,
    pending: Atomic<u32>,
    op: Op,
    /// Whether changes must be durable when it has landed.
    durable: bool,
}

// SAFETY: It is used by one thread at a time, and by completions as its invariants say.
unsafe impl<T: Tower> Send for Flight<T> {}

impl_has_work! {
    impl{T: Tower} HasWork<Flight<T>> for Flight<T> { self.work }
}

/// Room for as many pieces stays with a flight that is used again.
const KEPT_LEGS: usize = 4;

/// A flight on the ground: not begun, or over.
pub(crate) struct Grounded<T: Tower>(Pin<KBox<Flight<T>>>);

impl<T: Tower> Grounded<T> {
    /// A flight without legs and cargo. What cannot be done at once is done on the tower's own runway.
    pub(crate) fn new(tower: &T, runway: &WorkQueue) -> Result<Self> {
        let flight = KBox::pin_init(
            pin_init!(Flight {
                work <- new_work!("abuse::flight"),
                tower: NonNull::from(tower),
                runway: NonNull::from(runway),
                cargo: None,
                legs: KVec::new(),
                vectors: KVec::new(),
                pending: Atomic::new(0),
                op: Op::Read,
                durable: false,
            }),
            GFP_KERNEL,
        )?;
        Ok(Grounded(flight))
    }

    /// Adds a piece: so many bytes of a file.
    pub(crate) fn add(&mut self, file: Backing, offset: u64, bytes: u32) -> Result {
        let leg = Leg::new(file, offset, bytes);
        Ok(self.flight().legs.push(leg, GFP_KERNEL)?)
    }

    /// The pieces: file, offset and bytes.
    #[inline(always)]
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (&Backing, u64, u32)> {
        let legs = self.0.legs.iter();
        legs.map(|leg| (&leg.file, leg.offset, leg.bytes))
    }

    /// Forgets the pieces; what is needed for as many stays, unless they were very many.
    pub(crate) fn clear(&mut self) {
        let flight = self.flight();
        flight.legs.clear();
        if flight.legs.capacity() > KEPT_LEGS {
            flight.legs = KVec::new();
        }
        if flight.vectors.capacity() > 0 {
            flight.vectors = KVec::new();
        }
    }

    fn flight(&mut self) -> &mut Flight<T> {
        // SAFETY: Nothing is moved out of it that was pinned.
        unsafe { self.0.as_mut().get_unchecked_mut() }
    }

    /// Puts the cargo aboard, a request of the tower's disk.
    pub(crate) fn load(&mut self, cargo: T::Cargo, op: Op, durable: bool) {
        let flight = self.flight();
        // INVARIANT: A request in flight, by the type of the cargo, and of the tower's disk, by the
        // contract.
        flight.cargo = Some(cargo);
        flight.op = op;
        flight.durable = durable;
    }

    /// What is aboard. The files are let go, and it can be used again.
    #[inline(always)]
    pub(crate) fn unload(&mut self) -> Option<T::Cargo> {
        let cargo = self.flight().cargo.take();
        self.clear();
        cargo
    }

    /// Starts. It comes back if all is over already, and well; else it lands in the work queue.
    pub(crate) fn start(mut self) -> Option<Self> {
        let flight = self.flight();
        if !flight.gather() || !flight.is_quick() {
            self.begin_work();
            return None;
        }
        // At most as many as there may be extents.
        let legs = flight.legs.len() as u32;
        // INVARIANT: Each leg is begun below.
        flight.pending.store(legs.wrapping_add(1), Relaxed);
        // SAFETY: It is not moved until it is boxed again.
        let flight = KBox::into_raw(unsafe { Pin::into_inner_unchecked(self.0) });
        // SAFETY: Just unboxed, and kept by the count that is taken last.
        let this = unsafe { &*flight };
        let mut at = 0;
        for leg in this.legs.iter() {
            leg.flight.set(flight);
            this.begin(leg, at);
            at += leg.bytes as usize;
        }
        if this.pending.fetch_sub(1, Full) != 1 {
            return None;
        }
        // SAFETY: The last count was taken here, so it is ours again, by the invariants.
        let this = Grounded(unsafe { Pin::new_unchecked(KBox::from_raw(flight)) });
        if this.0.legs.iter().all(Leg::is_whole) {
            return Some(this);
        }
        this.begin_work();
        None
    }

    /// Goes on in the work queue.
    fn begin_work(self) {
        // SAFETY: There is a cargo, which keeps it, by the invariants.
        let runway = unsafe { self.0.runway.as_ref() };
        runway.queue().enqueue(self.0);
    }
}

impl<T: Tower> WorkItem for Flight<T> {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        let outcome = match this.legs.iter().all(Leg::is_whole) && this.op.has_data() {
            true => 0,
            false => this.slowly(),
        };
        let tower = this.tower;
        let mut this = Grounded(this);
        // The files are let go before anybody is told: whoever waits for the end may want them closed.
        let Some(cargo) = this.unload() else {
            return;
        };
        // SAFETY: This runs on its runway, with which it begins to go; and until now its request, which
        // has not ended, has kept it.
        let ended = unsafe { tower.as_ref() }.land(cargo, outcome);
        if let Some((request, status)) = ended {
            request.end(status, &NoBottomHalves::new());
        }
    }
}

/// How a leg is gone about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It ends by itself.
    Direct,
    /// Nothing has to be waited for.
    Memory,
    /// As long as nothing has to be waited for.
    Try,
    /// In the work queue.
    Slow,
}

impl<T: Tower> Flight<T> {
    fn request(&self) -> Option<&Request> {
        self.cargo.as_ref().map(T::request)
    }

    /// Brings the vectors of several bios together, for which they must be copied.
    fn gather(&mut self) -> bool {
        let Some(request) = self.cargo.as_ref().map(T::request) else {
            return false;
        };
        if !self.op.has_data() || request.is_one_bio() {
            return true;
        }
        let Ok(mut vectors) = KVec::with_capacity(request.segments().count(), GFP_KERNEL) else {
            return false;
        };
        for segment in request.segments() {
            if vectors.push(segment.vector(), GFP_KERNEL).is_err() {
                return false;
            }
        }
        self.vectors = vectors;
        true
    }

    fn way(&self, file: &Backing) -> Way {
        match self.op {
            Op::Read | Op::Write if file.is_direct() => Way::Direct,
            Op::Read | Op::Write if file.is_in_memory() => Way::Memory,
            Op::Read if file.can_be_tried() => Way::Try,
            _ => Way::Slow,
        }
    }

    fn is_quick(&self) -> bool {
        let mut legs = self.legs.iter();
        legs.all(|leg| self.way(&leg.file) != Way::Slow)
    }

    /// The memory of `bytes` of the request from `at` on, or of fewer of them.
    fn memory(&self, at: usize, bytes: usize) -> Option<(bindings::iov_iter, usize)> {
        let request = self.request()?;
        let direction = match self.op {
            Op::Read => bindings::ITER_DEST,
            _ => bindings::ITER_SOURCE,
        };
        if self.vectors.is_empty() {
            return request.memory_at(at, bytes, direction);
        }
        let (vectors, count) = (self.vectors.as_ptr(), self.vectors.len());
        // SAFETY: These are all vectors of the request, and live as long as the flight.
        let memory = unsafe { memory(vectors, count, at, bytes, direction) };
        Some((memory, bytes))
    }

    /// Begins a leg, whose data are from `at` on. Its count is taken when it is over, here or by its
    /// completion.
    fn begin(&self, leg: &Leg<T>, at: usize) {
        let way = self.way(&leg.file);
        let result = match self.memory(at, leg.bytes as usize) {
            Some((iter, bytes)) if bytes == leg.bytes as usize => self.submit(leg, way, iter),
            _ => Some(0),
        };
        if let Some(result) = result {
            leg.result.store(result, Relaxed);
            // It is not the last: whoever begins the legs has one.
            self.pending.fetch_sub(1, Full);
        }
    }

    /// What has been moved, or an errno; `None` if its completion will tell.
    fn submit(&self, leg: &Leg<T>, way: Way, mut iter: bindings::iov_iter) -> Option<i64> {
        let writes = self.op == Op::Write;
        let kiocb = leg.kiocb.get().cast::<bindings::kiocb>();
        let mut flags = match way {
            Way::Try => IOCB_NOWAIT,
            _ => 0,
        };
        if writes && self.durable {
            flags |= IOCB_DSYNC;
        }
        // SAFETY: The kiocb is the leg's, which has not been begun, and stays where it is.
        unsafe { ffi::abuse_kiocb_init(kiocb, leg.file.as_ptr(), leg.offset as i64, flags) };
        if way == Way::Direct {
            // SAFETY: As above.
            unsafe { (*kiocb).ki_complete = Some(Self::completed) };
        }
        if writes && leg.file.is_regular() {
            // SAFETY: As above. Of a file system that is frozen the work queue waits.
            if !unsafe { ffi::abuse_kiocb_try_start_write(kiocb) } {
                return Some(0);
            }
            leg.writes.set(true);
        }
        // SAFETY: The memory is the request's; it and the kiocb live until this is complete.
        let result = unsafe { move_data(kiocb, &mut iter, writes) };
        if result == EIOCBQUEUED {
            return None;
        }
        leg.end_write();
        Some(result)
    }

    /// # Safety
    ///
    /// Called once, by a file system, with the kiocb of a leg that was begun.
    unsafe extern "C" fn completed(kiocb: *mut bindings::kiocb, result: c_long) {
        // SAFETY: By the contract it is a leg's, and the first of its fields.
        let leg = unsafe { &*kernel::container_of!(kiocb.cast::<Kiocb>(), Leg<T>, kiocb) };
        leg.end_write();
        leg.result.store(result as i64, Relaxed);
        let flight = leg.flight.get();
        // SAFETY: Set before the leg was begun, and kept by the count that is taken here.
        if unsafe { (*flight).pending.fetch_sub(1, Full) } != 1 {
            return;
        }
        // SAFETY: That was the last, so it is ours, by the invariants; and it was pinned.
        let flight = unsafe { Pin::new_unchecked(KBox::from_raw(flight.cast_mut())) };
        // This may be an interrupt, in which nothing can be ended under the ledger's lock.
        Grounded(flight).begin_work();
    }

    /// Does all of it, or what is left of it. Sleeps.
    fn slowly(&self) -> Outcome {
        let _flusher = Flusher::new();
        let Some(request) = self.request() else {
            return EIO;
        };
        let mut at = 0usize;
        for leg in self.legs.iter() {
            let _owner = Owner::of(&leg.file);
            let done = match self.op {
                Op::Read | Op::Write if leg.is_whole() => 0,
                Op::Read | Op::Write => self.move_leg(leg, at),
                // SAFETY: The file is open.
                Op::Flush => unsafe { bindings::vfs_fsync(leg.file.as_ptr(), 1) },
                Op::Discard => self.reshape(leg, true),
                Op::WriteZeroes => self.reshape(leg, !request.nounmap()),
                Op::SecureErase => EOPNOTSUPP,
            };
            if done != 0 {
                return done;
            }
            at = at.wrapping_add(leg.bytes as usize);
        }
        0
    }

    fn move_leg(&self, leg: &Leg<T>, at: usize) -> Outcome {
        let mut moved = 0usize;
        let writes = self.op == Op::Write;
        while moved < leg.bytes as usize {
            let left = (leg.bytes as usize).wrapping_sub(moved);
            let Some((mut iter, _)) = self.memory(at.wrapping_add(moved), left) else {
                return EIO;
            };
            let flags = match writes && self.durable {
                true => IOCB_DSYNC,
                false => 0,
            };
            let kiocb = leg.kiocb.get().cast::<bindings::kiocb>();
            let place = leg.offset.wrapping_add(moved as u64);
            // SAFETY: The kiocb is the leg's, which is not under way.
            unsafe { ffi::abuse_kiocb_init(kiocb, leg.file.as_ptr(), place as i64, flags) };
            if writes && leg.file.is_regular() {
                // SAFETY: As above.
                unsafe { ffi::abuse_kiocb_start_write(kiocb) };
                leg.writes.set(true);
            }
            // SAFETY: As in `submit`; without a completion it is complete on return.
            let result = unsafe { move_data(kiocb, &mut iter, writes) };
            leg.end_write();
            match result {
                // The file has become shorter.
                0 => return EIO,
                error if error < 0 => return error as Outcome,
                // No more than was asked for.
                count => moved = moved.saturating_add(count as usize),
            }
        }
        0
    }

    /// Clears a range of a file; with `unmap` its place may be given back.
    fn reshape(&self, leg: &Leg<T>, unmap: bool) -> Outcome {
        let change = |mode: i32| {
            let (offset, bytes) = (leg.offset as i64, i64::from(leg.bytes));
            // SAFETY: The file is open.
            unsafe {
                bindings::vfs_fallocate(leg.file.as_ptr(), mode | FALLOC_KEEP_SIZE, offset, bytes)
            }
        };
        let mut done = change(match unmap {
            true => FALLOC_PUNCH_HOLE,
            false => FALLOC_ZERO_RANGE,
        });
        // A block device that cannot give space back can be cleared all the same.
        if done == EOPNOTSUPP && unmap && self.op == Op::WriteZeroes {
            done = change(FALLOC_ZERO_RANGE);
        }
        if done == 0 && self.durable {
            let end = leg.offset.saturating_add(u64::from(leg.bytes));
            // SAFETY: As above.
            done = unsafe {
                bindings::vfs_fsync_range(
                    leg.file.as_ptr(),
                    leg.offset as i64,
                    end.saturating_sub(1) as i64,
                    1,
                )
            };
        }
        done
    }
}

impl<T: Tower> Leg<T> {
    fn end_write(&self) {
        if self.writes.replace(false) {
            // SAFETY: Begun with this kiocb.
            unsafe { ffi::abuse_kiocb_end_write(self.kiocb.get().cast()) };
        }
    }
}

/// Its completion will tell. Not among the errno of `bindings`.
const EIOCBQUEUED: i64 = -529;

/// Moves data between a file and memory.
///
/// # Safety
///
/// The kiocb is initialised, and it and the memory live until it is complete.
unsafe fn move_data(
    kiocb: *mut bindings::kiocb,
    iter: &mut bindings::iov_iter,
    writes: bool,
) -> i64 {
    // SAFETY: By the contract; an open file has operations.
    let operations = unsafe { &*(*(*kiocb).ki_filp).f_op };
    let call = match writes {
        true => operations.write_iter,
        false => operations.read_iter,
    };
    match call {
        // SAFETY: By the contract.
        Some(call) => unsafe { call(kiocb, iter) as i64 },
        None => i64::from(EOPNOTSUPP),
    }
}

/// While it lives, this thread is one that cleans memory: it allocates without starting I/O, and is
/// throttled only by the device it writes to.
pub(crate) struct Flusher {
    flags: u32,
    _not_send: core::marker::PhantomData<*mut ()>,
}

impl Flusher {
    /// Begins.
    pub(crate) fn new() -> Self {
        // SAFETY: Restored by drop, on the same thread since the type is not `Send`.
        let flags = unsafe { ffi::abuse_flusher_save() };
        Flusher {
            flags,
            _not_send: core::marker::PhantomData,
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // SAFETY: The flags are those that `abuse_flusher_save` returned on this thread.
        unsafe { ffi::abuse_flusher_restore(self.flags) };
    }
}

/// While it lives, this thread may what whoever opened the file may.
struct Owner {
    before: *const bindings::cred,
}

impl Owner {
    fn of(file: &Backing) -> Self {
        // SAFETY: Restored by drop, on the same thread since the type is not `Send`; the file keeps
        // its credentials and outlives this.
        let before = unsafe { ffi::abuse_creds_of_file(file.as_ptr()) };
        Owner { before }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: As they were.
        unsafe { ffi::abuse_creds_restore(self.before) };
    }
}

/// Runs `f` while the block layer gathers what this thread submits, if that is several things.
pub(crate) fn plugged<R>(several: bool, f: impl FnOnce() -> R) -> R {
    if !several {
        return f();
    }
    let mut plug = MaybeUninit::<bindings::blk_plug>::uninit();
    // SAFETY: It stays where it is until it is finished, below.
    unsafe { bindings::blk_start_plug(plug.as_mut_ptr()) };
    let result = f();
    // SAFETY: Started above.
    unsafe { bindings::blk_finish_plug(plug.as_mut_ptr()) };
    result
}
