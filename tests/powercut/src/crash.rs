// SPDX-License-Identifier: MIT

//! The states in which a power cut can leave a disk.
//!
//! Power fails between two events of the log. With a volatile cache, what is certainly there is
//! what was done before a flush was taken that is done, and what was written with FUA and is done.
//! Without one it is what is done. Everything else that was taken may be there or not, each logical
//! block for itself: a write that was not acknowledged, too, as the disk may have begun it.
//!
//! Of two writes to the same block the later one wins if it is there. No other order exists in what
//! a power cut leaves, so the subsets are all the reorderings there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use anyhow::{ensure, Context, Result};

use crate::log::{parse, Event, Shape};
use crate::random::Random;

/// A log, understood.
#[derive(Debug)]
pub struct History {
    shape: Shape,
    bytes: Vec<u8>,
    events: Vec<Event>,
    writes: Vec<Change>,
    base: usize,
}

/// Something that changes the disk.
#[derive(Clone, Debug)]
struct Change {
    blocks: Range<u64>,
    /// Its data; `None`: zeros.
    data: Option<Range<usize>>,
    /// Position from which it may be there, it is done, it is certainly there.
    begun: usize,
    done: usize,
    durable: usize,
}

/// Never, as a position.
const NEVER: usize = usize::MAX;

/// What of that which is not certain is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    /// All that was taken.
    Begun,
    /// All that was done, nothing that was in flight: the prefix of what was acknowledged.
    Completed,
    /// Nothing.
    Durable,
    /// Any blocks of it, by this seed.
    Random(u64),
}

/// What power failing at one position left.
#[derive(Debug)]
pub struct State<'h> {
    history: &'h History,
    /// How many events of the log had happened.
    pub at: usize,
    /// What else is there.
    pub pick: Pick,
    /// For each block: 0, or one more than the number of the change it comes from.
    sources: Vec<u32>,
}

impl History {
    /// Understands a log.
    pub fn parse(bytes: Vec<u8>) -> Result<History> {
        let (shape, events) = parse(&bytes)?;
        let mut writes: Vec<Change> = Vec::new();
        let mut flushes: HashMap<u64, usize> = HashMap::new();
        let mut pending: HashMap<u64, (usize, bool)> = HashMap::new();
        // Done, but not covered by a flush yet.
        let mut loose: Vec<usize> = Vec::new();
        let mut base = 0;
        for (index, event) in events.iter().enumerate() {
            // An event has happened at the positions behind it.
            let position = index + 1;
            let (id, offset, length, data, fua) = match event {
                Event::Write {
                    id,
                    offset,
                    data,
                    fua,
                } => (id, offset, data.len() as u64, Some(data.clone()), *fua),
                Event::Zeroes {
                    id,
                    offset,
                    length,
                    fua,
                } => (id, offset, *length, None, *fua),
                Event::Flush { id } => {
                    flushes.insert(*id, position);
                    continue;
                }
                Event::Done { id } => {
                    if let Some(begun) = flushes.remove(id) {
                        loose.retain(|&write| {
                            let change: &mut Change = &mut writes[write];
                            if change.done <= begun {
                                change.durable = position;
                            }
                            change.durable == NEVER
                        });
                    } else {
                        let (write, fua) = pending
                            .remove(id)
                            .with_context(|| format!("request {id} is done and never began"))?;
                        writes[write].done = position;
                        if fua || shape.write_through {
                            writes[write].durable = position;
                        } else {
                            loose.push(write);
                        }
                    }
                    continue;
                }
                Event::Base => {
                    base = position;
                    continue;
                }
                Event::Mark { .. } => continue,
            };
            let end = offset.checked_add(length).context("a write has no end")?;
            ensure!(
                offset % shape.block == 0 && length % shape.block == 0 && end <= shape.bytes,
                "request {id} is no whole blocks of the disk"
            );
            pending.insert(*id, (writes.len(), fua));
            writes.push(Change {
                blocks: offset / shape.block..end / shape.block,
                data,
                begun: position,
                done: NEVER,
                durable: NEVER,
            });
        }
        ensure!(writes.len() < u32::MAX as usize, "the log is too long");
        Ok(History {
            shape,
            bytes,
            events,
            writes,
            base,
        })
    }

    /// What disk it is of.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The positions at which power may fail.
    pub fn positions(&self) -> Range<usize> {
        self.base..self.events.len() + 1
    }

