// SPDX-License-Identifier: MIT
//! Who says what to whom: workers, strangers, and the service manager. With real processes.

mod common;

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Scene;
use nix::sys::signal::Signal;

#[test]
fn program() {
    common::program();
}

/// systemd is told when all workers serve, how it stands, and that the end has begun.
#[test]
fn the_service_manager_is_told_ready_status_and_stopping() {
    let mut scene = Scene::new();
    scene.start("--workers 2", "await:go ready");
    scene.wait_entries("start", 2);
    assert!(!scene.told().iter().any(|line| line == "READY=1"));
    scene.touch("go");
    scene.wait_told("READY=1", 1);
    scene.wait_told("STATUS=abctl0: served by 2 of 2 workers", 1);
    scene.signal(Signal::SIGTERM);
    scene.wait_told("STOPPING=1", 1);
    assert_eq!(scene.status(), 0);
}

/// The watchdog is fed from the loop itself, and workers do not inherit it.
#[test]
fn the_watchdog_hears_of_the_loop() {
    let mut scene = Scene::new();
    scene.start_with("", "ready", |command| {
        command.env("WATCHDOG_USEC", "100000");
    });
    scene.wait_told("WATCHDOG=1", 5);
    scene.wait_entries("start", 1);
    let worker = scene.of("start")[0].pid;
    let environment = std::fs::read(format!("/proc/{worker}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("WATCHDOG"));
}

/// A process that is no slot's main process cannot make a worker ready.
#[test]
fn readiness_said_by_a_stranger_is_not_believed() {
    let mut scene = Scene::new();
    scene.start("", "child:ready+exit:0");
    scene.wait_log("no worker's main process", 1);
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"READY=1", scene.dir.join("run/abctl0.notify"))
        .unwrap();
    // The answer to a signal comes after whatever was in the socket before it.
    scene.signal(Signal::SIGUSR1);
    scene.wait_log("not ready yet, for", 1);
    assert!(!scene.log().contains("is ready after"));
    assert!(!scene.told().iter().any(|line| line == "READY=1"));
}

/// Somebody floods the socket: deaths are seen, successors start and are heard all the same.
#[test]
fn a_flood_of_messages_holds_nothing_up() {
    let mut scene = Scene::new();
    scene.start("--back-off 10ms..10ms --stable-after 10ms", "ready");
    scene.wait_log("is ready after", 1);
    let path = scene.dir.join("run/abctl0.notify");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let socket = UnixDatagram::unbound().unwrap();
                socket
                    .set_write_timeout(Some(Duration::from_millis(100)))
                    .unwrap();
                while !over.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"READY=1\nSTATUS=flood", &path);
                }
            });
        }
        for round in 1..=5 {
            scene.shoot(scene.of("start")[round - 1].pid);
            scene.wait_log("took over from", round);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(scene.of("requeue").len(), 5);
    let told = scene.log().matches("no worker's main process").count();
    assert!(told <= 3, "the flood went on into the log: {told} lines");
}

/// What cannot work is refused at once, with the status that says why.
#[test]
fn the_real_program_refuses_what_it_cannot_do() {
    let program = env!("CARGO_BIN_EXE_abuse-supervisor");
    let run = |words: &[&str]| {
        let output = std::process::Command::new(program)
            .args(words)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    let (status, error) = run(&["run", "--device", "/nonexistent", "--", "sh"]);
    assert_eq!(status, Some(4), "{error}");
    assert!(error.starts_with("abuse-supervisor: /nonexistent: open failed"));
    let (status, error) = run(&["run", "--device", "0", "--", "no-such-program"]);
    assert_eq!(status, Some(2));
    assert!(error.contains("no-such-program: there is no such program"));
    let (status, _) = run(&["run", "--device", "0"]);
    assert_eq!(status, Some(2));
}
