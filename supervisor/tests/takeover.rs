// SPDX-License-Identifier: MIT
//! A supervisor dies; the next one takes over what it left. With real processes.

mod common;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

/// The workers go on without their supervisor; the next one starts nobody, and knows them well
/// enough to replace them and to end them.
#[test]
fn a_killed_supervisors_workers_live_on_and_are_adopted() {
    let mut scene = Scene::new();
    scene.start("--workers 3", "ready");
    scene.wait_log("is ready after", 3);
    for round in 1..=3 {
        scene.kill_supervisor();
        for worker in scene.of("start") {
            assert!(scene.runs(worker.pid), "lost in round {round}");
        }
        scene.start("--workers 3 --back-off 10ms..10ms", "ready");
        scene.wait_log("alive and adopted, ready", 3 * round);
    }
    assert_eq!(scene.of("start").len(), 3);
    let victim = scene.of("start")[1].clone();
    scene.shoot(victim.pid);
    scene.wait_entries("start", 4);
    let requeued = scene.of("requeue");
    assert_eq!(requeued.len(), 1);
    assert_eq!(requeued[0].token, victim.token);
    scene.wait_log("took over from", 1);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert_eq!(scene.of("requeue").len(), 4);
    assert_eq!(scene.of("start").len(), 4);
}

/// Killed at any moment of its start: never a second process in one slot, nor a lost one. The
/// moments are what it does, seen from outside, and the first look after each.
#[test]
fn a_supervisor_killed_at_any_moment_never_leads_to_two_workers_in_a_slot() {
    let record = |scene: &Scene, slot: u32, line: &str| {
        let path = scene.dir.join(format!("run/abctl0.worker.{slot}.lock"));
        let text = std::fs::read_to_string(path);
        text.is_ok_and(|text| text.contains(line))
    };
    let socket = |scene: &Scene| scene.dir.join("run/abctl0.notify").exists();
    type Reached<'a> = &'a dyn Fn(&Scene) -> bool;
    let moments: [(&str, Reached); 10] = [
        ("its lock", &|scene| scene.dir.join("run").exists()),
        ("the socket", &socket),
        ("a token", &|scene| record(scene, 0, "token=")),
        ("a process", &|scene| record(scene, 0, "pid=")),
        ("its start", &|scene| record(scene, 0, "start=")),
        ("another token", &|scene| record(scene, 1, "token=")),
        ("another process", &|scene| record(scene, 1, "pid=")),
        ("another start", &|scene| record(scene, 1, "start=")),
        ("a worker", &|scene| !scene.of("start").is_empty()),
        ("readiness", &|scene| record(scene, 0, "ready")),
    ];
    for (what, reached) in moments.iter().cycle().take(40) {
        let mut scene = Scene::new();
        scene.start("--workers 2", "ready");
        let begin = std::time::Instant::now();
        while !reached(&scene) {
            assert!(begin.elapsed().as_secs() < 60, "waited in vain for {what}");
        }
        scene.kill_supervisor();
        let before = scene.log().matches("served by 2 of 2 workers").count();
        // What says READY=1 between the two is heard by nobody.
        scene.start("--workers 2 --stable-after 100ms", "ready");
        scene.wait_log("served by 2 of 2 workers", before + 1);
        let starts = scene.wait_entries("start", 2);
        assert_eq!(starts.len(), 2, "killed at {what}");
        assert!(starts.iter().all(|start| scene.runs(start.pid)));
        scene.signal(Signal::SIGTERM);
        assert_eq!(scene.status(), 0);
    }
}

/// A worker dies while nobody watches: its requests are offered again before another starts.
#[test]
fn a_death_that_nobody_saw_is_made_good_by_the_next_supervisor() {
    let mut scene = Scene::new();
    scene.start("", "ready");
    scene.wait_log("is ready after", 1);
    scene.kill_supervisor();
    let dead = scene.of("start")[0].clone();
    scene.shoot(dead.pid);
    common::wait_for("its death", || (!scene.runs(dead.pid)).then_some(()));
    scene.start("", "ready");
    scene.wait_log("is ready after", 2);
    let all: Vec<String> = scene.entries().into_iter().map(|e| e.what).collect();
    assert_eq!(all, ["start", "requeue", "start"]);
    assert_eq!(scene.of("requeue")[0].token, dead.token);
}

/// A worker that got ready while there was no supervisor is not waited for for ever.
#[test]
fn a_readiness_that_nobody_heard_is_assumed_after_a_while() {
    let mut scene = Scene::new();
    scene.start("", "await:go ready note:said");
    scene.wait_log("not ready yet", 1);
    scene.kill_supervisor();
    scene.touch("go");
    scene.wait_entries("said", 1);
    scene.start("--stable-after 300ms", "ready");
    scene.wait_log("taken as ready", 1);
    scene.wait_told("READY=1", 1);
    assert_eq!(scene.of("start").len(), 1);
}

/// An adopted worker that is not ready yet says so to its new supervisor.
#[test]
fn an_adopted_worker_reaches_its_new_supervisor() {
    let mut scene = Scene::new();
    scene.start("", "await:go ready");
    scene.wait_log("not ready yet", 1);
    scene.kill_supervisor();
    scene.start("", "ready");
    scene.wait_log("is alive and adopted, not ready yet", 1);
    scene.touch("go");
    scene.wait_log("is ready after", 1);
    assert_eq!(scene.of("start").len(), 1);
}

/// Fewer workers than before: those that are too many are told to leave.
#[test]
fn surplus_workers_of_an_earlier_supervisor_leave() {
    let mut scene = Scene::new();
    scene.start("--workers 3", "ready");
    scene.wait_log("is ready after", 3);
    scene.kill_supervisor();
    scene.start("--workers 1", "ready");
    scene.wait_entries("requeue", 2);
    scene.wait_log("no new one starts", 2);
    assert_eq!(scene.of("start").len(), 3);
    let starts = scene.of("start").into_iter();
    assert_eq!(starts.filter(|start| scene.runs(start.pid)).count(), 1);
}

/// Two supervisors would be two sets of workers.
#[test]
fn a_second_supervisor_of_one_device_is_refused() {
    let mut scene = Scene::new();
    scene.start("", "ready");
    scene.wait_log("is ready after", 1);
    assert_eq!(scene.start_another("", "ready"), Some(5));
    assert!(scene.log().contains("another supervisor has this device"));
    assert_eq!(scene.of("start").len(), 1);
}