    /// How many writes, flushes and syncs of the load it has.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |what: fn(&&Event) -> bool| self.events.iter().filter(what).count();
        (
            self.writes.len(),
            count(|event| matches!(event, Event::Flush { .. })),
            count(|event| matches!(event, Event::Mark { .. })),
        )
    }

    /// How many steps each thread of the load had synced at a position.
    pub fn synced(&self, at: usize) -> BTreeMap<u64, u64> {
        let mut synced = BTreeMap::new();
        for event in &self.events[..at] {
            if let Event::Mark { thread, steps } = event {
                synced.insert(*thread, *steps);
            }
        }
        synced
    }

    /// The state at a position.
    pub fn state(&self, at: usize, pick: Pick) -> State<'_> {
        let blocks = (self.shape.bytes / self.shape.block) as usize;
        let mut sources = vec![0; blocks];
        let mut chance = Random::new(match pick {
            Pick::Random(seed) => seed,
            _ => 0,
        });
        // A cache that wrote back little, half, or nearly all of what it had; writes torn or whole.
        let kept = [5, 50, 95][chance.below(3) as usize];
        let torn = [0, 30][chance.below(2) as usize];
        for (number, write) in self.writes.iter().enumerate() {
            if write.begun > at {
                break;
            }
            let whole = write.durable <= at
                || match pick {
                    Pick::Begun => true,
                    Pick::Completed => write.done <= at,
                    Pick::Durable => false,
                    Pick::Random(_) => {
                        if chance.percent(torn) {
                            for block in write.blocks.clone() {
                                if chance.percent(50) {
                                    sources[block as usize] = number as u32 + 1;
                                }
                            }
                            continue;
                        }
                        chance.percent(kept)
                    }
                };
            if whole {
                sources[write.blocks.start as usize..write.blocks.end as usize]
                    .fill(number as u32 + 1);
            }
        }
        State {
            history: self,
            at,
            pick,
            sources,
        }
    }

    /// Up to `count` different states: every prefix if there is room for them, else prefixes at
    /// even distances, for half of it; the rest at random positions with any part of what is
    /// uncertain.
    pub fn schedule(&self, count: usize, seed: u64) -> Vec<(usize, Pick)> {
        let mut random = Random::new(seed);
        let positions = self.positions();
        let mut chosen = Vec::new();
        let mut seen = HashSet::new();
        let mut add = |at: usize, pick: Pick, chosen: &mut Vec<_>| {
            if chosen.len() < count && seen.insert(self.state(at, pick).fingerprint()) {
                chosen.push((at, pick));
            }
        };
        let prefixes = count.div_ceil(2).min(positions.len());
        let phase = random.below((positions.len() / prefixes.max(1)).max(1) as u64) as usize;
        for number in 0..prefixes {
            let at = positions.start + phase + number * (positions.len() - phase) / prefixes;
            add(at, Pick::Completed, &mut chosen);
        }
        // A short log may not have so many.
        for _ in 0..8 * count {
            let at = positions.start + random.below(positions.len() as u64) as usize;
            let pick = match random.below(10) {
                0 => Pick::Durable,
                1 => Pick::Begun,
                _ => Pick::Random(random.next()),
            };
            add(at, pick, &mut chosen);
        }
        chosen
    }
}

impl State<'_> {
    /// What tells it from other states: the contents, and what had been synced.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.sources.hash(&mut hasher);
        self.history.synced(self.at).hash(&mut hasher);
        hasher.finish()
    }

    /// Calls with every run of blocks that is not zero: offset in the image, data.
    pub fn pieces<E>(&self, mut each: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let block = self.history.shape.block;
        let mut at = 0;
        while at < self.sources.len() {
            let source = self.sources[at];
            let start = at;
            while at < self.sources.len() && self.sources[at] == source {
                at += 1;
            }
            let Some(number) = source.checked_sub(1) else {
                continue;
            };
            let write = &self.history.writes[number as usize];
            if let Some(data) = &write.data {
                let from =
                    data.start + (start as u64 - write.blocks.start) as usize * block as usize;
                let length = (at - start) * block as usize;
                each(
                    start as u64 * block,
                    &self.history.bytes[from..from + length],
                )?;
            }
        }
        Ok(())
    }

    /// All of it. For small disks.
    pub fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.history.shape.bytes as usize];
        let copied = self.pieces::<std::convert::Infallible>(|offset, data| {
            image[offset as usize..][..data.len()].copy_from_slice(data);
            Ok(())
        });
        match copied {
            Ok(()) => image,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests;
