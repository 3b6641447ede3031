// SPDX-License-Identifier: MIT

//! What a process that serves a disk does so that it never waits for that disk itself.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::mman::{mlockall, MlockAllFlags};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{getrlimit, Resource, RLIM_INFINITY};

use crate::sys::thread;

/// CAP_IPC_LOCK of linux/capability.h: memory may be locked beyond the limit.
const CAP_IPC_LOCK: u32 = 14;

/// Hardens the calling process. Call it before making threads: one of the settings is the calling
/// thread's, and inherited. [`Worker::run`](super::Worker::run) does it unless told otherwise.
///
/// - killed last when memory runs out (`oom_score_adj` -1000);
/// - memory locked, what it allocates later too, if the limit is off;
/// - memory the kernel allocates for it is never got by writing to disks (PR_SET_IO_FLUSHER);
/// - no core dump (PR_SET_DUMPABLE 0): a dump onto the served disk would wait for the very process
///   that is being dumped.
///
/// Each of them may fail, for want of privilege; then a sentence says what is at risk.
pub fn harden() -> Vec<String> {
    let steps = [
        // In this order: without dumpable /proc/self belongs to root.
        warning(
            fs::write("/proc/self/oom_score_adj", "-1000"),
            "when memory runs out the kernel may kill it, and the disk waits for another worker",
        ),
        warning(
            lock_memory().map_err(io::Error::from),
            "its memory is not locked: it may have to be read back from a disk that waits for it \
             (raise the memlock limit)",
        ),
        warning(
            thread::io_flusher().map_err(io::Error::from),
            "when memory is short the kernel may make it wait for its own disk \
             (it needs CAP_SYS_RESOURCE)",
        ),
        warning(
            set_dumpable(false).map_err(io::Error::from),
            "it may dump core onto the disk it serves, and wait for itself",
        ),
    ];
    steps.into_iter().flatten().collect()
}

fn warning(step: io::Result<()>, risk: &str) -> Option<String> {
    let error = step.err()?;
    let cause = match error.raw_os_error() {
        Some(errno) => Errno::from_raw(errno).desc().to_string(),
        None => error.to_string(),
    };
    Some(format!("{risk}: {cause}"))
}

/// Everything there is; and what comes later, unless a limit would then turn every further mapping
/// into an error.
fn lock_memory() -> nix::Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let unlimited = limit == RLIM_INFINITY || may_lock_beyond_limit();
    mlockall(if unlimited {
        MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE
    } else {
        MlockAllFlags::MCL_CURRENT
    })
}

fn may_lock_beyond_limit() -> bool {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective_capabilities(&status))
        .is_some_and(|capabilities| (capabilities >> CAP_IPC_LOCK) & 1 == 1)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000004001\n";
        assert_eq!(effective_capabilities(status), Some(0x4001));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn a_warning_says_what_is_at_risk_and_why() {
        let denied = || Err(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(
            warning(denied(), "it may be killed").as_deref(),
            Some("it may be killed: Operation not permitted")
        );
        assert_eq!(warning(Ok(()), "x"), None);
    }
}
