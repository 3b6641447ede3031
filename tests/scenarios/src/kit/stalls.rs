// SPDX-License-Identifier: MIT

//! What the machine below this one withheld. A guest's processors are threads that others get in the
//! way of; a limit to a time means the time that the guest had.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{sched_setaffinity, CpuSet};
use nix::unistd::Pid;

use super::sys;

/// How long each watcher sleeps.
const NAP: Duration = Duration::from_millis(5);
/// What a processor that is there may take to wake it.
const PROMPT: Duration = Duration::from_millis(5);

/// When a processor was away.
#[derive(Clone, Copy, Debug)]
struct Stall {
    processor: usize,
    from: Instant,
    to: Instant,
}

/// One watcher on each processor, before whom no other process comes. Dropping ends them.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<Stall>>>,
    over: Arc<AtomicBool>,
    watchers: Vec<JoinHandle<()>>,
}

impl Stalls {
    /// Watches from now on.
    pub fn watch() -> Result<Stalls> {
        let mut stalls = Stalls {
            seen: Arc::default(),
            over: Arc::default(),
            watchers: Vec::new(),
        };
        let processors = thread::available_parallelism().context("processors")?.get();
        for processor in 0..processors {
            let (seen, over) = (stalls.seen.clone(), stalls.over.clone());
            let mut only = CpuSet::new();
            only.set(processor)?;
            stalls.watchers.push(thread::spawn(move || {
                // Elsewhere, or behind others, it sees less, and less is forgiven.
                let _ = sched_setaffinity(Pid::from_raw(0), &only);
                let _ = sys::before_all_others();
                while !over.load(Ordering::Relaxed) {
                    let from = Instant::now() + NAP;
                    thread::sleep(NAP);
                    let to = Instant::now();
                    if to.saturating_duration_since(from) > PROMPT {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.push(Stall {
                            processor,
                            from,
                            to,
                        });
                    }
                }
            }));
        }
        Ok(stalls)
    }

    /// How long it was from one moment to another, without what that processor was away that was
    /// away longest.
    pub fn had(&self, from: Instant, to: Instant) -> Duration {
        // A stall that is not over is not on record: its watcher wakes when it ends.
        thread::sleep(NAP * 2);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        to.saturating_duration_since(from)
            .saturating_sub(longest_away(&seen, from, to))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for watcher in self.watchers.drain(..) {
            let _ = watcher.join();
        }
    }
}

fn longest_away(seen: &[Stall], from: Instant, to: Instant) -> Duration {
    let mut away: Vec<Duration> = Vec::new();
    for stall in seen {
        if away.len() <= stall.processor {
            away.resize(stall.processor + 1, Duration::ZERO);
        }
        let within = stall.to.min(to);
        away[stall.processor] += within.saturating_duration_since(stall.from.max(from));
    }
    away.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_within_counts_and_only_one_processor() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stall = |processor, from, to| Stall {
            processor,
            from: at(from),
            to: at(to),
        };
        let seen = [
            stall(0, 0, 20),
            stall(0, 50, 60),
            stall(1, 12, 40),
            stall(1, 95, 200),
            stall(1, 300, 400),
        ];
        assert_eq!(longest_away(&seen, at(10), at(100)).as_millis(), 33);
        assert_eq!(longest_away(&seen, at(10), at(30)).as_millis(), 18);
        assert_eq!(longest_away(&seen, at(210), at(290)), Duration::ZERO);
    }

    #[test]
    fn a_machine_that_was_there_withholds_less_than_all() {
        let stalls = Stalls::watch().unwrap();
        let from = Instant::now();
        thread::sleep(Duration::from_millis(200));
        assert!(stalls.had(from, Instant::now()) > Duration::ZERO);
    }
}
