// SPDX-License-Identifier: MIT

//! The decision.
//!
//! Take one register. All operations on one value, its write and the reads that saw it, are its
//! *cluster*. In an order that explains the history a cluster stands in one piece, the write first:
//! between the write and any of its reads no other write can be. So the question is whether the
//! clusters can be put into an order.
//!
//! Cluster A must stand before B if some operation of A ended before some operation of B began:
//! if *first_end(A) < last_start(B)*. There is an order unless these demands go in a circle. And if
//! they do there are two clusters that each must stand before the other: of the circle take A, whose
//! first end is the earliest. Any other member X has somebody before it whose first end, no earlier
//! than A's, is before X's last start; so A must stand before X, and the one in front of A is such
//! an X.
//!
//! So it is enough to look for pairs, and sorting by the first end finds one ([`conflict`]).
//!
//! Where a write may take effect more than once (not [`Model::once`]), a read that began before the
//! write had ended can have an effect of its own right before it, and needs nothing else between the
//! two: it is a cluster with the write, apart from the other reads. Nothing is lost by that: a read
//! that an order places behind the write's end can be moved to its own start, or to the write's last
//! effect, with the same value all the way. Only reads that began after the write's end hang on its
//! last effect, and make the cluster of that one.

use std::collections::HashMap;

use crate::history::{Cell, History, Model, Seen, Span, Tag, Time, Value};
use crate::violation::{Kind, Violation};

/// A time, one later than it was told: 0 is before everything.
type Moment = u64;

const NEVER: Moment = Moment::MAX;

fn moment(time: Time) -> Moment {
    time.saturating_add(1)
}

/// One operation on one register.
#[derive(Clone, Copy, Debug)]
struct Access {
    /// `None`: what was there at the beginning.
    who: Option<Tag>,
    write: bool,
    value: Value,
    start: Moment,
    end: Moment,
}

impl Access {
    fn initial(value: Value) -> Access {
        Access {
            who: None,
            write: true,
            value,
            start: 0,
            end: 0,
        }
    }

    /// It was over before the other began.
    fn precedes(&self, other: &Access) -> bool {
        self.end < other.start
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(who) = self.who else {
            return write!(f, "what was there at the beginning ({})", self.value);
        };
        let end = (self.end != NEVER).then(|| self.end - 1);
        let span = Span(self.start.saturating_sub(1), end);
        match self.write {
            true => write!(f, "write {who} {span}"),
            false => write!(f, "read {who} {span} that saw {}", self.value),
        }
    }
}

/// All operations on one value.
struct Cluster {
    write: Access,
    /// The one that ended first.
    first: Access,
    /// The one that began last.
    last: Access,
    reads: Vec<Access>,
}

impl Cluster {
    fn new(write: Access) -> Cluster {
        Cluster {
            write,
            first: write,
            last: write,
            reads: Vec::new(),
        }
    }

    fn add(&mut self, read: Access) {
        if read.end < self.first.end {
            self.first = read;
        }
        if read.start > self.last.start {
            self.last = read;
        }
        self.reads.push(read);
    }

    /// It must stand before the other.
    fn precedes(&self, other: &Cluster) -> bool {
        self.first.precedes(&other.last)
    }
}

/// A block's operations, as indices into those of the history.
#[derive(Default)]
struct Block {
    writes: Vec<usize>,
    /// And which of the blocks that it saw.
    reads: Vec<(usize, usize)>,
    torn: bool,
}

impl History {
    /// Fails with every block in which something is wrong, if any is.
    pub fn check(&self, model: Model) -> Result<(), Vec<Violation>> {
        let mut blocks: HashMap<u64, Block> = HashMap::new();
        for (index, write) in self.writes.iter().enumerate() {
            for block in write.blocks.clone() {
                blocks.entry(block).or_default().writes.push(index);
            }
        }
        for (index, read) in self.reads.iter().enumerate() {
            for (part, seen) in read.seen.iter().enumerate() {
                let block = blocks.entry(read.first + part as u64).or_default();
                block.reads.push((index, part));
                block.torn |= matches!(seen, Seen::Torn(_));
            }
        }
        let mut violations: Vec<Violation> = blocks
            .iter()
            .filter_map(|(&number, block)| self.check_block(number, block, model).err())
            .collect();
        violations.sort_by_key(|violation| (violation.to, violation.block));
        match violations.is_empty() {
            true => Ok(()),
            false => Err(violations),
        }
    }

    fn check_block(&self, number: u64, block: &Block, model: Model) -> Result<(), Violation> {
        let initial = *self.initial.get(&number).unwrap_or(&Value::BLANK);
        let mut writes = vec![Access::initial(initial)];
        writes.extend(block.writes.iter().map(|&index| {
            let write = &self.writes[index];
            Access {
                who: Some(write.who),
                write: true,
                value: write.who.value(),
                start: moment(write.start),
                end: write.end.map_or(NEVER, moment),
            }
        }));
        // Where every read saw one value all over, all cells have the same history.
        let cells = if block.torn { self.cells } else { 1 };
        for cell in 0..cells {
            let mut reads = Vec::with_capacity(block.reads.len());
            for &(index, part) in &block.reads {
                let read = &self.reads[index];
                let mut access = Access {
                    who: Some(read.who),
                    write: false,
                    value: Value::BLANK,
                    start: moment(read.start),
                    end: moment(read.end),
                };
                let seen = &read.seen[part];
                let found = seen.cell(cell);
                let torn = matches!(seen, Seen::Torn(_)) && model.whole;
                match found {
                    Cell::Value(value) if !torn => {
                        access.value = value;
                        reads.push(access);
                    }
                    Cell::Foreign => {
                        return Err(odd(Kind::Foreign, number, cell, read.who, seen, &access))
                    }
                    Cell::Broken if !torn && may_be_mixed(&writes, &access) => {}
                    _ => return Err(odd(Kind::Torn, number, cell, read.who, seen, &access)),
                }
            }
            check_register(&writes, reads, model.once).map_err(|(kind, evidence, accesses)| {
                violation(
                    kind,
                    number,
                    block.torn.then_some(cell),
                    evidence,
                    &accesses,
                )
            })?;
        }
        Ok(())
    }
}

