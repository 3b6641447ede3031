// SPDX-License-Identifier: MIT

//! Where a call's argument may be: in memory as it should be, and in all others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use abuse_scenarios::kit::detectors::patience;
use abuse_scenarios::kit::raw::{file_of, Plain};
use anyhow::Result;

use crate::board::Board;
use crate::rng::Rng;
use crate::sys::{bytes_of, Access, Region, Slow, PAGE};

/// Bytes of memory that races, that is closed, and that is slow.
const RACING: usize = 32 * PAGE;
const CLOSED: usize = 8 * PAGE;
const SLOW: usize = 64 * PAGE;

/// Memory that the threads of a process share, none of it as it should be.
#[derive(Debug)]
pub struct Hostile {
    racing: Region,
    file: File,
    closed: Region,
    closed_file: File,
    /// One page, and then nothing.
    edge: Region,
    slow: Option<Slow>,
}

impl Hostile {
    /// Maps all of it.
    pub fn new() -> Result<Hostile> {
        let (file, closed_file) = (file_of(RACING)?, file_of(CLOSED)?);
        let edge = Region::new(2 * PAGE)?;
        edge.allow(PAGE, PAGE, Access::None);
        Ok(Hostile {
            racing: Region::of_file(&file, RACING, Access::Both)?,
            file,
            closed: Region::of_file(&closed_file, CLOSED, Access::Read)?,
            closed_file,
            edge,
            // Without the right to it there is none; the coverage of the run tells.
            slow: Slow::new(SLOW).ok(),
        })
    }

    /// Changes the racing memory for ever: flips bytes, closes it, unmaps it, cuts its file.
    pub fn race(&self, mut rng: Rng, board: &Board) {
        loop {
            let from = rng.below((RACING / PAGE) as u64) as usize * PAGE;
            let len = (RACING - from).min(PAGE << rng.below(4));
            match rng.below(8) {
                0 => self.racing.allow(from, len, Access::Read),
                1 => self.racing.allow(from, len, Access::None),
                2 => self.racing.remap(&self.file, thread::yield_now),
                3 => self.racing.forget(),
                4 => {
                    let _ = self.file.set_len(from as u64);
                    thread::yield_now();
                    let _ = self.file.set_len(RACING as u64);
                }
                _ => {
                    // Few: each is a call that takes a processor from the players.
                    for _ in 0..8 {
                        let at = rng.below(RACING as u64);
                        let _ = self.file.write_at(&rng.draw().to_ne_bytes(), at);
                    }
                }
            }
            board.races.fetch_add(1, Relaxed);
            // Peace for a moment, or nothing would ever get through.
            thread::sleep(patience(Duration::from_micros(rng.below(8000))));
            self.racing.allow(0, RACING, Access::Both);
        }
    }

    /// Brings pages of the slow memory for ever, late, and takes them away again.
    pub fn bring(&self, mut rng: Rng, board: &Board) {
        let Some(slow) = &self.slow else { return };
        loop {
            let mut page = [0; PAGE];
            page[..8].copy_from_slice(&rng.draw().to_ne_bytes());
            let delay = match rng.below(20) {
                0 => Duration::from_millis(rng.below(100)),
                _ => Duration::from_micros(rng.below(3000)),
            };
            if slow.serve(20, &page, || thread::sleep(delay)) {
                board.slow_pages.fetch_add(1, Relaxed);
            }
            if rng.one_in(4) {
                slow.region().forget();
            }
        }
    }
}

/// A place for a struct or an array.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its address.
    pub at: u64,
    /// Bytes that were asked for.
    len: usize,
    kind: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// In the thread's own memory, at this offset.
    Calm(usize),
    /// At this offset of the racing memory.
    Racing(usize),
    /// ... of the closed memory.
    Closed(usize),
    /// ... of the page before the edge; so many bytes are there.
    Edge(usize, usize),
    /// Nothing can be put there beforehand.
    Away,
}

/// The memory of one thread, and how it chooses.
#[derive(Debug)]
pub struct Memory<'p> {
    hostile: &'p Hostile,
    calm: Region,
    used: usize,
    /// Places over a boundary that this step has used.
    boundaries: usize,
}

