// SPDX-License-Identifier: MIT
//! A supervisor of disks must not wait for those disks, nor be the first to go
//! when memory is short. Each measure is tried; a failure is a warning that says
//! what is at risk.

use nix::sys::mman::{mlockall, MlockAllFlags};
use nix::sys::resource::{getrlimit, setrlimit, Resource, RLIM_INFINITY};

/// Takes all measures.
pub fn all() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        log::warn!(
            "oom_score_adj stays as it is ({error}): when memory runs out, the kernel may end \
             this supervisor"
        );
    }
    if let Err(error) = lock_memory() {
        log::warn!(
            "memory is not locked ({error}): if this supervisor is swapped out to a disk it \
             looks after, neither comes back; run as root or raise LimitMEMLOCK"
        );
    }
}

fn lock_memory() -> nix::Result<()> {
    // Only without a limit may what comes later be locked too: past a limit, every allocation
    // would fail. There is none with CAP_IPC_LOCK, and CAP_SYS_RESOURCE may lift it, for the
    // workers too.
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if limit != RLIM_INFINITY {
        let lifted = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        if lifted.is_err() && !has_capability(CAP_IPC_LOCK) {
            return lifted;
        }
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
}

/// Bits of CapEff, from capability.h.
pub const CAP_IPC_LOCK: u32 = 14;
/// As above.
pub const CAP_SYS_RESOURCE: u32 = 24;

/// Whether this process may do what a capability stands for.
pub fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let bits = set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| (bits >> number) & 1 == 1)
}
