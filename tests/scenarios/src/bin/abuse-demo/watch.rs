// SPDX-License-Identifier: MIT
//! Looks at the device a thousand times a second: what it completed, what it offered again, and
//! for how long it completed nothing although requests waited.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use abuse::{Device, Status};

const EVERY: Duration = Duration::from_millis(1);

/// The device as it was a moment ago.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Requests completed since it was set up.
    pub done: u64,
    /// Requests that were taken and offered again.
    pub resumed: u64,
    /// Bytes written, bytes read.
    pub bytes: (u64, u64),
    /// Requests that wait, taken or not.
    pub pending: u32,
    /// When something was completed for the last time, or when nothing waited.
    moved: Instant,
    /// The longest time without, since the last [`Watch::begin`].
    longest: Duration,
}

/// The thread that looks.
pub struct Watch {
    sight: Arc<Mutex<Sight>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(device: Device) -> anyhow::Result<Watch> {
        let now = Instant::now();
        let sight = Arc::new(Mutex::new(Sight {
            done: 0,
            resumed: 0,
            bytes: (0, 0),
            pending: 0,
            moved: now,
            longest: Duration::ZERO,
        }));
        look(&sight, &device.status()?);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("watch".into()).spawn({
            let (sight, stop) = (sight.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(status) = device.status() {
                        look(&sight, &status);
                    }
                    thread::sleep(EVERY);
                }
            }
        })?;
        Ok(Watch {
            sight,
            stop,
            thread: Some(thread),
        })
    }

    /// What was seen last.
    pub fn sight(&self) -> Sight {
        *lock(&self.sight)
    }

    /// From now on is measured how long nothing was completed.
    pub fn begin(&self) {
        let mut sight = lock(&self.sight);
        sight.moved = Instant::now();
        sight.longest = Duration::ZERO;
    }

    /// The longest time since [`Watch::begin`] in which requests waited and none was completed.
    pub fn longest(&self) -> Duration {
        lock(&self.sight).longest
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn look(sight: &Mutex<Sight>, status: &Status) {
    let sum = |count: fn(&abuse::OpCounts) -> u64| status.ops.iter().map(count).sum::<u64>();
    let done = sum(|op| op.done + op.failed);
    let resumed = sum(|op| op.requeued);
    let bytes = |operation| status.counts(operation).bytes;
    let bytes = (
        bytes(abuse::Operation::Write),
        bytes(abuse::Operation::Read),
    );
    let pending = status.queued + status.taken + status.draining;
    let mut sight = lock(sight);
    let now = Instant::now();
    sight.longest = sight.longest.max(match sight.pending {
        0 => Duration::ZERO,
        _ => now.saturating_duration_since(sight.moved),
    });
    if done != sight.done || pending == 0 {
        sight.moved = now;
    }
    (sight.done, sight.resumed, sight.bytes, sight.pending) = (done, resumed, bytes, pending);
}

fn lock(sight: &Mutex<Sight>) -> MutexGuard<'_, Sight> {
    sight.lock().unwrap_or_else(PoisonError::into_inner)
}
