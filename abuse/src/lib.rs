// SPDX-License-Identifier: MIT

//! A block device whose requests any process can serve.
//!
//! The driver keeps every request of a disk until some process completes it. Workers hold nothing:
//! they may die, be killed, be replaced or be joined by others at any moment, and the disk's users
//! see nothing but a pause. This crate is how such a worker is written, and how devices are set up
//! and looked after.
//!
//! # A disk in four steps
//!
//! 1. Open the control node: [`Device::open`].
//! 2. Give it a shape, if it has none: [`Device::setup`].
//! 3. Say where the bytes are: a [`Backend`] of your own, or one of [`backend::Null`],
//!    [`backend::Ram`], [`backend::File`].
//! 4. Serve: [`Worker::run`].
//!
//! ```no_run
//! use abuse::{backend::Ram, Device, Setup, State, Worker};
//!
//! let device = Device::open("/dev/abctl0")?;
//! if device.status()?.state == State::Empty {
//!     device.setup(&Setup::new(64 << 20))?;
//! }
//! let memory = Ram::open("first", 64 << 20)?;
//! Worker::new(device).run(memory)?; // until it is stopped, or the disk goes away
//! # Ok::<(), abuse::Error>(())
//! ```
//!
//! `/dev/abuse0` is now a disk. Kill the process and start it again: what was being written waits
//! and goes on.
//!
//! # Where things are
//!
//! | | |
//! |---|---|
//! | [`device`] | open, set up, look at, re-offer, resize, reset; add and remove devices |
//! | [`backend`] | the one trait a backend author implements, and three backends |
//! | [`worker`] | the loop that takes batches, calls the backend and completes |
//! | [`request`] | single requests, owned, for tools and tests |
//! | [`owner`] | the token a worker's claims are filed under |
//! | [`notify`] | telling a supervisor or systemd that a worker is ready, and alive |
//! | [`standby`] | being ready, and waiting for one's turn |
//! | [`abi`] | the numbers and structs of `abuse.h` |

#[path = "../uapi/abi.rs"]
pub mod abi;

pub mod backend;
pub mod device;
pub mod error;
pub mod notify;
pub mod owner;
pub mod request;
#[cfg(feature = "setup-keys")]
pub mod setup_keys;
pub mod signals;
pub mod standby;
mod sys;
pub mod worker;

pub use backend::{Asked, Backend, Capabilities, Places};
pub use device::{
    Added, Device, NewDevice, OpCounts, Operation, Reconnect, Reconnected, Registry, Requeued,
    ResetOutcome, Selection, Setup, State, Status,
};
pub use error::{Error, Result};
pub use request::{Extent, Failure, Outcome, Request, Take};
pub use standby::Standby;
pub use worker::{Served, Stop, Worker};
