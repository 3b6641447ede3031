// SPDX-License-Identifier: MIT

//! What a power cut may leave of a disk, and whether a file system on it is whole.
//!
//! A recording worker writes down everything it takes and acknowledges ([`log`], [`record`]), while
//! several threads write files and say what they have synced ([`plan`], [`load`]). From that log
//! come the states in which a power cut could have left the disk ([`crash`]): what a FLUSH or FUA
//! covers is there, of the rest any part. Each of them is written into an image, repaired as after
//! a crash and checked ([`check`], [`fsck`]): the file system must be whole, and every file whose
//! sync had returned must be there, byte for byte.
//!
//! ```
//! use abuse_powercut::crash::{History, Pick};
//! use abuse_powercut::log::{Log, Shape};
//!
//! let mut log = Log::in_memory(&Shape::new(8192, 4096, false))?;
//! let write = log.write(0, &[7; 4096], false)?;
//! log.done(write)?;
//! let history = History::parse(log.into_bytes())?;
//! let end = history.positions().end;
//! // Acknowledged, but no flush came: it may be there or not.
//! assert_eq!(history.state(end, Pick::Completed).image()[..4096], [7; 4096]);
//! assert_eq!(history.state(end, Pick::Durable).image()[..4096], [0; 4096]);
//! # anyhow::Ok(())
//! ```

pub mod check;
pub mod crash;
pub mod fsck;
pub mod load;
pub mod log;
pub mod plan;
pub mod random;
pub mod record;
