// SPDX-License-Identifier: MIT

//! Single requests, for tools and tests. A disk is better served by a [`Worker`](crate::Worker).
//!
//! ```no_run
//! use abuse::{Device, Operation, Outcome, Take};
//!
//! let device = Device::open("/dev/abctl0")?;
//! for request in device.take(&Take::default())? {
//!     match request.operation() {
//!         Operation::Read => {
//!             let data = vec![0xab; request.length()];
//!             request.complete(Outcome::Data(&data))?;
//!         }
//!         _ => request.complete(Outcome::Done)?,
//!     }
//! }
//! # Ok::<(), abuse::Error>(())
//! ```
//!
//! A [`Request`] is completed by value, so it cannot be completed twice; one that is dropped is
//! answered with an I/O error, so it cannot be lost. [`Request::leave`] keeps it taken, for another
//! process to complete with [`Device::put`].

mod extent;
mod outcome;

use std::time::Duration;

use nix::errno::Errno;

use crate::device::nanoseconds;
use crate::error::Result;
use crate::sys::ioctl::{exchange, Call};
use crate::sys::Arena;
use crate::{abi, Device, Operation};

pub use extent::Extent;
pub(crate) use outcome::done;
pub use outcome::{Failure, Outcome};

/// Most bytes one [`Device::take`] makes room for, unless a single request is larger.
const MOST_BYTES: usize = 64 << 20;

/// How [`Device::take`] takes. The default takes one request if one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Take up to so many.
    pub max: u32,
    /// Wait until so many are there.
    pub min: u32,
    /// Wait no longer than this; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// File them under this token; 0 lets the driver make one from process id and start time.
    pub owner: u64,
    /// Leave the data of writes where they are: enough for whoever forwards or refuses them.
    pub no_data: bool,
    /// They stay taken when the device is closed, until somebody completes or re-offers them.
    pub detached: bool,
}

impl Default for Take {
    fn default() -> Take {
        Take {
            max: 1,
            min: 1,
            timeout: Some(Duration::ZERO),
            owner: 0,
            no_data: false,
            detached: false,
        }
    }
}

/// A request that was taken and not yet completed.
#[must_use = "a request that is dropped is answered with an I/O error"]
#[derive(Debug)]
pub struct Request {
    device: Device,
    operation: Operation,
    raw: abi::Take,
    data: Vec<u8>,
    /// Invariant: the request is still to be answered, by `complete`, `leave` or drop.
    open: bool,
}

impl Request {
    /// Its id: never 0, never the same twice. Whoever knows it may complete the request.
    pub fn id(&self) -> u64 {
        self.raw.id
    }

    /// What it wants.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Where, in bytes from the start of the disk.
    pub fn offset(&self) -> u64 {
        self.raw.sector.saturating_mul(512)
    }

    /// How many bytes.
    pub fn length(&self) -> usize {
        self.raw.length as usize
    }

    /// Whether it must be durable before it is completed.
    pub fn fua(&self) -> bool {
        self.raw.flags & abi::REQ_FUA != 0
    }

    /// Whether a write-zeroes must keep the space allocated.
    pub fn keep_allocated(&self) -> bool {
        self.raw.flags & abi::REQ_NOUNMAP != 0
    }

    /// How it failed when it was last [forwarded](Outcome::Forward), if it came back.
    pub fn failed(&self) -> Option<Failure> {
        Failure::of_forward(self.raw.flags)
    }

    /// How many owners died holding it.
    pub fn attempt(&self) -> u32 {
        self.raw.attempt
    }

    /// Epoch of the device when it was taken.
    pub fn epoch(&self) -> u32 {
        self.raw.epoch
    }

    /// How long the block layer had been waiting for it when it was taken.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(self.raw.age_ns)
    }

    /// The data of a write; empty for everything else.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Answers it.
    ///
    /// ESTALE, ENOENT: somebody else did, or it was offered again. EINVAL: the data of a read have
    /// another length; it then stays taken.
    pub fn complete(mut self, outcome: Outcome<'_>) -> Result<()> {
        self.open = false;
        self.device.put(self.raw.id, outcome)
    }

    /// Leaves it taken, for another process to complete by its id.
    pub fn leave(mut self) -> u64 {
        self.open = false;
        self.raw.id
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let answer = self.device.put(self.raw.id, Outcome::Failed(Failure::Io));
        if let Err(error) = answer {
            log::debug!("a dropped request could not be answered: {error}");
        }
    }
}

impl Device {
    /// Takes requests, with the data of the writes among them. None within the time is no error.
    ///
    /// ENXIO: the device is not set up. ENODEV: it was removed. EINTR: a signal came first.
    pub fn take(&self, options: &Take) -> Result<Vec<Request>> {
        let fail = |errno| self.error("take", errno);
        let arena = || {
            let most = self.status()?.setup.map_or(0, |setup| setup.max_bytes) as usize;
            let bytes = most.max(most.saturating_mul(options.max as usize).min(MOST_BYTES));
            Arena::new(bytes).map_err(|_| fail(Errno::ENOMEM))
        };
        let mut arena = match options.no_data {
            true => None,
            false => Some(arena()?),
        };
        let has = |option: bool, flag: u32| if option { flag } else { 0 };
        let mut taken = vec![abi::Take::default(); options.max as usize];
        let reply = exchange(
            self.fd(),
            Call {
                done: &mut [],
                take: &mut taken,
                arena: arena.as_mut(),
                flags: has(options.detached, abi::X_DETACHED)
                    | has(options.no_data, abi::X_NO_DATA),
                owner: options.owner,
                take_min: options.min,
                timeout_ns: options.timeout.map_or(abi::FOREVER, nanoseconds),
                spin: 0,
            },
        )
        .map_err(fail)?;
        taken.truncate(reply.taken);
        let mut requests = Vec::with_capacity(taken.len());
        for raw in taken {
            let Some(operation) = Operation::from_abi(raw.op) else {
                self.put(raw.id, Outcome::Failed(Failure::NotSupported))?;
                continue;
            };
            let data = match (operation, &arena) {
                (Operation::Write, Some(arena)) => arena.slice(raw.buffer, raw.length as usize),
                _ => Some(&[][..]),
            };
            // Owned first: should the driver's address be wrong, dropping answers the request.
            let mut request = Request {
                device: self.clone(),
                operation,
                raw,
                data: Vec::new(),
                open: true,
            };
            request.data = data.ok_or_else(|| fail(Errno::EFAULT))?.to_vec();
            requests.push(request);
        }
        Ok(requests)
    }

    /// Completes a request that any process took, by its id.
    ///
    /// ESTALE: it has been completed or offered again. ENOENT: no such request is taken. EINVAL:
    /// the data of a read have another length.
    pub fn put(&self, id: u64, outcome: Outcome<'_>) -> Result<()> {
        let mut entry = [done(id, outcome)];
        loop {
            let reply = exchange(
                self.fd(),
                Call {
                    done: &mut entry,
                    take: &mut [],
                    arena: None,
                    flags: 0,
                    owner: 0,
                    take_min: 0,
                    timeout_ns: 0,
                    spin: 0,
                },
            );
            return match reply {
                // Nothing took effect.
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(self.error("put", errno)),
                Ok(_) if entry[0].status < 0 => {
                    Err(self.error("put", Errno::from_raw(-entry[0].status)))
                }
                Ok(_) => Ok(()),
            };
        }
    }
}
