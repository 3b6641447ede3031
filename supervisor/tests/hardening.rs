// SPDX-License-Identifier: MIT
//! What the supervisor does to itself, seen in its own /proc. A process of its own, because it
//! cannot be undone.

use std::fs;

use abuse_supervisor::harden::{all, has_capability, CAP_IPC_LOCK, CAP_SYS_RESOURCE};

#[test]
fn memory_is_locked_and_the_oom_killer_looks_elsewhere() {
    all();
    if has_capability(CAP_SYS_RESOURCE) {
        let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(score.trim(), "-1000");
    } else {
        eprintln!("skipped: oom_score_adj, for want of CAP_SYS_RESOURCE");
    }
    if has_capability(CAP_SYS_RESOURCE) || has_capability(CAP_IPC_LOCK) {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        assert!(kib("VmLck:") >= kib("VmRSS:") / 2, "{status}");
    } else {
        eprintln!("skipped: mlockall, for want of CAP_IPC_LOCK");
    }
}
