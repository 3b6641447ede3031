// SPDX-License-Identifier: MIT

//! What scenarios are made with.
//!
//! | | |
//! |---|---|
//! | [`Guest`] | this machine: makes disks, runs commands, tidies up behind the scenario |
//! | [`Disk`] | a device that is set up; [`Disk::serve`] starts a worker |
//! | [`Command`], [`Process`] | programs, run to their end or kept in the background |
//! | [`Puppet`] | a worker process that takes and completes exactly when it is told to |
//! | [`Raw`](raw::Raw), [`Memory`](raw::Memory) | the driver's calls with any argument, and memory that can be taken away |
//! | [`v1::Client`] | the client of 2009 |
//! | [`Direct`] | one read or write of a disk, as one request; also in the background |
//! | [`Fio`] | load, verified |
//! | [`forward`] | requests that are forwarded, and a device that answers when it is told to |
//! | [`Layer`] | dm-crypt, LVM, md and loop on top of a disk |
//! | [`Supervise`], [`Supervisor`] | `abuse-supervisor` and its workers |
//! | [`stress`](stress::stress) | a file system under load while workers are killed |
//! | [`Stalls`] | what the machine below withheld, for limits to times |
//! | [`Listener`] | the other end of NOTIFY_SOCKET |
//! | [`Trace`](trace::Trace) | what the driver traces |
//! | [`wait_until`], [`wait_for`], [`Pending`] | waiting, with a deadline |

pub mod command;
pub mod detectors;
pub mod direct;
pub mod disk;
pub mod example;
pub mod faults;
pub mod fio;
pub mod forward;
pub mod guest;
pub mod kernel_log;
pub mod kernel_memory;
pub mod layer;
pub mod mount;
pub mod notify;
pub mod puppet;
pub mod raw;
pub mod stalls;
pub mod stress;
pub mod supervisor;
mod sys;
pub mod trace;
pub mod udev;
pub mod v1;
pub mod wait;

pub use command::{Command, Output, Process};
pub use direct::Direct;
pub use disk::Disk;
pub use fio::{Fio, Load, Report};
pub use guest::{skip, Guest, Skipped};
pub use layer::Layer;
pub use mount::Mount;
pub use notify::Listener;
pub use puppet::{Answer, Held, Puppet};
pub use stalls::Stalls;
pub use supervisor::{servers_of, Supervise, Supervisor};
pub use wait::{wait_for, wait_until, Pending, PATIENCE};

/// Fails unless this call to the device was refused with this errno.
pub fn refused<T: std::fmt::Debug>(
    result: abuse::Result<T>,
    errno: nix::errno::Errno,
) -> anyhow::Result<()> {
    match result {
        Err(error) if error.errno() == Some(errno as i32) => Ok(()),
        other => anyhow::bail!("expected {errno}, got {other:?}"),
    }
}
