// SPDX-License-Identifier: MIT
//! Signals to the supervisor, with real processes.

mod common;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

/// TERM: every worker is told to leave, does, and nobody is started in its place.
#[test]
fn term_drains_and_ends_with_zero() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut scene = Scene::new();
        scene.start("--workers 3", "ready");
        scene.wait_log("is ready after", 3);
        scene.signal(signal);
        assert_eq!(scene.status(), 0);
        assert_eq!(scene.of("start").len(), 3);
        assert_eq!(scene.of("requeue").len(), 3);
        let dir = scene.dir.join("run");
        for slot in 0..3 {
            let record = dir.join(format!("abctl0.worker.{slot}.lock"));
            assert_eq!(std::fs::read_to_string(record).unwrap(), "");
        }
    }
}

/// A worker that does not leave in time is killed, and what it held is offered again.
#[test]
fn a_worker_deaf_to_term_is_killed_when_the_drain_timeout_is_over() {
    let mut scene = Scene::new();
    scene.start("--drain-timeout 300ms", "deaf ready");
    scene.wait_log("is ready after", 1);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert_eq!(scene.of("requeue").len(), 1);
    scene.wait_log("sent SIGKILL, because it did not leave in time", 1);
}

/// The operator has no patience: the second TERM does not wait for the drain.
#[test]
fn a_second_term_kills_at_once() {
    let mut scene = Scene::new();
    scene.start("--workers 2 --drain-timeout 1h", "deaf ready");
    scene.wait_log("is ready after", 2);
    scene.signal(Signal::SIGTERM);
    scene.wait_log("told to finish and leave", 2);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert_eq!(scene.of("requeue").len(), 2);
}

/// While a slot waits for its back-off, the end does not.
#[test]
fn the_end_does_not_wait_for_a_pause() {
    let mut scene = Scene::new();
    scene.start("--back-off 1h..1h --stable-after 1h", "exit:1");
    scene.wait_log("a new one starts in", 1);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert_eq!(scene.of("start").len(), 1);
}

/// HUP has nothing to do without a file; it is answered, and nothing dies of it.
#[test]
fn a_reload_without_a_file_and_a_look_at_the_status_are_harmless() {
    let mut scene = Scene::new();
    scene.start("", "ready");
    scene.wait_log("is ready after", 1);
    scene.signal(Signal::SIGHUP);
    scene.wait_log("no configuration file to reload", 1);
    scene.signal(Signal::SIGUSR1);
    scene.wait_log("abctl0/0: worker", 3);
    assert_eq!(scene.of("requeue").len(), 0);
}
