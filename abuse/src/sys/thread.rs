// SPDX-License-Identifier: MIT

//! What a thread may ask of the kernel for itself, and how another wakes it from a system call.

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// The signal that wakes a thread from EXCHANGE. Its default action is to be ignored, so one that
/// strays does no harm.
pub(crate) const WAKE: Signal = Signal::SIGURG;

/// PR_SET_IO_FLUSHER of linux/prctl.h, which libc has for Android only.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// Kernel id of the calling thread.
pub(crate) fn id() -> libc::pid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Memory the calling thread allocates in the kernel is never got by writing to disks
/// (PR_SET_IO_FLUSHER). Threads it makes later inherit it.
pub(crate) fn io_flusher() -> nix::Result<()> {
    let zero: libc::c_ulong = 0;
    let one: libc::c_ulong = 1;
    // SAFETY: this option takes integers only, and the unused ones must be zero.
    let answer = unsafe { libc::prctl(PR_SET_IO_FLUSHER, one, zero, zero, zero) };
    Errno::result(answer).map(drop)
}

/// The calling thread no longer preempts who it is woken by (SCHED_BATCH).
pub(crate) fn batch_scheduling() -> nix::Result<()> {
    // SAFETY: all-zero is a valid sched_param; on some libcs it has more fields than priority.
    let param: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: `param` is alive, and 0 means the calling thread.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &param) };
    Errno::result(answer).map(drop)
}

/// Makes [`WAKE`] interrupt system calls of this process, once.
///
/// A handler that somebody else installed stays; whether it interrupts is then theirs to say, and
/// `false` comes back.
pub(crate) fn wake_interrupts() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let signal = WAKE as libc::c_int;
        // SAFETY: all-zero is a valid sigaction: the default action, no flags, nothing masked.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks; `old` is alive.
        if unsafe { libc::sigaction(signal, std::ptr::null(), &mut old) } != 0 {
            return false;
        }
        if old.sa_sigaction != libc::SIG_DFL && old.sa_sigaction != libc::SIG_IGN {
            return false;
        }
        // No SA_RESTART: interrupting is what it is for.
        let mut new = old;
        new.sa_flags = 0;
        new.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler does nothing, so it is safe at any point of any thread.
        unsafe { libc::sigaction(signal, &new, std::ptr::null_mut()) == 0 }
    })
}

/// The handler of [`WAKE`]: that the system call ends is all that is wanted.
extern "C" fn nothing(_: libc::c_int) {}

/// Sends [`WAKE`] to one thread of this process. A thread that is gone is no error.
pub(crate) fn wake(thread: libc::pid_t) {
    let process = std::process::id() as libc::pid_t;
    // SAFETY: takes integers only; the signal can only reach threads of this process.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, WAKE as libc::c_int) };
}
