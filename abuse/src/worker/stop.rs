// SPDX-License-Identifier: MIT

//! Stopping a worker, and knowing when its threads have left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::standby::Standby;

/// How often threads that have not left yet are woken: a signal that comes just before the system
/// call it is meant for is lost.
const AGAIN: Duration = Duration::from_millis(10);

/// Stops a [`Worker`](super::Worker), from any thread; clones stop the same one.
///
/// It takes no more requests, completes what it holds, and [`run`](super::Worker::run) returns. Not
/// to be called from a signal handler itself: have a thread wait for the signal.
#[derive(Clone, Debug)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Read by every thread before each batch.
    stopping: AtomicBool,
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Debug)]
struct Stage {
    /// Threads may take requests.
    open: bool,
    /// When it says so; one of the threads waits for it.
    standby: Option<Standby>,
    /// Threads that have not left.
    running: usize,
}

impl Stop {
    pub(super) fn new() -> Stop {
        Stop {
            shared: Arc::new(Shared {
                stopping: AtomicBool::new(false),
                stage: Mutex::new(Stage {
                    open: false,
                    standby: None,
                    running: 0,
                }),
                changed: Condvar::new(),
            }),
        }
    }

    /// Stops the worker, now or as soon as it runs. Returns at once.
    pub fn stop(&self) {
        // Under the lock, so that nobody goes to sleep between looking and waiting.
        let _stage = self.stage();
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.changed.notify_all();
    }

    /// Whether it was stopped.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Counts a thread in. It is counted out when the token goes, and with it the others stop: a
    /// worker that lost a thread is no worker.
    pub(super) fn enter(&self) -> Running {
        self.stage().running += 1;
        Running(self.clone())
    }

    /// Lets the threads take requests.
    pub(super) fn open(&self) {
        self.stage().open = true;
        self.shared.changed.notify_all();
    }

    /// Lets the threads take requests when the standby is promoted.
    pub(super) fn open_by(&self, standby: Standby) {
        self.stage().standby = Some(standby);
        self.shared.changed.notify_all();
    }

    /// Whether requests may be taken.
    pub(super) fn is_open(&self) -> bool {
        self.stage().open
    }

    /// Waits until requests may be taken, or the worker is stopped.
    pub(super) fn wait_open(&self) {
        let mut stage = self.stage();
        while !stage.open && !self.is_stopping() {
            let Some(standby) = stage.standby.take() else {
                stage = self.wait(stage);
                continue;
            };
            drop(stage);
            match standby.wait(|| self.is_stopping()) {
                Ok(true) => self.open(),
                Ok(false) => {}
                Err(error) => {
                    log::error!("cannot wait to be promoted any more: {error}");
                    self.stop();
                }
            }
            stage = self.stage();
        }
    }

    /// Waits until all threads have left; calls `wake` again and again once they are to, and until
    /// then `beat`, each time when that long has gone by.
    pub(super) fn wait_left(&self, wake: impl Fn(), mut beat: Option<(Duration, impl FnMut())>) {
        let mut stage = self.stage();
        let mut last = Instant::now();
        while stage.running > 0 {
            if !self.is_stopping() {
                let Some((every, beat)) = &mut beat else {
                    stage = self.wait(stage);
                    continue;
                };
                let left = every.saturating_sub(last.elapsed());
                if left.is_zero() {
                    drop(stage);
                    beat();
                    last = Instant::now();
                    stage = self.stage();
                } else {
                    let waited = self.shared.changed.wait_timeout(stage, left);
                    stage = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                continue;
            }
            drop(stage);
            wake();
            let waited = self.shared.changed.wait_timeout(self.stage(), AGAIN);
            stage = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait<'a>(&self, stage: MutexGuard<'a, Stage>) -> MutexGuard<'a, Stage> {
        let waited = self.shared.changed.wait(stage);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        let stage = self.shared.stage.lock();
        stage.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that has not left.
pub(super) struct Running(Stop);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stage().running -= 1;
        self.0.stop();
    }
}
