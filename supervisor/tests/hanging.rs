// SPDX-License-Identifier: MIT
//! Workers that live and do not do their work, with real processes.

mod common;

use common::Scene;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

#[test]
fn program() {
    common::program();
}

const QUICK: &str = "--back-off 1ms..1ms --stable-after 1ms --fence-after 50ms";

/// It gives no sign of life: TERM, KILL, and only after its death what follows a death.
#[test]
fn a_worker_without_a_heartbeat_is_killed_and_replaced() {
    let mut scene = Scene::new();
    scene.start(&format!("{QUICK} --heartbeat 2s"), "deaf ready beat");
    let worker = scene.wait_entries("start", 1)[0].clone();
    scene.wait_log("is ready after", 1);
    scene.touch(&format!("hang.{}", worker.pid));
    scene.wait_log("it gives no sign of life any more", 1);
    let starts = scene.wait_entries("start", 2);
    let requeue = &scene.of("requeue")[0];
    assert_eq!(requeue.token, worker.token);
    assert!(requeue.at < starts[1].at);
    let log = scene.log();
    assert!(
        log.contains("sent SIGKILL, because it did not leave in time"),
        "{log}"
    );
    assert!(log.contains("was killed by SIGKILL"), "{log}");
}

/// A process that is stopped hears no SIGTERM, and dies of SIGKILL.
#[test]
fn a_worker_that_is_stopped_is_killed_and_replaced() {
    let mut scene = Scene::new();
    scene.start(&format!("{QUICK} --heartbeat 2s"), "ready beat");
    let worker = scene.wait_entries("start", 1)[0].clone();
    scene.wait_log("is ready after", 1);
    kill(Pid::from_raw(worker.pid as i32), Signal::SIGSTOP).unwrap();
    scene.wait_entries("start", 2);
    scene.wait_log("it gives no sign of life any more", 1);
    assert_eq!(scene.of("requeue")[0].token, worker.token);
}

/// A worker that says that it is alive is left alone, for many limits.
#[test]
fn a_heartbeat_keeps_a_worker() {
    let mut scene = Scene::new();
    scene.start(&format!("{QUICK} --heartbeat 2s --workers 2"), "ready beat");
    scene.wait_log("is ready after", 2);
    let hung = scene.of("start")[1].clone();
    scene.touch(&format!("hang.{}", hung.pid));
    // The time in which one is missed twice is the time in which the other is not.
    scene.wait_entries("start", 3);
    let third = scene.of("start")[2].clone();
    scene.wait_log("is ready after", 3);
    scene.touch(&format!("hang.{}", third.pid));
    scene.wait_entries("start", 4);
    assert!(scene.runs(scene.of("start")[0].pid));
    assert_eq!(scene.of("requeue").len(), 2);
}

/// A worker that never says that it is ready does not stay for ever.
#[test]
fn a_worker_that_is_never_ready_is_replaced() {
    let mut scene = Scene::new();
    scene.start(&format!("{QUICK} --start-timeout 300ms"), "await:go ready");
    scene.wait_log("it has not said that it is ready", 1);
    scene.wait_entries("start", 2);
    scene.touch("go");
    scene.wait_log("is ready after", 1);
}

/// It takes a request and never puts it: that one, and not its neighbour, is killed.
#[test]
fn a_worker_that_holds_a_request_for_too_long_is_killed() {
    let mut scene = Scene::new();
    scene.start(
        &format!("{QUICK} --workers 2 --request-timeout 5s"),
        "ready",
    );
    scene.wait_log("is ready after", 2);
    let sinner = scene.of("start")[1].clone();
    scene.put("held", &sinner.token);
    let starts = scene.wait_entries("start", 3);
    assert!(scene.runs(starts[0].pid));
    assert_eq!(scene.of("requeue")[0].token, sinner.token);
    scene.wait_log("it has held a request for too long", 1);
}

/// It said that it is ready, and takes nothing.
#[test]
fn a_worker_that_lies_about_being_ready_is_killed() {
    let mut scene = Scene::new();
    scene.start(&format!("{QUICK} --request-timeout 300ms"), "ready");
    scene.wait_log("is ready after", 1);
    scene.touch("lying");
    scene.wait_log("requests wait that it does not take", 1);
    scene.remove("lying");
    scene.wait_entries("start", 2);
}

/// A standby takes over from a worker that hung, when that is dead, and not before.
#[test]
fn a_standby_takes_over_from_a_worker_that_hung() {
    let mut scene = Scene::new();
    let options = format!("{QUICK} --standby 1 --request-timeout 5s");
    scene.start(&options, "deaf ready park");
    scene.wait_log("1 of 1 standbys ready", 1);
    let log = scene.log();
    let starts = scene.of("start").into_iter();
    let (_, serving): (Vec<_>, Vec<_>) =
        starts.partition(|start| log.contains(&format!("standby {} is ready", start.pid)));
    scene.put("held", &serving[0].token);
    let promoted = scene.wait_entries("promoted", 1);
    let requeue = &scene.of("requeue")[0];
    assert_eq!(requeue.token, serving[0].token);
    assert!(requeue.at < promoted[0].at);
    assert!(!scene.runs(serving[0].pid));
}
