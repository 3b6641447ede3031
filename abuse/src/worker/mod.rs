// SPDX-License-Identifier: MIT

//! Serving a disk: take a batch, call the backend, complete it while taking the next.
//!
//! ```no_run
//! use abuse::{backend, Device, Worker};
//!
//! let worker = Worker::new(Device::open("/dev/abctl0")?).threads(2);
//! let stop = worker.stop_handle();
//! // ... hand `stop` to whoever hears the signals ...
//! let served = worker.on_ready(abuse::notify::ready).run(backend::Null)?;
//! println!("{} requests completed", served.completed);
//! # drop(stop);
//! # Ok::<(), abuse::Error>(())
//! ```
//!
//! # Life of a worker
//!
//! ```text
//! new ─► run ─► harden ─► threads made, memory mapped ─► on_ready ─┐ standby: waits here
//!                  ┌───────────────────────────────────────────────┘
//!                  ▼
//!        ┌─► EXCHANGE: complete the last batch, take the next ◄─┐
//!        │              │ stop                                  │
//!        │              ▼                                       │
//!        │       complete what is held ─► Ok(Served)            │
//!        └── backend.read, write, flush ...  for each ──────────┘
//!
//! reset: Err, ENXIO      removed: Err, ENODEV      killed: others get what it held
//! ```
//!
//! - **One system call per batch**, and no allocation per request.
//! - **A completion that is refused** because somebody else finished the request meanwhile (ESTALE,
//!   ENOENT) is counted and otherwise ignored.
//! - **A backend that panics** answers that request with an I/O error; the worker goes on.
//! - **Stopping** interrupts the threads that wait for requests with SIGURG; `run` installs a
//!   handler for it that does nothing, unless the program has one. Where that handler restarts
//!   system calls, or a signal just missed the call, the wait ends by itself within a second.
//! - **Flushes.** The requests of one thread are served one after the other, and a flush reaches a
//!   thread only after the writes it must cover were completed, by whichever worker; so it is the
//!   backend alone that must cover other threads' and processes' writes. fdatasync on the same file
//!   does.
//! - **A thread that waits for a slow backend** holds up nothing but the request it waits for: what it
//!   has taken and not begun is begun by the worker's other threads, when they have nothing of their
//!   own. Each serves its own in order, and others' from the end.
//! - **Another shape.** When the epoch changes, a worker looks whether its backend still fits the
//!   disk, and ends with an error before it touches one it does not fit.

use std::path::Path;
use std::time::Duration;

mod answer;
mod crew;
mod driver;
mod fit;
mod harden;
mod lane;
mod place;
mod stop;
#[cfg(test)]
mod tests;
mod together;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::standby::Standby;
use crate::{abi, owner, Device};

pub use harden::harden;
pub use stop::Stop;

use crew::Calls;
use driver::Driver;
use nix::errno::Errno;
use nix::sched::CpuSet;

/// Serves one device from this process. Built up, then [`run`](Worker::run).
#[must_use = "a worker serves nothing until it runs"]
pub struct Worker {
    device: Device,
    threads: usize,
    batch: Option<usize>,
    owner: Option<u64>,
    spin: u32,
    pin: bool,
    harden: bool,
    batch_scheduling: bool,
    calls: Calls,
    beat: Option<Duration>,
    stop: Stop,
}

impl Worker {
    /// One thread, hardened, with the owner token of this process.
    pub fn new(device: Device) -> Worker {
        Worker {
            device,
            threads: 1,
            batch: None,
            owner: None,
            spin: 0,
            pin: false,
            harden: true,
            batch_scheduling: true,
            calls: Calls::default(),
            beat: None,
            stop: Stop::new(),
        }
    }

    /// So many threads, each with its own batch and buffers. At least one.
    pub fn threads(mut self, threads: usize) -> Worker {
        self.threads = threads.max(1);
        self
    }

    /// Take up to so many requests at once. The default is 64, and 8 for a backend that is
    /// [`slow`](crate::Capabilities::slow).
    pub fn batch(mut self, batch: usize) -> Worker {
        self.batch = Some(batch);
        self
    }

    /// File what is taken under this token instead of [`owner::token`].
    pub fn owner(mut self, token: u64) -> Worker {
        self.owner = Some(token);
        self
    }

    /// Look so many times for requests before going to sleep, of which some hundreds are some
    /// microseconds; at most a million. Pays only with a CPU of its own.
    pub fn spin(mut self, turns: u32) -> Worker {
        self.spin = turns.min(abi::MAX_SPIN);
        self
    }

    /// Whether each thread keeps to the processors whose requests go to one of the disk's hardware
    /// queues; the threads take turns at the queues. Off by default: worth its while where those who
    /// use the disk stay where they are, too.
    pub fn pin(mut self, pin: bool) -> Worker {
        self.pin = pin;
        self
    }

    /// Whether to [`harden`] the process, with a warning in the log for what fails. On by default;
    /// turn it off where the program has done so itself, or must not be touched.
    pub fn harden(mut self, harden: bool) -> Worker {
        self.harden = harden;
        self
    }

