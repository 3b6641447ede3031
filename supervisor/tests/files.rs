// SPDX-License-Identifier: MIT
//! Several devices from a file, the socket, and reloading, with real processes.

mod common;

use std::process::Command;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

/// What the real program says, and its exit status.
fn ask(scene: &Scene, words: &[&str]) -> (i32, String) {
    let run = scene.dir.join("run");
    let output = Command::new(env!("CARGO_BIN_EXE_abuse-supervisor"))
        .args(words)
        .arg("--runtime-dir")
        .arg(run)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().unwrap(), text)
}

/// Two devices: one of two workers, one of a worker and a standby.
fn file(scene: &Scene, first: &str, second: &str) -> String {
    let command = |script: &str| scene.worker_command(script);
    format!(
        "[defaults]\nback-off = \"1ms..1ms\"\nstable-after = \"1ms\"\n\n\
         [[device]]\ndevice = \"0\"\nworkers = 2\n{first}command = {:?}\n\n\
         [[device]]\ndevice = \"1\"\n{second}command = {:?}\n",
        command("ready park"),
        command("ready park note:second"),
    )
}

fn begin(scene: &mut Scene) {
    scene.put("file.toml", &file(scene, "", "standby = 1\n"));
    scene.start_file("file.toml");
    scene.wait_log("abctl0: served by 2 of 2 workers", 1);
    scene.wait_log("abctl1: served by 1 of 1 workers, 1 of 1 standbys ready", 1);
}

/// One supervisor looks after all of them, and says how each stands.
#[test]
fn several_devices_are_served_and_shown() {
    let mut scene = Scene::new();
    begin(&mut scene);
    scene.wait_told("READY=1", 1);
    let (status, text) = ask(&scene, &["status"]);
    assert_eq!(status, 0, "{text}");
    for words in [
        "DEVICE",
        "abctl0: served; ",
        "abctl1: served; ",
        "standby",
        "LAST EXIT",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (_, json) = ask(&scene, &["status", "--json", "1"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["device"], "abctl1");
    assert_eq!(
        (&value["workers_ready"], &value["standbys_ready"]),
        (&1.into(), &1.into())
    );
    let (_, text) = ask(&scene, &["status", "--prometheus"]);
    assert!(
        text.contains("abuse_supervisor_workers_ready{device=\"abctl0\"} 2\n"),
        "{text}"
    );
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
    assert_eq!(ask(&scene, &["status"]).0, 3, "a status of nobody");
}

/// What is asked for one device is done to that one.
#[test]
fn one_device_is_restarted_or_drained_and_the_other_left_alone() {
    let mut scene = Scene::new();
    begin(&mut scene);
    let before = scene.of("start").len();
    let (status, text) = ask(&scene, &["restart", "/dev/abctl0"]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(scene.of("start").len(), before + 2);
    assert!(!scene.log().contains("abctl0: served by only"));
    let (status, text) = ask(&scene, &["drain", "1"]);
    assert_eq!(status, 0, "{text}");
    scene.wait_log("abctl1: ended with status 0", 1);
    assert_eq!(ask(&scene, &["status", "1"]).0, 3);
    assert_eq!(ask(&scene, &["status", "0"]).0, 0);
    assert_eq!(scene.of("requeue").len(), 4);
    let (status, text) = ask(&scene, &["restart", "7"]);
    assert_eq!(status, 3, "{text}");
}

/// HUP: only what changed is touched.
#[test]
fn a_reload_touches_only_what_changed() {
    let mut scene = Scene::new();
    begin(&mut scene);
    let starts = scene.of("start");
    // The same file.
    scene.signal(Signal::SIGHUP);
    scene.wait_told("READY=1", 2);
    assert_eq!(scene.of("start").len(), starts.len());
    // One with a mistake.
    scene.put("file.toml", &file(&scene, "wrokers = 3\n", ""));
    let (status, text) = ask(&scene, &["reload"]);
    assert_eq!(status, 1);
    assert!(
        text.contains("file.toml:8: there is no key 'wrokers'; did you mean 'workers'?"),
        "{text}"
    );
    // Other terms, and no standby: the standby leaves, the others stay.
    scene.put("file.toml", &file(&scene, "", "drain-timeout = \"5s\"\n"));
    assert_eq!(ask(&scene, &["reload"]).0, 0);
    scene.wait_log("abctl1: 1 workers and 0 standbys from now on", 1);
    scene.wait_entries("requeue", 1);
    // One more worker, and one device less.
    let text = file(&scene, "", "").replace("workers = 2", "workers = 3");
    let (first, _) = text.rsplit_once("[[device]]").unwrap();
    scene.put("file.toml", first);
    scene.signal(Signal::SIGHUP);
    scene.wait_log("abctl0: served by 3 of 3 workers", 1);
    scene.wait_log("abctl1: ended with status 0", 1);
    let old = starts.iter().filter(|start| scene.runs(start.pid)).count();
    assert_eq!(old, 2, "workers of abctl0 were touched");
    // Another command: each is replaced, by one that was ready before.
    let before = scene.log().len();
    scene.put(
        "file.toml",
        &first.replace("ready park", "ready park note:new"),
    );
    scene.signal(Signal::SIGHUP);
    scene.wait_log("rolling restart is over: 3 workers replaced", 1);
    assert!(!scene.log()[before..].contains("served by only"));
    // The device comes back.
    scene.put(
        "file.toml",
        &file(&scene, "", "standby = 1\n").replace("workers = 2", "workers = 3"),
    );
    scene.signal(Signal::SIGHUP);
    scene.wait_log("abctl1: served by 1 of 1 workers, 1 of 1 standbys ready", 2);
    scene.signal(Signal::SIGTERM);
    assert_eq!(scene.status(), 0);
}

/// What is wrong is refused with file and line, and nothing is started.
#[test]
fn a_wrong_file_is_refused_before_anything_starts() {
    let mut scene = Scene::new();
    scene.put("file.toml", &file(&scene, "", "heartbaet = \"5s\"\n"));
    let path = scene.dir.join("file.toml");
    let program = env!("CARGO_BIN_EXE_abuse-supervisor");
    let check = |path: &std::path::Path| {
        let output = Command::new(program)
            .arg("check")
            .arg(path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (status, text) = check(&path);
    assert_eq!(status, Some(2));
    assert!(
        text.contains("file.toml:12: there is no key 'heartbaet'; did you mean 'heartbeat'?"),
        "{text}"
    );
    scene.start_file("file.toml");
    assert_eq!(scene.status(), 2);
    assert!(scene.of("start").is_empty());
    scene.put("file.toml", &file(&scene, "", ""));
    assert_eq!(check(&path).0, Some(0));
    assert_eq!(check(std::path::Path::new("/nonexistent")).0, Some(2));
}
