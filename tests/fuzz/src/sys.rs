// SPDX-License-Identifier: MIT

//! Calls and memory as no decent program has them: all the `unsafe` of this crate.
//!
//! What is passed to the driver may be any number. The driver writes where a caller lets it write,
//! so a call is sound as long as every address that could name this program's own objects is that
//! of a [`Region`], which holds nothing that Rust knows of. Random numbers name none but by chance;
//! a process that a call has ruined in spite of that dies, and is reported.

use std::ffi::CStr;
use std::fs::File;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64};

use abuse::abi;
use abuse_scenarios::kit::raw::Plain;
use nix::libc;
use nix::unistd::{self, ForkResult, Pid};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// 0, or the errno.
fn errno_of(answer: i64) -> i32 {
    match answer {
        -1 => nix::errno::Errno::last_raw(),
        _ => 0,
    }
}

/// One ioctl of a 64-bit program. Returns the errno, or 0.
pub fn ioctl(fd: i32, number: u32, argument: u64) -> i32 {
    // SAFETY: see the module's documentation.
    errno_of(unsafe { libc::ioctl(fd, number.into(), argument) }.into())
}

/// The same ioctl as a 32-bit program makes it.
pub fn ioctl32(fd: i32, number: u32, argument: u32) -> i32 {
    let mut answer: i64 = 54; // ioctl, in the table of i386.
                              // SAFETY: as above. rbx, which belongs to the compiler, is put back; the kernel keeps the rest.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) i64::from(fd) => _,
            inout("rax") answer,
            in("rcx") u64::from(number),
            in("rdx") u64::from(argument),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match answer as i32 {
        error @ -4095..=-1 => -error,
        _ => 0,
    }
}

/// The bytes of a struct of the contract.
pub fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
    // SAFETY: `Plain` values are integers without padding.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
        .to_vec()
}

/// Memory below 2 GiB, so that 32-bit calls can name it. It stays until the process ends.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    at: usize,
    len: usize,
}

/// What may be done with a region.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Nothing.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    Both,
}