/// Whether writes that were under way at once may have left a cell that is whole in none of them,
/// where this read found it. Not if one of the writes that began before the read's end was the last
/// of them beyond doubt, and over.
fn may_be_mixed(writes: &[Access], read: &Access) -> bool {
    let begun = || writes.iter().filter(|write| write.start <= read.end);
    let Some(last) = begun().max_by_key(|write| write.start) else {
        return false;
    };
    let alone = begun().all(|write| std::ptr::eq(write, last) || write.precedes(last));
    !(alone && last.precedes(read))
}

/// What a read saw that no order of writes explains.
fn odd(kind: Kind, block: u64, cell: usize, who: Tag, seen: &Seen, access: &Access) -> Violation {
    let span = Span(access.start - 1, Some(access.end - 1));
    let evidence = format!("read {who} {span} saw {seen}");
    violation(kind, block, Some(cell), evidence, &[*access])
}

fn violation(
    kind: Kind,
    block: u64,
    cell: Option<usize>,
    evidence: String,
    accesses: &[Access],
) -> Violation {
    let starts = accesses.iter().map(|access| access.start.saturating_sub(1));
    let ends = accesses
        .iter()
        .filter(|access| access.end != NEVER)
        .map(|access| access.end.saturating_sub(1));
    Violation {
        kind,
        block,
        cell,
        evidence,
        from: starts.clone().min().unwrap_or(0),
        to: ends.chain(starts).max().unwrap_or(0),
    }
}

type Wrong = (Kind, String, Vec<Access>);

/// Whether there is an order that explains one register.
fn check_register(writes: &[Access], reads: Vec<Access>, once: bool) -> Result<(), Wrong> {
    let mut clusters: HashMap<Value, Cluster> = HashMap::with_capacity(writes.len());
    for write in writes {
        if let Some(other) = clusters.insert(write.value, Cluster::new(*write)) {
            let evidence = format!("{} and {write} have the same value", other.write);
            return Err((Kind::SameValueTwice, evidence, vec![other.write, *write]));
        }
    }
    let mut apart = Vec::new();
    for read in reads {
        let Some(cluster) = clusters.get_mut(&read.value) else {
            let evidence = format!("{read} found what was never written here");
            return Err((Kind::NeverWritten, evidence, vec![read]));
        };
        if read.precedes(&cluster.write) {
            let evidence = format!("{read} was over before {} began", cluster.write);
            return Err((Kind::FromTheFuture, evidence, vec![read, cluster.write]));
        }
        if once || cluster.write.precedes(&read) {
            cluster.add(read);
        } else {
            let mut alone = Cluster::new(cluster.write);
            alone.add(read);
            apart.push(alone);
        }
    }
    let mut clusters: Vec<Cluster> = clusters.into_values().chain(apart).collect();
    clusters.sort_unstable_by_key(|cluster| (cluster.first.end, cluster.last.start));
    match conflict(&clusters) {
        None => Ok(()),
        Some((one, other)) => Err(blame(&clusters[one], &clusters[other])),
    }
}

/// Two clusters that each must stand before the other; they are sorted by their first end.
///
/// Look at each with those in front of it. If its last start is behind its own first end, all those
/// must stand before it, and it before one of them if the latest last start among them is behind its
/// first end. Otherwise only those count whose first end is before its last start: a part of those in
/// front, from the beginning on.
fn conflict(clusters: &[Cluster]) -> Option<(usize, usize)> {
    // latest[n]: of the first n + 1 the one with the latest start.
    let mut latest: Vec<usize> = Vec::with_capacity(clusters.len());
    for (index, cluster) in clusters.iter().enumerate() {
        let before = clusters[..index].partition_point(|other| other.precedes(cluster));
        let candidate = before.checked_sub(1).map(|last| latest[last]);
        if let Some(other) = candidate.filter(|&other| cluster.precedes(&clusters[other])) {
            return Some((other, index));
        }
        latest.push(match latest.last() {
            Some(&best) if clusters[best].last.start >= cluster.last.start => best,
            _ => index,
        });
    }
    None
}

/// Which of the two was there first, and what shows that it was there later too.
fn blame(one: &Cluster, other: &Cluster) -> Wrong {
    let (old, new) = match one.write.start <= other.write.start {
        true => (one, other),
        false => (other, one),
    };
    // A read: it began after something of the new value had ended, and that ended no earlier than
    // the new write began, nor that earlier than the old one.
    let again = old.last;
    let observed = new.reads.iter().find(|read| read.precedes(&again));
    let (kind, newer) = match observed {
        Some(read) => (Kind::Resurrected, *read),
        None => (Kind::LostWrite, new.first),
    };
    let mut evidence = format!("{newer} was over before {again} began; and the other way round, ");
    evidence += &format!("{} was over before {} began", old.first, new.last);
    let accesses = vec![newer, again, old.first, new.last, old.write, new.write];
    (kind, evidence, accesses)
}
