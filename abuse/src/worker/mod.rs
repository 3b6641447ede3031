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
//! new ─► run ─► harden ─► threads made, memory mapped ─► on_ready ─┐
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
//! - **Another shape.** When the epoch changes, a worker looks whether its backend still fits the
//!   disk, and ends with an error before it touches one it does not fit.

mod answer;
mod crew;
mod driver;
mod fit;
mod harden;
mod lane;
mod stop;
#[cfg(test)]
mod tests;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::{owner, Device};

pub use harden::harden;
pub use stop::Stop;

use driver::Driver;
use nix::errno::Errno;

/// Serves one device from this process. Built up, then [`run`](Worker::run).
#[must_use = "a worker serves nothing until it runs"]
pub struct Worker {
    device: Device,
    threads: usize,
    batch: Option<usize>,
    owner: Option<u64>,
    spin: u32,
    harden: bool,
    batch_scheduling: bool,
    on_ready: Option<Box<dyn FnOnce() + Send>>,
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
            harden: true,
            batch_scheduling: true,
            on_ready: None,
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

    /// Ask so many times without waiting before going to sleep. Pays only with a CPU of its own.
    pub fn spin(mut self, turns: u32) -> Worker {
        self.spin = turns;
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

    /// Call this when everything is prepared. No request is taken before it returns: a standby may
    /// wait in it until it is needed.
    pub fn on_ready(mut self, ready: impl FnOnce() + Send + 'static) -> Worker {
        self.on_ready = Some(Box::new(ready));
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
    pub fn run<B: Backend>(self, backend: B) -> Result<Served> {
        let status = self.device.status()?;
        let setup = status
            .setup
            .as_ref()
            .ok_or_else(|| self.device.failure(Errno::ENXIO))?;
        let capabilities = backend.capabilities();
        let misfit = |reason| fit::error(self.device.name(), reason);
        fit::check(setup, &capabilities).map_err(misfit)?;
        fit::check_alone(&capabilities, self.threads, status.workers).map_err(misfit)?;
        let owner = match self.owner {
            Some(token) => token,
            None => owner::token()?,
        };
        if self.harden {
            for warning in harden() {
                log::warn!("{}: {warning}", self.device.name());
            }
        }
        let plan = crew::Plan::new(&capabilities, setup, status.epoch)
            .threads(self.threads)
            .batch(self.batch)
            .owner(owner)
            .spin(self.spin)
            .batch_scheduling(self.batch_scheduling);
        crew::serve(&self.device, &backend, &plan, &self.stop, self.on_ready)
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
}

impl std::ops::AddAssign for Served {
    fn add_assign(&mut self, other: Served) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.stale += other.stale;
        self.exchanges += other.exchanges;
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
