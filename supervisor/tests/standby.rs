// SPDX-License-Identifier: MIT
//! Standbys and rolling restarts, with real processes.

mod common;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

const SCRIPT: &str = "ready park";

/// The worker that serves dies: the standby serves, and another one stands by.
#[test]
fn a_standby_takes_over_and_is_replaced_as_a_standby() {
    let mut scene = Scene::new();
    scene.start("--standby 1 --back-off 1ms..1ms --stable-after 1ms", SCRIPT);
    scene.wait_log("1 of 1 standbys ready", 1);
    assert!(scene.of("promoted").is_empty());
    for round in 1..=3 {
        let starts = scene.of("start");
        let promoted = scene.of("promoted");
        let serving = promoted.last().map_or(starts[0].pid, |last| last.pid);
        // Of the first two either may be the one that serves.
        let serving = match scene.log().contains(&format!("standby {serving} is ready"))
            && promoted.is_empty()
        {
            true => starts[1].pid,
            false => serving,
        };
        scene.shoot(serving);
        let promoted = scene.wait_entries("promoted", round);
        assert_ne!(promoted[round - 1].pid, serving);
        scene.wait_entries("start", 2 + round);
        scene.wait_log("standby", 1);
        scene.wait_log("takes over from", round);
        common::wait_for("the next standby", || {
            let started = &scene.of("start")[1 + round];
            scene
                .log()
                .contains(&format!("standby {} is ready", started.pid))
                .then_some(())
        });
        assert_eq!(
            scene.of("promoted").len(),
            round,
            "more were promoted than died"
        );
        assert_eq!(scene.of("requeue").len(), round);
    }
    // What the dead held comes back before anybody is promoted.
    for (n, promoted) in scene.of("promoted").iter().enumerate() {
        assert!(scene.of("requeue")[n].at < promoted.at);
    }
}

/// As long as somebody holds requests under the dead worker's token, nobody is promoted.
#[test]
fn no_standby_is_promoted_before_the_device_takes_the_token_back() {
    let mut scene = Scene::new();
    scene.start("--standby 1", SCRIPT);
    scene.wait_log("1 of 1 standbys ready", 1);
    scene.touch("busy");
    let log = scene.log();
    let starts = scene.of("start");
    let serves = |pid: u32| log.contains(&format!("worker {pid} is ready"));
    let serving = starts.iter().find(|start| serves(start.pid)).unwrap();
    scene.shoot(serving.pid);
    scene.wait_entries("busy", 8);
    assert!(scene.of("promoted").is_empty());
    scene.remove("busy");
    scene.wait_entries("promoted", 1);
}

/// A supervisor dies: its standby stays one, and the next supervisor can still promote it.
#[test]
fn a_standby_survives_its_supervisor_and_is_promoted_by_the_next() {
    let mut scene = Scene::new();
    scene.start("--standby 1", SCRIPT);
    scene.wait_log("1 of 1 standbys ready", 1);
    scene.kill_supervisor();
    scene.start("--standby 1", SCRIPT);
    scene.wait_log("alive and adopted, ready", 2);
    scene.wait_log("1 of 1 standbys ready", 2);
    assert_eq!(scene.of("start").len(), 2);
    assert!(scene.of("promoted").is_empty());
    let log = scene.log();
    let starts = scene.of("start");
    let is_standby = |pid: u32| log.contains(&format!("standby {pid} is ready"));
    let serving = starts.iter().find(|start| !is_standby(start.pid)).unwrap();
    scene.shoot(serving.pid);
    let promoted = scene.wait_entries("promoted", 1);
    assert!(is_standby(promoted[0].pid));
    // And it is known as one that serves.
    scene.wait_log("started as a standby", 2);
    scene.kill_supervisor();
    scene.start("--standby 0", SCRIPT);
    scene.wait_log("served by 1 of 1 workers", 3);
    scene.wait_entries("requeue", 2);
    assert!(scene.runs(promoted[0].pid), "the wrong one had to leave");
}