    /// Whether the threads are scheduled as SCHED_BATCH, so that waking them does not break up the
    /// batches of whoever writes. On by default; nearly halves the work per request on a busy CPU.
    pub fn batch_scheduling(mut self, batch_scheduling: bool) -> Worker {
        self.batch_scheduling = batch_scheduling;
        self
    }

    /// Call this when everything is prepared. No request is taken before it returns.
    pub fn on_ready(mut self, ready: impl FnOnce() + Send + 'static) -> Worker {
        self.calls.ready = Some(Box::new(ready));
        self
    }

    /// Take no request before this is promoted. By default as
    /// [the environment says](Standby::from_environment).
    pub fn standby(mut self, standby: Standby) -> Worker {
        self.calls.standby = Some(standby);
        self
    }

    /// Call `beat` about three times within `limit`, as long as every thread gets on: it finished a
    /// request since the last time, or none was there. What is not to count as hanging, such as a
    /// request to a slow store, must take less than a third of it.
    ///
    /// ```no_run
    /// # let worker = abuse::Worker::new(abuse::Device::open("0")?);
    /// if let Some(limit) = abuse::notify::watchdog() {
    ///     worker.heartbeat(limit, abuse::notify::alive).run(abuse::backend::Null)?;
    /// }
    /// # Ok::<(), abuse::Error>(())
    /// ```
    pub fn heartbeat(mut self, limit: Duration, beat: impl FnMut() + Send + 'static) -> Worker {
        self.beat = Some(limit / 3);
        self.calls.beat = Some(Box::new(beat));
        self
    }

    /// What stops this worker, from any thread.
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until it is stopped.
    ///
    /// Errors: the backend does not fit the disk; ENXIO, the device is not set up or was reset;
    /// ENODEV, it was removed. The device is closed when this returns, unless it was cloned.
    pub fn run<B: Backend>(mut self, backend: B) -> Result<Served> {
        if self.calls.standby.is_none() {
            // Before hardening, which takes this process's own /proc away from it.
            self.calls.standby = Standby::from_environment()?;
        }
        let status = self.device.status()?;
        let setup = status
            .setup
            .as_ref()
            .ok_or_else(|| self.device.failure(Errno::ENXIO))?;
        let capabilities = backend.capabilities();
        let misfit = |reason| fit::error(self.device.name(), reason);
        fit::check(setup, &capabilities).map_err(misfit)?;
        fit::check_driver(&capabilities, status.abi_features).map_err(misfit)?;
        // A standby may have company until it is promoted.
        let others = match self.calls.standby {
            Some(_) => 0,
            None => status.workers,
        };
        fit::check_alone(&capabilities, self.threads, others).map_err(misfit)?;
        let owner = match self.owner {
            Some(token) => token,
            None => owner::token()?,
        };
        if self.harden {
            for warning in harden() {
                log::warn!("{}: {warning}", self.device.name());
            }
        }
        let places = match self.pin {
            true => self.places()?,
            false => Vec::new(),
        };
        let plan = crew::Plan::new(&capabilities, setup, status.epoch)
            .threads(self.threads)
            .places(places)
            .batch(self.batch)
            .owner(owner)
            .spin(self.spin)
            .batch_scheduling(self.batch_scheduling)
            .beat(self.beat);
        crew::serve(&self.device, &backend, &plan, &self.stop, self.calls)
    }

    fn places(&self) -> Result<Vec<CpuSet>> {
        let disk = Path::new("/sys/block").join(format!("abuse{}", self.device.number()));
        place::places(&disk, self.threads).map_err(|error| {
            Error::new(disk.display(), "find the processors of its queues", error)
                .with_hint("serve without pinning the threads")
        })
    }
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests it completed, those with an error included.
    pub completed: u64,
    /// Requests it completed with an error.
    pub failed: u64,
    /// Requests somebody else completed before it could, or that were offered again meanwhile.
    pub stale: u64,
    /// EXCHANGE calls it took.
    pub exchanges: u64,
    /// Requests that one of its threads had taken and another began, because the first was busy.
    pub helped: u64,
}

impl std::ops::AddAssign for Served {
    fn add_assign(&mut self, other: Served) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.stale += other.stale;
        self.exchanges += other.exchanges;
        self.helped += other.helped;
    }
}

/// An error of EXCHANGE as `run` returns it: ENXIO and ENODEV say what happened.
fn failure(name: impl std::fmt::Display, errno: Errno) -> Error {
    match errno {
        Errno::ENXIO => Error::explained(name, "serve", errno, "the device was reset")
            .with_hint("set the device up, then start the worker again"),
        Errno::ENODEV => Error::explained(name, "serve", errno, "the device was removed")
            .with_hint("there is nothing left to serve; do not start it again"),
        Errno::EBADF => {
            Error::new(name, "serve", errno).with_hint("open the control node for writing")
        }
        _ => Error::new(name, "serve", errno),
    }
}
