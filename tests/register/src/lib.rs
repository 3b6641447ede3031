// SPDX-License-Identifier: MIT

//! Whether a disk could have behaved as it was seen to.
//!
//! A [`History`] says of every write when it began and ended, and of every read besides what it
//! returned. [`History::check`] rejects it if no block device could have produced it:
//!
//! ```
//! use abuse_register::{History, Kind, Model, Seen, Tag};
//!
//! let mut history = History::new(1);
//! let (first, second) = (Tag::new(0, 1), Tag::new(0, 2));
//! history.write(first, 7..8, 100, Some(200));
//! history.write(second, 7..8, 300, Some(400));
//! // It began after the second write had ended, and returns the first.
//! history.read(Tag::new(1, 1), 7, 500, 600, vec![Seen::Whole(first.value())]);
//!
//! let violations = history.check(Model::STRICT).unwrap_err();
//! assert_eq!(violations[0].kind, Kind::LostWrite);
//! ```
//!
//! Each block is a register of its own, and each write carries a value of its own, so that a read
//! names the write it saw. For such registers it can be decided exactly, in the time it takes to
//! sort, whether some order of all operations explains what was seen, where every operation takes
//! effect at one moment between its start and its end (linearizability; Gibbons and Korach, 1997).
//! Any number of operations may be under way on one block at once, and a write that never ended may
//! take effect at any later time, or never. `check` has the reasoning; its tests compare it with
//! trying all orders.
//!
//! That is [`Model::STRICT`]. A disk whose requests are offered again when a worker dies promises less
//! for operations on one block that are under way at once, and for these alone
//! ([`Model::REDELIVERED`]): a write may take effect several times before it ends, and writes may mix.
//! A block is as many registers as it has cells, then, and may be seen in pieces while writes to it
//! are under way, and stay in pieces if they were under way at once.
//!
//! [`stamp`] fills blocks so that each cell says who wrote it and where, and reads them again.
//!
//! What a power cut may take is no question of this checker: it knows no flush.

mod check;
mod history;
pub mod stamp;
mod violation;

#[cfg(test)]
mod legal;
#[cfg(test)]
mod planted;

pub use history::{Cell, History, Model, Seen, Tag, Time, Value};
pub use violation::{Kind, Violation};
