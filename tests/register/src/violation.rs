// SPDX-License-Identifier: MIT

//! What no block device could have done.

use std::fmt;

use crate::history::Time;

/// What is wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that nobody ever wrote there.
    NeverWritten,
    /// What belongs to another place of the disk, or to another disk.
    Foreign,
    /// A value that was written only after it was read.
    FromTheFuture,
    /// A block in pieces, which no writes under way explain.
    Torn,
    /// A write had ended, and what was there before it was read afterwards.
    LostWrite,
    /// A value was read, and what was there before it was read afterwards.
    Resurrected,
    /// Two writes of one value: nothing can be said about such a history.
    SameValueTwice,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::NeverWritten => "a value that nobody wrote",
            Kind::Foreign => "a value of another place",
            Kind::FromTheFuture => "a value read before it was written",
            Kind::Torn => "a torn block",
            Kind::LostWrite => "a lost write",
            Kind::Resurrected => "an old value that came back",
            Kind::SameValueTwice => "one value written twice",
        })
    }
}

/// Why a history is impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it is.
    pub kind: Kind,
    /// In which block.
    pub block: u64,
    /// In which cell of it, where they differ.
    pub cell: Option<usize>,
    /// Which operations show it, and when they were.
    pub evidence: String,
    /// When the first of them began.
    pub from: Time,
    /// When the last of them ended.
    pub to: Time,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in block {}", self.kind, self.block)?;
        if let Some(cell) = self.cell {
            write!(f, ", cell {cell}")?;
        }
        write!(f, ": {}", self.evidence)
    }
}
