// SPDX-License-Identifier: MIT
//! The only unsafe of the supervisor: what nix has no safe call for. No policy.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::signal::Signal;

/// A descriptor for the process itself: it cannot come to mean another one.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process behind a pidfd, and to no other.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed for the call; a null siginfo is allowed,
    // and the kernel then makes one as kill(2) does.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            none,
            0,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes an exclusive lock that lives as long as any copy of this open file, in
/// whatever process; false if somebody else has it. (nix's own lock ends with
/// the parent's copy, which is what a worker's lock must not do.)
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: flock takes a descriptor, borrowed for the call, and an integer.
    let done = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if done == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
        error => Err(error),
    }
}

/// Makes the command's process keep `lock` and `pipe` open across exec, after it has
/// written its own pid into the first.
pub fn inherit(command: &mut Command, mut lock: File, pipe: Option<File>) {
    let child = move || {
        let mut line = [b' '; 24];
        let mut rest = &mut line[..];
        // Formatting an integer into a slice allocates nothing.
        writeln!(rest, "pid={}", std::process::id())?;
        let length = 24 - rest.len();
        lock.write_all(&line[..length])?;
        fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
        if let Some(pipe) = &pipe {
            fcntl(pipe, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing, takes no lock
    // and calls only getpid, write and fcntl, which are async-signal-safe.
    unsafe { command.pre_exec(child) };
}
