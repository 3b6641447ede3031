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
    // Only without a limit may what comes later be locked too: past a limit,
    // every allocation would fail. Root may lift it.
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if limit != RLIM_INFINITY {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
}
