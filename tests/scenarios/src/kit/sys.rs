// SPDX-License-Identifier: MIT

//! The calls of the driver with any argument at all, and memory that can be taken away: all the
//! `unsafe` of this crate.
//!
//! The addresses that scenarios put into structs are those of a [`Memory`], or of nothing. The
//! driver writes to no others, so the functions are safe to call for what is tested here.

use std::fs::File;
use std::io::Read;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::ptr::NonNull;

use abuse::abi;
use nix::errno::Errno;
use nix::sys::mman::{self, MapFlags, ProtFlags};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};

/// Bytes of a page, as far as scenarios care.
pub const PAGE: usize = 4096;

/// Structs of the contract: integers only, any bytes will do.
///
/// # Safety
///
/// Every bit pattern must be valid, and there must be no padding.
pub unsafe trait Plain: Copy + Default {}

macro_rules! plain {
    ($($name:ident)*) => {$(
        // SAFETY: `repr(C)`, integers only, padded explicitly.
        unsafe impl Plain for abi::$name {}
    )*};
}
plain!(Info Vector XfrHdr Done Extent Take Exchange Setup Status Requeue Reconnect Reset Resize Add Remove);
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}

/// One ioctl with any number and any argument.
pub fn call(fd: BorrowedFd<'_>, number: u32, argument: u64) -> nix::Result<()> {
    // SAFETY: see the module's documentation.
    let answer = unsafe { nix::libc::ioctl(fd.as_raw_fd(), number as _, argument) };
    Errno::result(answer).map(drop)
}

/// One ioctl on a struct.
pub fn call_on<T: Plain>(fd: BorrowedFd<'_>, number: u32, argument: &mut T) -> nix::Result<()> {
    call(fd, number, std::ptr::from_mut(argument) as u64)
}

/// This thread comes before every process without a deadline or a priority of its own.
pub fn before_all_others() -> nix::Result<()> {
    let first = nix::libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread; the struct is read and not kept.
    let answer = unsafe { nix::libc::sched_setscheduler(0, nix::libc::SCHED_FIFO, &first) };
    Errno::result(answer).map(drop)
}

/// poll(2) on one descriptor, with bits that have no name in libc.
pub fn poll(fd: BorrowedFd<'_>, events: i16, milliseconds: i32) -> nix::Result<i16> {
    let mut one = nix::libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: one live struct.
    let answer = unsafe { nix::libc::poll(&mut one, 1, milliseconds) };
    Errno::result(answer).map(|_| one.revents)
}

/// The address of these, for a call.
pub fn address_of<T: Plain>(values: &mut [T]) -> u64 {
    values.as_mut_ptr() as u64
}

/// Pages of one's own, that can be closed, emptied and mapped anew while others use them.
#[derive(Debug)]
pub struct Memory {
    at: NonNull<std::ffi::c_void>,
    len: usize,
}

// SAFETY: Memory is only ever touched through copies of bytes, which may race.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

fn pages(len: usize) -> NonZeroUsize {
    NonZeroUsize::new(len.div_ceil(PAGE).max(1) * PAGE).unwrap_or(NonZeroUsize::MIN)
}

const BOTH: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

impl Memory {
    /// At least so many bytes, all zero.
    pub fn new(len: usize) -> nix::Result<Memory> {
        let len = pages(len);
        // SAFETY: a mapping where the kernel likes it replaces nothing.
        let at = unsafe { mman::mmap_anonymous(None, len, BOTH, MapFlags::MAP_PRIVATE) }?;
        let len = len.get();
        Ok(Memory { at, len })
    }

