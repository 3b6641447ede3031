// SPDX-License-Identifier: MIT
//! The end of the disk before that of its workers, with real processes.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

/// A scene whose disk is taken down by this shell script, served by one worker.
fn scene(options: &str, script: &str, worker: &str) -> Scene {
    let mut scene = Scene::new();
    scene.put(
        "take-down",
        &format!("#!/bin/sh\ncd '{}'\n{script}\n", scene.dir.display()),
    );
    let program = scene.dir.join("take-down");
    fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
    scene.start(&format!("--setup size=1M {options}"), worker);
    scene.wait_log("is ready after", 1);
    scene
}

/// Nobody uses the disk: it goes while its worker serves, which ends of it; and that is no failure.
#[test]
fn a_disk_that_nobody_uses_goes_before_its_workers() {
    let mut scene = scene("", "touch gone", "ready await:gone exit:3");
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    scene.wait_log("nobody uses the disk: it was reset", 1);
    assert_eq!((scene.of("start").len(), scene.of("requeue").len()), (1, 1));
    assert!(scene.told().iter().any(|line| line == "STOPPING=1"));
}

/// Somebody does: it stays, with the reason in the log, and the workers leave.
#[test]
fn a_disk_that_is_used_stays() {
    let mut scene = scene("", "echo 'mounted on /srv' >&2; exit 5", "ready");
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    scene.wait_log("the disk stays: mounted on /srv", 1);
    scene.wait_log("told to finish and leave", 1);
}

/// Without a set-up, or by the operator's will, nothing is tried.
#[test]
fn a_disk_that_is_to_be_kept_stays() {
    let mut scene = scene("--at-end keep", "touch gone", "ready");
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert!(!scene.dir.join("gone").exists());
}

/// What is written is flushed first, and a worker that dies of it is replaced.
#[test]
fn workers_are_replaced_until_the_disk_is_gone() {
    let script = "until test -e go; do sleep 0.01; done";
    let mut scene = scene("--back-off 1ms..1ms --stable-after 1ms", script, "ready");
    scene.signal(Signal::SIGTERM);
    scene.wait_told("STOPPING=1", 1);
    scene.shoot(scene.of("start")[0].pid);
    scene.wait_log("is ready after", 2);
    scene.touch("go");
    assert_eq!(scene.status(), 0);
    assert_eq!(scene.of("start").len(), 2);
}

/// Nobody flushes: that is waited for as long as for workers, and not when the operator has no
/// patience.
#[test]
fn an_end_does_not_wait_for_ever_for_the_disk() {
    let mut patient = scene("--drain-timeout 100ms", "sleep 600", "ready");
    patient.signal(Signal::SIGTERM);
    assert_eq!(patient.status(), 0);
    patient.wait_log("the disk stays: to reset it takes too long", 1);

    let mut hasty = scene("--drain-timeout 1h", "sleep 600", "deaf ready");
    hasty.signal(Signal::SIGTERM);
    hasty.wait_told("STOPPING=1", 1);
    hasty.signal(Signal::SIGTERM);
    assert_eq!(hasty.status(), 0);
    assert_eq!(hasty.of("requeue").len(), 1);
}