/// Bytes of a thread's own memory for structs; behind it is the room for data.
const STRUCTS: usize = 32 * PAGE;
/// ... of which the first are for places one behind the other, the rest for those that lie over the
/// boundary of two pages, so that no two places of a step have a byte in common.
const ROW: usize = 16 * PAGE;
/// Bytes for data.
pub const DATA: usize = 128 * PAGE;

/// Numbers that are at the edge of something.
pub const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    8,
    16,
    17,
    511,
    512,
    4095,
    4096,
    65535,
    65536,
    65537,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    0x0000_7fff_ffff_f000,
    0x8000_0000_0000_0000,
    0xffff_8880_0000_1000,
    0xffff_ffff_8100_0000,
    i64::MAX as u64,
    u64::MAX,
];

/// Addresses where nothing of ours is.
const NOWHERE: [u64; 9] = [
    0,
    1,
    16,
    0x0000_7fff_ffff_f000,
    0x8000_0000_0000_0000,
    0xffff_8880_0000_1000,
    0xffff_ffff_8100_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

impl<'p> Memory<'p> {
    /// A new thread's.
    pub fn new(hostile: &'p Hostile) -> Result<Memory<'p>> {
        Ok(Memory {
            hostile,
            calm: Region::new(STRUCTS + DATA)?,
            used: 0,
            boundaries: 0,
        })
    }

    /// Forgets the places of the step before.
    pub fn begin(&mut self) {
        self.used = 0;
        self.boundaries = 0;
    }

    /// Room for so many bytes, as it should be.
    pub fn good(&mut self, len: usize) -> Place {
        assert!(self.used + len <= ROW, "a step needs too much memory");
        let offset = self.used;
        self.used += len.next_multiple_of(8);
        Place {
            at: self.calm.address() + offset as u64,
            len,
            kind: What::Calm(offset),
        }
    }

    /// Room that is as it should be, most of the time.
    pub fn any(&mut self, rng: &mut Rng, len: usize) -> Place {
        if rng.below(100) < 75 {
            return self.good(len);
        }
        self.bad(rng, len)
    }

    /// Room that is not as it should be.
    pub fn bad(&mut self, rng: &mut Rng, len: usize) -> Place {
        let hostile = self.hostile;
        let within = |rng: &mut Rng, all: usize| {
            let most = all.saturating_sub(len).max(1) as u64;
            rng.below(most) as usize
        };
        let (at, kind) = match rng.below(10) {
            0..=2 => {
                let offset = within(rng, RACING);
                (
                    hostile.racing.address() + offset as u64,
                    What::Racing(offset),
                )
            }
            3 => {
                let offset = within(rng, CLOSED);
                (
                    hostile.closed.address() + offset as u64,
                    What::Closed(offset),
                )
            }
            4 => {
                let there = rng.below(len.min(PAGE) as u64 + 1) as usize;
                let offset = PAGE - there;
                (
                    hostile.edge.address() + offset as u64,
                    What::Edge(offset, there),
                )
            }
            5 => {
                let boundary = ROW + (2 * self.boundaries + 1) * PAGE;
                self.boundaries = (self.boundaries + 1) % ((STRUCTS - ROW) / PAGE / 2);
                let offset = boundary - rng.below(len.clamp(1, PAGE) as u64) as usize;
                (self.calm.address() + offset as u64, What::Calm(offset))
            }
            6 | 7 => match &hostile.slow {
                Some(slow) => {
                    let offset = within(rng, SLOW) as u64;
                    (slow.region().address() + offset, What::Away)
                }
                None => (rng.pick(&NOWHERE), What::Away),
            },
            _ => (rng.pick(&NOWHERE), What::Away),
        };
        Place { at, len, kind }
    }

    /// Puts bytes there, as many as can be.
    pub fn poke(&self, place: Place, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(place.len)];
        match place.kind {
            What::Calm(offset) => self.calm.poke(offset, bytes),
            What::Racing(offset) => {
                let _ = self.hostile.file.write_at(bytes, offset as u64);
            }
            What::Closed(offset) => {
                let _ = self.hostile.closed_file.write_at(bytes, offset as u64);
            }
            What::Edge(offset, there) => {
                self.hostile
                    .edge
                    .poke(offset, &bytes[..there.min(bytes.len())]);
            }
            What::Away => {}
        }
    }

    /// What is there now, where nobody else can have written.
    pub fn peek<T: Plain>(&self, place: Place, index: usize) -> Option<T> {
        match place.kind {
            What::Calm(offset) => Some(self.calm.peek(offset + index * size_of::<T>())),
            _ => None,
        }
    }

    /// The rest of a place, from so many bytes on.
    pub fn shifted(&self, place: Place, by: usize) -> Place {
        let kind = match place.kind {
            What::Calm(offset) => What::Calm(offset + by),
            What::Racing(offset) => What::Racing(offset + by),
            What::Closed(offset) => What::Closed(offset + by),
            What::Edge(offset, there) => {
                What::Edge(offset + by.min(there), there.saturating_sub(by))
            }
            What::Away => What::Away,
        };
        Place {
            at: place.at.wrapping_add(by as u64),
            len: place.len.saturating_sub(by),
            kind,
        }
    }

    /// Whether a place is as it should be.
    pub fn is_good(&self, place: Place) -> bool {
        matches!(place.kind, What::Calm(_))
    }

    /// The room for data, as it should be.
    pub fn data(&self) -> u64 {
        self.calm.address() + STRUCTS as u64
    }

    /// Room for data, most of the time as it should be.
    pub fn any_data(&mut self, rng: &mut Rng) -> (u64, u64) {
        match rng.below(10) {
            0 => {
                let place = self.bad(rng, 8192);
                (place.at, rng.pick(&[0, 512, 4096, 8192, 65536, u64::MAX]))
            }
            1 => (self.data(), rng.pick(&[0, 1, 512, 4095, 4096, 12288])),
            _ => (self.data(), DATA as u64),
        }
    }
}

/// The bytes of a struct, sometimes with something in them that nobody meant.
pub fn damaged<T: Plain>(rng: &mut Rng, value: &T, sized: bool) -> Vec<u8> {
    let mut bytes = bytes_of(value);
    if !rng.one_in(4) {
        return bytes;
    }
    if sized && rng.one_in(3) {
        // A size of its own, with a tail that is empty or not.
        let known = bytes.len();
        let size = match rng.below(6) {
            0 => rng.below(known as u64) as usize,
            1 => known + 1 + rng.below(64) as usize,
            2 => 4096,
            3 => 4097 + rng.below(1 << 20) as usize,
            4 => rng.draw() as u32 as usize,
            _ => known + 8 * rng.below(40) as usize,
        };
        bytes[..4].copy_from_slice(&(size as u32).to_ne_bytes());
        bytes.resize(size.clamp(known, 4096), 0);
        if rng.one_in(2) {
            let last = bytes.len() - 1;
            bytes[last] = rng.draw() as u8;
        }
        return bytes;
    }
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.draw() as u8,
            2 => {
                let word = at & !3;
                let number = rng.pick(&NUMBERS) as u32;
                bytes[word..word + 4].copy_from_slice(&number.to_ne_bytes());
            }
            _ => {
                let word = (at & !7).min(bytes.len().saturating_sub(8));
                let number = rng.pick(&NUMBERS);
                bytes[word..word + 8].copy_from_slice(&number.to_ne_bytes());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use abuse::abi::Reset;

    #[test]
    fn damage_is_done_to_some_and_sizes_fit_the_room() {
        let mut rng = Rng::new(&[7]);
        let reset = Reset {
            size: size_of::<Reset>() as u32,
            ..Reset::default()
        };
        let all: Vec<_> = (0..1000).map(|_| damaged(&mut rng, &reset, true)).collect();
        let whole = all
            .iter()
            .filter(|bytes| **bytes == bytes_of(&reset))
            .count();
        assert!((650..900).contains(&whole), "{whole}");
        assert!(all.iter().all(|bytes| (32..=4096).contains(&bytes.len())));
    }

    #[test]
    fn what_is_put_into_calm_memory_is_there_and_what_races_kills_nobody() {
        let hostile = Hostile::new().unwrap();
        let mut memory = Memory::new(&hostile).unwrap();
        let place = memory.good(8);
        memory.poke(place, &7u64.to_ne_bytes());
        assert_eq!(memory.peek::<u64>(place, 0), Some(7));
        let mut rng = Rng::new(&[1]);
        for _ in 0..1000 {
            let place = memory.bad(&mut rng, 88);
            memory.poke(place, &[1; 88]);
        }
    }
}
