// SPDX-License-Identifier: MIT
//! Deaths and what follows them, with real processes.

mod common;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

/// A worker that fails at once comes back ever more slowly, and each time only after its
/// requests have been offered again.
#[test]
fn a_crashing_worker_is_respawned_with_growing_pauses() {
    let mut scene = Scene::new();
    scene.start("--back-off 40ms..10s", "exit:1");
    let starts = scene.wait_entries("start", 5);
    let pauses: Vec<u64> = starts.windows(2).map(|two| two[1].at - two[0].at).collect();
    for (n, pause) in pauses.iter().enumerate() {
        let least = 40_000 * (1 << n) * 3 / 4;
        assert!(*pause >= least.max(40_000), "pause {n}: {pauses:?}");
    }
    for (n, entry) in scene.entries().iter().take(8).enumerate() {
        let expected = ["start", "requeue"][n % 2];
        assert_eq!(entry.what, expected, "entry {n}");
    }
    for (n, pair) in scene.entries()[..8].chunks(2).enumerate() {
        assert_eq!(pair[0].token, pair[1].token, "death {n}");
    }
}

/// A healthy worker is shot: its token goes back first, then a new one starts at once.
#[test]
fn a_stable_worker_killed_with_sigkill_is_replaced_at_once() {
    let mut scene = Scene::new();
    scene.start(
        "--workers 2 --back-off 50ms..10s --stable-after 200ms",
        "ready",
    );
    scene.wait_log("is ready after", 2);
    let victim = scene.of("start")[0].clone();
    common::wait_for("both to be stable", || {
        scene.signal(Signal::SIGUSR1);
        let log = scene.log();
        let stable = |slot| {
            log.lines()
                .any(|l| l.contains(slot) && l.contains(", stable"))
        };
        (stable("abctl0/0: ") && stable("abctl0/1: ")).then_some(())
    });
    scene.shoot(victim.pid);
    scene.wait_log("took over from", 1);
    let all = scene.entries();
    assert_eq!(all.len(), 4);
    assert_eq!((&*all[2].what, &all[2].token), ("requeue", &victim.token));
    assert_eq!(all[3].what, "start");
    assert_ne!(all[3].token, victim.token);
    let log = scene.log();
    assert!(log.contains("was killed by SIGKILL"), "{log}");
    assert!(log.contains("3 requests re-offered; a new one starts now"));
    let changes = log.split_once("warning: abctl0: served by only 1 of 2 workers");
    let (_, after) = changes.expect("the loss was not said");
    assert!(after.contains("abctl0: served by 2 of 2 workers"), "{log}");
}

/// Somebody still holds requests under the dead worker's token: nobody is started beside it.
#[test]
fn no_successor_starts_before_the_device_takes_the_token_back() {
    let mut scene = Scene::new();
    scene.start("--back-off 1ms..1ms --stable-after 1ms", "ready");
    scene.wait_log("is ready after", 1);
    scene.touch("busy");
    scene.shoot(scene.of("start")[0].pid);
    scene.wait_entries("busy", 8);
    scene.wait_log("another process still holds requests", 1);
    assert_eq!(scene.of("start").len(), 1);
    scene.remove("busy");
    scene.wait_entries("start", 2);
    assert_eq!(scene.of("requeue").len(), 1);
}

/// The worker dies, but a process it left behind has its descriptors, the lock among them.
#[test]
fn no_successor_starts_beside_what_the_dead_worker_left_behind() {
    let mut scene = Scene::new();
    let options = "--back-off 10ms..10ms --stable-after 1s";
    let script = "ready abandon:note:left+await:over+exit:0 await:die exit:1";
    scene.start(options, script);
    scene.wait_entries("left", 1);
    scene.touch("die");
    scene.wait_log("still holds the slot's lock", 3);
    // The worker, and what it abandoned.
    assert_eq!(scene.of("start").len(), 2);
    scene.touch("over");
    scene.wait_entries("start", 3);
}

/// A command line that is wrong stays wrong.
#[test]
fn wrong_usage_is_given_up_at_once_and_said() {
    let mut scene = Scene::new();
    scene.start("--workers 2", "exit:2");
    scene.wait_log("FAILED: all 2 workers were given up", 1);
    scene.signal(Signal::SIGUSR1);
    scene.wait_log("abctl0/1: given up: wrong usage", 1);
    assert_eq!(scene.of("start").len(), 2);
    assert_eq!(scene.of("requeue").len(), 2);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 1);
}

/// More deaths than allowed: the slot is given up, the supervisor stays and says so.
#[test]
fn a_worker_that_dies_too_often_is_given_up() {
    let mut scene = Scene::new();
    scene.start(
        "--back-off 1ms..1ms --stable-after 1s --intensity 3 --period 1min",
        "ready exit:1",
    );
    scene.wait_log("GIVEN UP, it died too often", 1);
    assert_eq!(scene.of("start").len(), 4);
    assert_eq!(scene.of("requeue").len(), 4);
    scene.signal(Signal::SIGUSR1);
    scene.wait_log("abctl0/0: given up: died too often", 1);
}

/// A worker that says that the device is gone, or reset, ends everything with its status.
#[test]
fn a_device_that_goes_ends_all_workers_and_the_supervisor() {
    for status in [3, 4] {
        let mut scene = Scene::new();
        let script = format!("ready await:over exit:{status}");
        scene.start("--workers 3", &script);
        scene.wait_entries("start", 3);
        scene.touch("over");
        assert_eq!(scene.status(), status);
        assert_eq!(scene.of("start").len(), 3);
        assert_eq!(scene.of("requeue").len(), 3);
    }
}
