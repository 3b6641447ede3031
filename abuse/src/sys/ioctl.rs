// SPDX-License-Identifier: MIT

//! The v2 calls of `abuse.h`, one function each. `size` fields are filled in here.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::Arena;
use crate::abi;

/// Issues one ioctl on a struct.
///
/// # Safety
///
/// `T` must be the struct that `request` names in `abuse.h`, and every address in it must be valid
/// for what the call does with it.
#[inline]
unsafe fn call<T>(fd: BorrowedFd<'_>, request: u32, arg: &mut T) -> nix::Result<()> {
    // SAFETY: `arg` is a live, exclusive `T`, and the caller vouches for the rest.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::Ioctl, arg as *mut T) };
    Errno::result(answer).map(drop)
}

/// Reads everything about a device.
pub(crate) fn status(fd: BorrowedFd<'_>) -> nix::Result<abi::Status> {
    let mut status = abi::Status {
        size: size_of::<abi::Status>() as u32,
        ..Default::default()
    };
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_STATUS, &mut status) }?;
    Ok(status)
}

/// Sets a device up; the struct comes back as the driver adjusted it.
pub(crate) fn setup(fd: BorrowedFd<'_>, setup: &mut abi::Setup) -> nix::Result<()> {
    setup.size = size_of::<abi::Setup>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_SETUP, setup) }
}

/// Offers taken requests again.
pub(crate) fn requeue(fd: BorrowedFd<'_>, requeue: &mut abi::Requeue) -> nix::Result<()> {
    requeue.size = size_of::<abi::Requeue>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_REQUEUE, requeue) }
}

/// Begins a new epoch.
pub(crate) fn reconnect(fd: BorrowedFd<'_>, reconnect: &mut abi::Reconnect) -> nix::Result<()> {
    reconnect.size = size_of::<abi::Reconnect>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_RECONNECT, reconnect) }
}

/// Ends everything pending and un-configures the device.
pub(crate) fn reset(fd: BorrowedFd<'_>, reset: &mut abi::Reset) -> nix::Result<()> {
    reset.size = size_of::<abi::Reset>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_RESET, reset) }
}

/// Changes the capacity of the disk.
pub(crate) fn resize(fd: BorrowedFd<'_>, resize: &mut abi::Resize) -> nix::Result<()> {
    resize.size = size_of::<abi::Resize>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_RESIZE, resize) }
}

/// Adds a device; on /dev/abuse-control.
pub(crate) fn add(fd: BorrowedFd<'_>, add: &mut abi::Add) -> nix::Result<()> {
    add.size = size_of::<abi::Add>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_ADD, add) }
}

/// Removes a device; on /dev/abuse-control.
pub(crate) fn remove(fd: BorrowedFd<'_>, remove: &mut abi::Remove) -> nix::Result<()> {
    remove.size = size_of::<abi::Remove>() as u32;
    // SAFETY: the request's own struct, without addresses in it.
    unsafe { call(fd, abi::IOC_REMOVE, remove) }
}

/// Has the block layer look for partitions: BLKRRPART of `linux/fs.h`.
pub(crate) fn rescan(disk: BorrowedFd<'_>) -> nix::Result<()> {
    const BLKRRPART: libc::Ioctl = 0x125f;
    // SAFETY: the call has no argument.
    let answer = unsafe { libc::ioctl(disk.as_raw_fd(), BLKRRPART) };
    Errno::result(answer).map(drop)
}

/// What goes into one EXCHANGE.
///
/// The buffers `done` entries name are only ever read by the driver, and a bad address there is an
/// EFAULT in that entry; so they may be any number, and this struct is safe to fill in.
pub(crate) struct Call<'a> {
    /// Requests to complete.
    pub done: &'a mut [abi::Done],
    /// Room for the requests to take.
    pub take: &'a mut [abi::Take],
    /// Where the driver places the bytes of what it hands out. `None` only with `X_NO_DATA`.
    pub arena: Option<&'a mut Arena>,
    /// `X_*`.
    pub flags: u32,
    /// Token of the worker.
    pub owner: u64,
    /// Wait for so many.
    pub take_min: u32,
    /// Wait for so long.
    pub timeout_ns: u64,
    /// Look so often before sleeping.
    pub spin: u32,
}

/// What came out of one EXCHANGE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// How many of `done` were refused.
    pub done_failed: u32,
    /// How many of `take` were filled.
    pub taken: usize,
    /// Requests still unclaimed.
    pub queued: u32,
    /// Of the device.
    pub epoch: u32,
}

/// Completes requests and takes new ones in one call.
#[inline]
pub(crate) fn exchange(fd: BorrowedFd<'_>, call_: Call<'_>) -> nix::Result<Reply> {
    let (arena, arena_bytes) = match &call_.arena {
        Some(arena) => (arena.address(), arena.len() as u64),
        None => (0, 0),
    };
    let mut exchange = abi::Exchange {
        size: size_of::<abi::Exchange>() as u32,
        flags: call_.flags,
        done: call_.done.as_mut_ptr() as u64,
        take: call_.take.as_mut_ptr() as u64,
        arena,
        arena_bytes,
        owner: call_.owner,
        timeout_ns: call_.timeout_ns,
        done_count: call_.done.len() as u32,
        take_max: call_.take.len() as u32,
        take_min: call_.take_min,
        spin: call_.spin,
        ..Default::default()
    };
    // SAFETY: the request's own struct. It writes to `done`, `take` and the arena, which are
    // borrowed exclusively for the call and as long as the counts say.
    unsafe { call(fd, abi::IOC_EXCHANGE, &mut exchange) }?;
    Ok(Reply {
        done_failed: exchange.done_failed,
        taken: (exchange.taken as usize).min(call_.take.len()),
        queued: exchange.queued,
        epoch: exchange.epoch,
    })
}