impl Access {
    fn bits(self) -> i32 {
        match self {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::Both => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

impl Region {
    /// Bytes of nobody else, all zero.
    pub fn new(len: usize) -> nix::Result<Region> {
        Region::map(None, len, Access::Both)
    }

    /// A file's first bytes, shared.
    pub fn of_file(file: &File, len: usize, access: Access) -> nix::Result<Region> {
        Region::map(Some(file), len, access)
    }

    fn map(file: Option<&File>, len: usize, access: Access) -> nix::Result<Region> {
        let (fd, kind) = match file {
            Some(file) => (file.as_raw_fd(), libc::MAP_SHARED),
            None => (-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        };
        let flags = kind | libc::MAP_32BIT;
        // SAFETY: a mapping where the kernel likes it replaces nothing.
        let at = unsafe { libc::mmap(ptr::null_mut(), len, access.bits(), flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(nix::errno::Errno::last());
        }
        Ok(Region {
            at: at as usize,
            len,
        })
    }

    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.at as u64
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is no region without bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn part(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        (self.at + offset) as *mut u8
    }

    /// Copies bytes in. The region must be writable.
    pub fn poke(&self, offset: usize, bytes: &[u8]) {
        let to = self.part(offset, bytes.len());
        // SAFETY: within the region.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies a value in. The region must be writable.
    pub fn put<T: Plain>(&self, offset: usize, value: T) {
        let to = self.part(offset, size_of::<T>()).cast::<T>();
        // SAFETY: within the region.
        unsafe { to.write_unaligned(value) };
    }

    /// Copies a value out. The region must be readable.
    pub fn peek<T: Plain>(&self, offset: usize) -> T {
        let from = self.part(offset, size_of::<T>()).cast::<T>();
        // SAFETY: within the region, and any bytes will do.
        unsafe { from.read_unaligned() }
    }

    /// Copies bytes out. The region must be readable.
    pub fn copy(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let from = self.part(offset, len);
        // SAFETY: within the region and the vector.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len) };
        bytes
    }

    /// Sets all bytes of a part.
    pub fn fill(&self, offset: usize, len: usize, byte: u8) {
        let to = self.part(offset, len);
        // SAFETY: within the region.
        unsafe { to.write_bytes(byte, len) };
    }

    /// Changes what may be done with a part of whole pages.
    pub fn allow(&self, offset: usize, len: usize, access: Access) {
        let at = self.part(offset, len).cast();
        // SAFETY: these are pages of a region, which nothing in Rust refers to.
        unsafe { libc::mprotect(at, len, access.bits()) };
    }

    /// Gives the pages back; they come again, from the file or as zeros.
    pub fn forget(&self) {
        // SAFETY: as above.
        unsafe { libc::madvise(self.part(0, self.len).cast(), self.len, libc::MADV_DONTNEED) };
    }

    /// Takes the mapping away and, after `between`, puts that of the file in its place.
    pub fn remap(&self, file: &File, between: impl FnOnce()) {
        let at = self.part(0, self.len).cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: only these pages are replaced; the addresses stay reserved.
        unsafe { libc::mmap(at, self.len, libc::PROT_NONE, flags, -1, 0) };
        between();
        let (flags, both) = (libc::MAP_SHARED | libc::MAP_FIXED, Access::Both.bits());
        // SAFETY: as above.
        unsafe { libc::mmap(at, self.len, both, flags, file.as_raw_fd(), 0) };
    }
}

/// A region whose missing pages come when [`Slow::serve`] brings them, by userfaultfd(2).
#[derive(Debug)]
pub struct Slow {
    region: Region,
    fd: OwnedFd,
}

// From linux/userfaultfd.h.
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_COPY: u64 = 0xc028_aa03;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;
const UFFD_MESSAGE: usize = 32;

impl Slow {
    /// Needs the right to handle faults of the kernel.
    pub fn new(len: usize) -> nix::Result<Slow> {
        let region = Region::new(len)?;
        // SAFETY: flags only.
        let fd =
            unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
        let fd = i32::try_from(nix::errno::Errno::result(fd)?).unwrap_or(-1);
        // SAFETY: a new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let slow = Slow { region, fd };
        slow.call(UFFDIO_API, &mut [UFFD_API, 0, 0])?;
        let range = [
            region.address(),
            len as u64,
            UFFDIO_REGISTER_MODE_MISSING,
            0,
        ];
        slow.call(UFFDIO_REGISTER, &mut { range })?;
        Ok(slow)
    }

    fn call(&self, number: u64, words: &mut [u64]) -> nix::Result<()> {
        // SAFETY: each caller passes as many words as its struct has.
        let answer = unsafe { libc::ioctl(self.fd.as_raw_fd(), number, words.as_mut_ptr()) };
        nix::errno::Errno::result(answer).map(drop)
    }

    /// The memory.
    pub fn region(&self) -> Region {
        self.region
    }

    /// Waits for somebody to touch a missing page; after `delay` brings it. Whether one was.
    pub fn serve(&self, milliseconds: i32, page: &[u8; PAGE], delay: impl FnOnce()) -> bool {
        let (_, ready) = poll(self.fd.as_raw_fd(), libc::POLLIN, milliseconds);
        if ready & libc::POLLIN == 0 {
            return false;
        }
        let mut message = [0u64; UFFD_MESSAGE / 8];
        // SAFETY: the buffer is as long as is said.
        let got = unsafe {
            libc::read(
                self.fd.as_raw_fd(),
                message.as_mut_ptr().cast(),
                UFFD_MESSAGE,
            )
        };
        if got != UFFD_MESSAGE as isize {
            return false;
        }
        delay();
        let at = message[2] & !(PAGE as u64 - 1);
        let copy = [at, page.as_ptr() as u64, PAGE as u64, 0, 0];
        let _ = self.call(UFFDIO_COPY, &mut { copy });
        true
    }
}

/// poll(2) of one descriptor: the errno or 0, and what it says.
pub fn poll(fd: i32, events: i16, milliseconds: i32) -> (i32, i16) {
    let mut one = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one live struct.
    let answer = unsafe { libc::poll(&mut one, 1, milliseconds) };
    (errno_of(answer.into()), one.revents)
}

/// epoll on one descriptor, from its making to its end: the errno or 0, and what it says.
pub fn epoll(fd: i32, events: u32, milliseconds: i32) -> (i32, u32) {
    // SAFETY: flags only.
    let made = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if made < 0 {
        return (errno_of(-1), 0);
    }
    // SAFETY: a new descriptor.
    let set = unsafe { OwnedFd::from_raw_fd(made) };
    if made == fd {
        // Another thread has closed it meanwhile, and its number is the set's own.
        return (libc::EBADF, 0);
    }
    let mut event = libc::epoll_event { events, u64: 0 };
    // SAFETY: one live struct.
    let added = unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
    if added < 0 {
        return (errno_of(-1), 0);
    }
    // SAFETY: room for one.
    let answer = unsafe { libc::epoll_wait(set.as_raw_fd(), &mut event, 1, milliseconds) };
    let said = if answer == 1 { event.events } else { 0 };
    (errno_of(answer.into()), said)
}

/// open(2): the descriptor, or the errno.
pub fn open(path: &CStr, flags: i32) -> Result<i32, i32> {
    // SAFETY: a string that ends.
    match unsafe { libc::open(path.as_ptr(), flags, 0o600) } {
        -1 => Err(errno_of(-1)),
        fd => Ok(fd),
    }
}

/// ftruncate(2), of what has a size.
pub fn truncate(fd: i32, bytes: i64) {
    // SAFETY: integers only.
    let _ = unsafe { libc::ftruncate(fd, bytes) };
}

/// dup(2): the descriptor, or the errno.
pub fn dup(fd: i32) -> Result<i32, i32> {
    // SAFETY: a number only.
    match unsafe { libc::dup(fd) } {
        -1 => Err(errno_of(-1)),
        fd => Ok(fd),
    }
}

/// close(2), of a descriptor that nothing in Rust owns.
pub fn close(fd: i32) -> i32 {
    // SAFETY: by the contract above.
    errno_of(unsafe { libc::close(fd) }.into())
}

/// A call that is not an ioctl and that a control node has no answer to. Returns the errno, or 0.
pub fn stray(which: u64, fd: i32, at: u64, len: usize) -> i32 {
    let (fd, len) = (i64::from(fd) as u64, len as u64);
    let asynchronous = (libc::O_NONBLOCK | libc::O_ASYNC) as u64;
    let shared = libc::MAP_SHARED as u64;
    let (number, words) = match which % 8 {
        0 => (libc::SYS_read, [fd, at, len, 0, 0, 0]),
        1 => (libc::SYS_write, [fd, at, len, 0, 0, 0]),
        2 => (libc::SYS_lseek, [fd, at, 0, 0, 0, 0]),
        3 => (libc::SYS_fsync, [fd, 0, 0, 0, 0, 0]),
        4 => (libc::SYS_ftruncate, [fd, at, 0, 0, 0, 0]),
        5 => (
            libc::SYS_fcntl,
            [fd, libc::F_SETFL as u64, asynchronous, 0, 0, 0],
        ),
        6 => (libc::SYS_fallocate, [fd, 0, 0, len, 0, 0]),
        _ => (libc::SYS_mmap, [0, PAGE as u64, 3, shared, fd, 0]),
    };
    let [a, b, c, d, e, f] = words;
    // SAFETY: see the module's documentation; a mapping is where the kernel likes it.
    errno_of(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// A process that makes `calls` and ends. They must allocate nothing and take no lock, as other threads
/// may have held one.
fn fork(calls: impl FnOnce()) -> nix::Result<Pid> {
    // SAFETY: the child does no more than its callers below, who keep to the above.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            die_with_parent();
            calls();
            leave(0)
        }
    }
}

/// Makes these ioctls in a process of its own, which then ends. Descriptors and memory are as here.
pub fn fork_and_call(calls: &[(i32, u32, u64)]) {
    let _ = fork(|| {
        for &(fd, number, argument) in calls {
            ioctl(fd, number, argument);
        }
    });
}

/// Bytes that a forked worker needs.
pub const WORKER_ROOM: usize = 1 << 18;

/// A worker in a process of its own, which takes and completes until it is killed. It opens the control
/// node itself, so that the file goes with it.
pub fn fork_worker(control: &CStr, region: &Region) -> nix::Result<Pid> {
    const MOST: usize = 8;
    const DONE: usize = PAGE;
    const TAKE: usize = 2 * PAGE;
    const ARENA: usize = 3 * PAGE;
    assert!(region.len >= WORKER_ROOM);
    fork(|| {
        let mut held = 0;
        let mut file = Err(0);
        loop {
            let Ok(fd) = file else {
                file = open(control, libc::O_RDWR);
                continue;
            };
            let call = abi::Exchange {
                size: size_of::<abi::Exchange>() as u32,
                done: region.address() + DONE as u64,
                done_count: held,
                take: region.address() + TAKE as u64,
                take_max: MOST as u32,
                arena: region.address() + ARENA as u64,
                arena_bytes: (WORKER_ROOM - ARENA) as u64,
                timeout_ns: 1_000_000,
                ..abi::Exchange::default()
            };
            region.put(0, call);
            if ioctl(fd, abi::IOC_EXCHANGE, region.address()) != 0 {
                held = 0;
                continue;
            }
            held = region.peek::<abi::Exchange>(0).taken.min(MOST as u32);
            for index in 0..held as usize {
                let taken: abi::Take = region.peek(TAKE + index * size_of::<abi::Take>());
                let answer = abi::Done {
                    id: taken.id,
                    flags: abi::DONE_ZERO,
                    ..abi::Done::default()
                };
                region.put(DONE + index * size_of::<abi::Done>(), answer);
            }
        }
    })
}

/// This signal is nothing to us, nor to the programs we start, until they handle it.
pub fn ignore(signal: nix::sys::signal::Signal) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal as i32, libc::SIG_IGN) };
}

/// Children that end are nobody's to wait for.
pub fn ignore_children() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Dies with its parent.
pub fn die_with_parent() {
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Ends this process at once, whatever its threads are in the middle of.
pub fn leave(status: i32) -> ! {
    // SAFETY: nothing here has anything to tidy up.
    unsafe { libc::_exit(status) }
}

/// What processes share: atomic integers only, all zero at first.
///
/// # Safety
///
/// All bytes zero must be a valid value, and everything in it must be atomic.
pub unsafe trait Shared: Sync + 'static {}

// SAFETY: atomic, and zero is a number like any other.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: nothing but so many of what may be shared.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Defines a struct that processes share. It does not compile with a field that may not be shared.
macro_rules! shared {
    ($($(#[$about:meta])* $seen:vis struct $name:ident {
        $($(#[$field_about:meta])* $field_seen:vis $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$about])*
        #[repr(C)]
        $seen struct $name {
            $($(#[$field_about])* $field_seen $field: $type,)*
        }

        const _: () = {
            const fn may_be_shared<T: $crate::sys::Shared>() {}
            $(may_be_shared::<$type>();)*
        };

        // SAFETY: every field may be shared, or the lines above would not compile; padding is never
        // looked at.
        unsafe impl $crate::sys::Shared for $name {}
    )*};
}
pub(crate) use shared;

/// A file's bytes as a value that others see too.
pub fn share<T: Shared>(file: &File) -> nix::Result<&'static T> {
    let len = size_of::<T>();
    // SAFETY: a mapping where the kernel likes it replaces nothing.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            3,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(nix::errno::Errno::last());
    }
    // SAFETY: mapped for good, zero or what other processes stored, by the contract of `Shared`.
    Ok(unsafe { &*at.cast::<T>() })
}

/// The file behind a descriptor that was inherited for this.
pub fn inherited(fd: i32) -> File {
    // SAFETY: the parent made it for us, and says so once.
    unsafe { File::from_raw_fd(fd) }
}

/// ioctl(2) on a disk, with two words, as the block layer's have.
pub fn disk_ioctl(fd: i32, number: u32, words: [u64; 2]) -> i32 {
    let mut words = words;
    // SAFETY: none of the ioctls that are made this way has more than two words.
    errno_of(unsafe { libc::ioctl(fd, number.into(), words.as_mut_ptr()) }.into())
}

/// fallocate(2) with any mode.
pub fn punch(fd: i32, mode: i32, offset: u64, len: u64) -> i32 {
    // SAFETY: numbers only.
    errno_of(unsafe { libc::fallocate(fd, mode, offset as i64, len as i64) }.into())
}

/// pread(2) into a region.
pub fn pread(fd: i32, to: &Region, len: usize, offset: u64) -> i32 {
    let place = to.part(0, len).cast();
    // SAFETY: within the region.
    errno_of(unsafe { libc::pread(fd, place, len, offset as i64) } as i64)
}

/// pwrite(2) from a region.
pub fn pwrite(fd: i32, from: &Region, len: usize, offset: u64) -> i32 {
    let place = from.part(0, len).cast();
    // SAFETY: within the region.
    errno_of(unsafe { libc::pwrite(fd, place, len, offset as i64) } as i64)
}

/// fsync(2).
pub fn fsync(fd: i32) -> i32 {
    // SAFETY: a number only.
    errno_of(unsafe { libc::fsync(fd) }.into())
}
