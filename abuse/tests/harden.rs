// SPDX-License-Identifier: MIT

//! Hardening does what it says, or says that it did not. One test, for it changes its process.

use std::fs;
use std::thread;

/// Task flags of the calling thread: field 9 of its stat.
fn flags() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name
        .split_whitespace()
        .nth(6)
        .unwrap()
        .parse()
        .unwrap()
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_setting_is_made_or_warned_about() {
    let before = flags();
    let warnings = abuse::worker::harden();
    let warned = |about: &str| warnings.iter().any(|warning| warning.contains(about));

    let oom = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_ne!(oom.trim() == "-1000", warned("kill it"), "{warnings:?}");
    assert_ne!(status("VmLck:") > 0, warned("locked"), "{warnings:?}");
    // Two flags of the task: its allocations start no I/O, and it is not throttled with others.
    let flushes = |flags: u64| (flags & !before).count_ones() >= 2;
    assert_ne!(flushes(flags()), warned("own disk"), "{warnings:?}");
    let inherited = thread::spawn(flags).join().unwrap();
    assert_eq!(flushes(inherited), flushes(flags()));
    assert!(!warned("core"), "{warnings:?}");
    for warning in &warnings {
        println!("warned: {warning}");
    }
}
