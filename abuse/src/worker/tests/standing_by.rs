// SPDX-License-Identifier: MIT

//! A worker that waits to be promoted, and one that says that it is alive.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use super::*;
use crate::backend::tests::TempDir;
use crate::standby::Standby;

/// A pipe with a name: the end that promotes, and the standby. No end of it can be lost.
fn pipe(directory: &TempDir) -> (File, Standby) {
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    (open().unwrap(), Standby::on(open().unwrap()))
}

#[test]
fn a_standby_says_ready_and_takes_nothing_before_it_is_promoted() {
    let directory = TempDir::new();
    let (mut promote, standby) = pipe(&directory);
    let (driver, backend) = (Arc::new(disk()), Memory::new());
    driver.read(0, 512);
    let plan = plan(&driver, &backend).threads(3);
    let stop = Stop::new();
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let calls = Calls {
                ready: Some(Box::new(move || ready.send(()).unwrap())),
                standby: Some(standby),
                ..Calls::default()
            };
            serve(&*driver, &backend, &plan, &stop, calls)
        });
        is_ready.recv().unwrap();
        for _ in 0..20 {
            nap();
        }
        assert_eq!(driver.lock().exchanges, 0);
        promote.write_all(b"!").unwrap();
        driver.wait_ends(1);
        stop.stop();
        assert_eq!(worker.join().unwrap().unwrap().completed, 1);
    });
}

#[test]
fn a_standby_that_is_stopped_leaves_without_having_taken_anything() {
    let directory = TempDir::new();
    let (_promote, standby) = pipe(&directory);
    let (driver, backend) = (Arc::new(disk()), Memory::new());
    driver.read(0, 512);
    let plan = plan(&driver, &backend).threads(2);
    let stop = Stop::new();
    let stopper = stop.clone();
    let calls = Calls {
        ready: Some(Box::new(move || {
            thread::spawn(move || {
                nap();
                stopper.stop();
            });
        })),
        standby: Some(standby),
        ..Calls::default()
    };
    let served = serve(&*driver, &backend, &plan, &stop, calls).unwrap();
    assert_eq!(served.completed, 0);
    assert_eq!(driver.lock().exchanges, 0);
}

#[test]
fn a_worker_beats_while_it_gets_on_and_no_more_when_a_thread_hangs() {
    let (driver, backend) = (disk(), Memory::new());
    let every = Duration::from_millis(20);
    let plan = plan(&driver, &backend).threads(2).beat(Some(every));
    let stop = Stop::new();
    let beats = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&beats);
    let wait = |count: usize| {
        while beats.load(Ordering::Relaxed) < count {
            nap();
        }
    };
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let calls = Calls {
                beat: Some(Box::new(move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                })),
                ..Calls::default()
            };
            serve(&driver, &backend, &plan, &stop, calls)
        });
        wait(3);
        backend.held.store(true, Ordering::Relaxed);
        driver.write(0, &[1; 512]);
        // The last beats may be of turns before it hung; then there are none.
        let quiet = |count: usize| {
            thread::sleep(every * 10);
            beats.load(Ordering::Relaxed) == count
        };
        while !quiet(beats.load(Ordering::Relaxed)) {}
        backend.held.store(false, Ordering::Relaxed);
        wait(beats.load(Ordering::Relaxed) + 2);
        stop.stop();
        worker.join().unwrap().unwrap();
    });
}