    /// The first bytes of a file, shared.
    pub fn of_file(file: &File, len: usize) -> nix::Result<Memory> {
        let len = pages(len);
        // SAFETY: as above.
        let at = unsafe { mman::mmap(None, len, BOTH, MapFlags::MAP_SHARED, file, 0) }?;
        let len = len.get();
        Ok(Memory { at, len })
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        self.at.as_ptr() as u64
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether there are none; there are.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Allows reading and writing, reading, or nothing.
    pub fn allow(&self, read: bool, write: bool) -> nix::Result<()> {
        let mut flags = ProtFlags::PROT_NONE;
        flags.set(ProtFlags::PROT_READ, read);
        flags.set(ProtFlags::PROT_WRITE, write);
        // SAFETY: nothing in Rust refers to these pages.
        unsafe { mman::mprotect(self.at, self.len, flags) }
    }

    /// Takes the pages away and puts new ones, all zero, in their place.
    pub fn renew(&self) -> nix::Result<()> {
        let (at, len) = (self.address() as usize, self.len);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        // SAFETY: only these pages are replaced, and nothing in Rust refers to them.
        unsafe { mman::mmap_anonymous(NonZeroUsize::new(at), pages(len), BOTH, flags) }.map(drop)
    }

    /// Takes the pages away; the addresses stay reserved.
    pub fn vacate(&self) -> nix::Result<()> {
        let (at, len) = (self.address() as usize, self.len);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        let none = ProtFlags::PROT_NONE;
        // SAFETY: as above.
        unsafe { mman::mmap_anonymous(NonZeroUsize::new(at), pages(len), none, flags) }.map(drop)
    }

    /// Copies a value in.
    pub fn put<T: Plain>(&self, offset: usize, value: T) {
        let place = self.place(offset, size_of::<T>()).cast::<T>();
        // SAFETY: within the mapping; the caller has not closed it.
        unsafe { place.write_unaligned(value) };
    }

    /// Copies a value out.
    pub fn get<T: Plain>(&self, offset: usize) -> T {
        let place = self.place(offset, size_of::<T>()).cast::<T>();
        // SAFETY: within the mapping, and any bytes will do.
        unsafe { place.read_unaligned() }
    }

    /// Copies bytes out.
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let place = self.place(offset, len);
        // SAFETY: within the mapping and the vector.
        unsafe { place.copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
        bytes
    }

    fn place(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        self.at.as_ptr().cast::<u8>().wrapping_add(offset)
    }

    /// Fills all of it.
    pub fn fill(&self, byte: u8) {
        // SAFETY: within the mapping.
        unsafe { self.at.as_ptr().cast::<u8>().write_bytes(byte, self.len) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing in Rust refers to it.
        let _ = unsafe { mman::munmap(self.at, self.len) };
    }
}

/// Pages of which all but the first are never there: whoever touches one of them waits, in the kernel
/// too, until it is killed. By userfaultfd(2), which root may use.
#[derive(Debug)]
pub struct Tarpit {
    /// The pages.
    pub memory: Memory,
    faults: File,
}

/// `struct uffdio_api`
#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`
#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

const UFFD_API: u64 = 0xaa;
const UFFDIO_API: u32 = 0xc018_aa3f;
const UFFDIO_REGISTER: u32 = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;
/// Bytes of `struct uffd_msg`.
const UFFD_MSG: usize = 32;

impl Tarpit {
    /// At least two pages.
    pub fn new(len: usize) -> nix::Result<Tarpit> {
        let memory = Memory::new(len.max(2 * PAGE))?;
        memory.put(0, 0u64);
        let flags = nix::libc::O_CLOEXEC;
        // SAFETY: the call has no pointers.
        let fd = unsafe { nix::libc::syscall(nix::libc::SYS_userfaultfd, flags) };
        let fd = Errno::result(fd)? as i32;
        // SAFETY: just opened, and nobody else's.
        let faults = unsafe { File::from_raw_fd(fd) };
        let mut api = UffdioApi {
            api: UFFD_API,
            features: 0,
            ioctls: 0,
        };
        let borrowed = std::os::fd::AsFd::as_fd(&faults);
        call(borrowed, UFFDIO_API, std::ptr::from_mut(&mut api) as u64)?;
        let mut register = UffdioRegister {
            start: memory.address() + PAGE as u64,
            len: memory.len() - PAGE as u64,
            mode: UFFDIO_REGISTER_MODE_MISSING,
            ioctls: 0,
        };
        let address = std::ptr::from_mut(&mut register) as u64;
        call(borrowed, UFFDIO_REGISTER, address)?;
        Ok(Tarpit { memory, faults })
    }

    /// Waits until somebody is caught in it. Nobody gets out again.
    pub fn wait(&self) -> std::io::Result<()> {
        (&self.faults).read_exact(&mut [0; UFFD_MSG])
    }
}

/// From now on this signal is handled, by doing nothing.
pub fn handle(signal: Signal, restart: bool) -> nix::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let flags = match restart {
        true => SaFlags::SA_RESTART,
        false => SaFlags::empty(),
    };
    let action = SigAction::new(SigHandler::Handler(nothing), flags, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(signal, &action) }.map(drop)
}
