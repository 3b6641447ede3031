// SPDX-License-Identifier: MIT

//! What the disk promises, one scenario per promise, run in the guest.
//!
//! A scenario is a file of [`scenarios`] and one line in its list. It is a function of a
//! [`Guest`](kit::Guest) that returns an error when the promise was broken:
//!
//! ```
//! //! A disk that was written reads back what was written.
//! use abuse_scenarios::kit::{Direct, Guest};
//!
//! pub fn run(guest: &Guest) -> anyhow::Result<()> {
//!     let disk = guest.disk("size=64M,bs=512")?;
//!     let _server = disk.serve("ram:example")?;
//!     let file = Direct::open(disk.path())?;
//!     file.write(512, &[7; 512])?;
//!     anyhow::ensure!(file.read(512, 512)? == [7; 512], "other bytes came back");
//!     Ok(())
//! }
//! # let _ = run as fn(&Guest) -> anyhow::Result<()>;
//! ```
//!
//! Waiting is on a condition with a deadline ([`kit::wait_until`]), never a fixed sleep. What a
//! scenario starts ends with it: processes are killed and reaped, devices reset, file systems
//! unmounted, files removed; a scenario that passed must have left its devices idle, with every
//! request accounted for and a clean kernel log, or it fails after all.

pub mod detectors;
pub mod kit;
pub mod runner;
pub mod scenarios;
pub mod torture;