/// The worker that serves died while there was no supervisor: the next one promotes the standby.
#[test]
fn a_standby_takes_over_from_one_whose_death_nobody_saw() {
    let mut scene = Scene::new();
    scene.start("--standby 1", SCRIPT);
    scene.wait_log("1 of 1 standbys ready", 1);
    scene.kill_supervisor();
    let log = scene.log();
    let starts = scene.of("start").into_iter();
    let (standby, serving): (Vec<_>, Vec<_>) =
        starts.partition(|start| log.contains(&format!("standby {} is ready", start.pid)));
    scene.shoot(serving[0].pid);
    common::wait_for("its death", || (!scene.runs(serving[0].pid)).then_some(()));
    scene.start("--standby 1", SCRIPT);
    let promoted = scene.wait_entries("promoted", 1);
    assert_eq!(promoted[0].pid, standby[0].pid);
    assert_eq!(scene.wait_entries("requeue", 1)[0].token, serving[0].token);
    scene.wait_log("1 of 1 standbys ready", 2);
}

/// USR2: every worker is replaced, each by one that was ready before the old one was told to go.
#[test]
fn a_rolling_restart_has_the_new_worker_ready_before_the_old_one_leaves() {
    let mut scene = Scene::new();
    scene.start("--workers 2 --standby 1", SCRIPT);
    scene.wait_log("1 of 1 standbys ready", 1);
    let old = scene.of("start");
    scene.signal(Signal::SIGUSR2);
    scene.wait_log("rolling restart is over: 3 workers replaced", 1);
    assert_eq!(scene.of("start").len(), 6);
    for start in &scene.of("start")[..3] {
        assert!(!scene.runs(start.pid));
    }
    let log = scene.log();
    let at = |text: String| log.find(&text).unwrap_or_else(|| panic!("{text}"));
    let news = scene.of("start");
    let leaving: Vec<usize> = old
        .iter()
        .map(|worker| at(format!("worker {} told to finish", worker.pid)))
        .collect();
    let mut first: Vec<usize> = leaving.clone();
    first.sort_unstable();
    for (worker, left) in news[3..].iter().zip(first) {
        assert!(at(format!("standby {} is ready", worker.pid)) < left);
    }
    assert!(!log.contains("served by only"), "there was a gap: {log}");
    assert_eq!(scene.of("promoted").len(), 2);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert_eq!(scene.of("requeue").len(), 6);
}

/// A new version that does not start leaves the old one where it is.
#[test]
fn a_rolling_restart_that_fails_leaves_the_old_workers_alone() {
    let mut scene = Scene::new();
    scene.start("--workers 2", "unless:bad ready park");
    scene.wait_log("served by 2 of 2 workers", 1);
    let old = scene.of("start");
    scene.touch("bad");
    scene.signal(Signal::SIGUSR2);
    scene.wait_log("rolling restart is given up", 1);
    for worker in &old {
        assert!(scene.runs(worker.pid));
    }
    scene.remove("bad");
    scene.signal(Signal::SIGUSR2);
    scene.wait_log("rolling restart is over: 2 workers replaced", 1);
    assert!(!scene.log().contains("served by only"));
}

/// An operator's restart also starts what was given up.
#[test]
fn a_restart_starts_what_was_given_up() {
    let mut scene = Scene::new();
    let options = "--intensity 1 --back-off 1ms..1ms --stable-after 1s --give-up fail";
    scene.start(options, "unless:bad ready park");
    scene.wait_log("served by 1 of 1 workers", 1);
    scene.touch("bad");
    scene.shoot(scene.of("start")[0].pid);
    scene.wait_log("GIVEN UP", 1);
    scene.wait_log("requests fail from now on", 1);
    scene.remove("bad");
    scene.signal(Signal::SIGUSR2);
    scene.wait_log("requests wait again", 1);
    scene.wait_log("served by 1 of 1 workers", 2);
    let terms: Vec<String> = scene
        .of("fail-unclaimed")
        .into_iter()
        .map(|e| e.token)
        .collect();
    assert_eq!(terms, ["Some(100ms)", "None"]);
}
