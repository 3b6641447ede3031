// SPDX-License-Identifier: MIT

//! What was done and what was seen.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Nanoseconds of one monotonic clock, the same for all.
pub type Time = u64;

/// Who did it: the sequence number of an operation within its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    job: u16,
    sequence: u64,
}

impl Tag {
    const SEQUENCE_BITS: u32 = 48;

    /// Sequence numbers begin at 1 and have 48 bits.
    pub fn new(job: u16, sequence: u64) -> Tag {
        assert!(sequence > 0 && sequence >> Tag::SEQUENCE_BITS == 0);
        Tag { job, sequence }
    }

    /// What a write of this tag leaves behind: a value that no other write has.
    pub fn value(self) -> Value {
        Value((u64::from(self.job) << Tag::SEQUENCE_BITS) | self.sequence)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.sequence)
    }
}

/// What a cell holds: the tag of the write that put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u64);

impl Value {
    /// Nobody has written here yet: zeros.
    pub const BLANK: Value = Value(0);

    /// As it is stored.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// As it was stored.
    pub fn from_bits(bits: u64) -> Value {
        Value(bits)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::BLANK => f.write_str("blank"),
            Value(bits) => {
                let sequence = bits & ((1 << Tag::SEQUENCE_BITS) - 1);
                write!(f, "{}/{sequence}", bits >> Tag::SEQUENCE_BITS)
            }
        }
    }
}

/// What a read found in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// This value, whole.
    Value(Value),
    /// Bytes that do not belong together, or to nobody.
    Broken,
    /// What belongs to another place of the disk, or to another disk.
    Foreign,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Value(value) => value.fmt(f),
            Cell::Broken => f.write_str("broken"),
            Cell::Foreign => f.write_str("foreign"),
        }
    }
}

/// What a read found in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All cells had this value.
    Whole(Value),
    /// They had not: one entry for each cell.
    Torn(Box<[Cell]>),
}

impl Seen {
    /// Of the cells of one block.
    pub fn of(cells: &[Cell]) -> Seen {
        match cells.first() {
            Some(&Cell::Value(value)) if cells.iter().all(|&cell| cell == Cell::Value(value)) => {
                Seen::Whole(value)
            }
            _ => Seen::Torn(cells.into()),
        }
    }

    pub(crate) fn cell(&self, index: usize) -> Cell {
        match self {
            Seen::Whole(value) => Cell::Value(*value),
            Seen::Torn(cells) => cells[index],
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = match self {
            Seen::Whole(value) => return value.fmt(f),
            Seen::Torn(cells) => cells,
        };
        // Runs of the same, as 0-6: 1/7, 7: broken.
        let mut from = 0;
        for index in 0..cells.len() {
            if cells.get(index + 1) != Some(&cells[index]) {
                let comma = if from > 0 { ", " } else { "" };
                write!(f, "{comma}{from}-{index}: {}", cells[index])?;
                from = index + 1;
            }
        }
        Ok(())
    }
}

/// What is promised of operations on one block that are under way at once. Of others nothing is
/// excused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// A read of a block returns one write, whole. Otherwise writes that are under way at once may
    /// mix, and a read meanwhile may see that.
    pub whole: bool,
    /// A write takes effect at one moment. Otherwise at any number of moments between its start and
    /// its end: it was given to one worker, who died, and then to another.
    pub once: bool,
}

impl Model {
    /// Every block is an atomic register.
    pub const STRICT: Model = Model {
        whole: true,
        once: true,
    };

    /// What a disk promises whose requests are offered again when a worker dies. Requests on one
    /// block that are under way at once are in no order, on any disk.
    pub const REDELIVERED: Model = Model {
        whole: false,
        once: false,
    };
}

/// One write, of all blocks of a range.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub who: Tag,
    pub blocks: Range<u64>,
    pub start: Time,
    pub end: Option<Time>,
}

/// One read, of as many blocks as it saw.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub who: Tag,
    pub first: u64,
    pub start: Time,
    pub end: Time,
    pub seen: Vec<Seen>,
}

/// What was done to a disk, and what was seen. The order in which it is told does not matter.
#[derive(Clone, Debug)]
pub struct History {
    pub(crate) cells: usize,
    pub(crate) initial: HashMap<u64, Value>,
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
}

impl History {
    /// Of a blank disk, with so many cells in each block.
    pub fn new(cells: usize) -> History {
        assert!(cells > 0);
        History {
            cells,
            initial: HashMap::new(),
            writes: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// This block held something before all that is told here.
    pub fn begin_with(&mut self, block: u64, value: Value) {
        self.initial.insert(block, value);
    }

    /// A write. Without an end it was not told to have been done: it may take effect at any time
    /// after its start, or never.
    pub fn write(&mut self, who: Tag, blocks: Range<u64>, start: Time, end: Option<Time>) {
        assert!(end.is_none_or(|end| start <= end));
        self.writes.push(Write {
            who,
            blocks,
            start,
            end,
        });
    }

    /// A read, and what it found in the blocks from `first` on. One that did not succeed saw nothing
    /// and is not told.
    pub fn read(&mut self, who: Tag, first: u64, start: Time, end: Time, seen: Vec<Seen>) {
        assert!(start <= end);
        let fits = |seen: &Seen| match seen {
            Seen::Whole(_) => true,
            Seen::Torn(cells) => cells.len() == self.cells,
        };
        assert!(
            seen.iter().all(fits),
            "a torn block has {} cells",
            self.cells
        );
        self.reads.push(Read {
            who,
            first,
            start,
            end,
            seen,
        });
    }

    /// Adds what another one tells of the same disk.
    pub fn append(&mut self, mut other: History) {
        assert_eq!(self.cells, other.cells);
        self.initial.extend(other.initial);
        self.writes.append(&mut other.writes);
        self.reads.append(&mut other.reads);
    }

    /// How many operations it tells of.
    pub fn len(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    /// Whether it tells of nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that was under way on a block between two moments, a line for each, in the order of
    /// their starts.
    pub fn around(&self, block: u64, from: Time, to: Time) -> Vec<String> {
        let touches = |start: Time, end: Time| start <= to && end >= from;
        let mut lines = Vec::new();
        for write in &self.writes {
            if write.blocks.contains(&block) && touches(write.start, write.end.unwrap_or(Time::MAX))
            {
                let span = Span(write.start, write.end);
                lines.push((write.start, format!("{span} write {}", write.who)));
            }
        }
        for read in &self.reads {
            let seen = block
                .checked_sub(read.first)
                .and_then(|index| read.seen.get(index as usize));
            if let Some(seen) = seen.filter(|_| touches(read.start, read.end)) {
                let span = Span(read.start, Some(read.end));
                lines.push((read.start, format!("{span} read {} saw {seen}", read.who)));
            }
        }
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// From when to when, in seconds.
pub(crate) struct Span(pub Time, pub Option<Time>);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |time: Time| (time / 1_000_000_000, time % 1_000_000_000);
        let (seconds, nanos) = part(self.0);
        write!(f, "[{seconds}.{nanos:09} to ")?;
        match self.1.map(part) {
            Some((seconds, nanos)) => write!(f, "{seconds}.{nanos:09}]"),
            None => f.write_str("no end]"),
        }
    }
}
