// SPDX-License-Identifier: MIT

//! EXCHANGE, right, nearly right and wrong; and what it says of requests and of entries.

use std::sync::atomic::Ordering::Relaxed;

use abuse::abi::{self, Done, Exchange, Extent, Take};
use nix::libc;

use super::{Player, OWNERS};
use crate::board::Seen;
use crate::calls::is;
use crate::files::Open;
use crate::memory::{damaged, Place, DATA, NUMBERS};
use crate::rng::Rng;
use crate::sys;

impl Player<'_> {
    /// Entries that complete what is held, mixed with others.
    pub(super) fn answers(&mut self, device: u16) -> Vec<(Done, Seen)> {
        let mut answers = Vec::new();
        let mut kept = Vec::new();
        for seen in std::mem::take(&mut self.held) {
            if seen.device == device && answers.len() < 24 && !self.rng.one_in(12) {
                answers.push(seen);
            } else if kept.len() < 64 && !self.rng.one_in(50) {
                kept.push(seen);
            }
        }
        self.held = kept;
        // Somebody else's, old ones, another device's, invented ones, and some twice.
        for _ in 0..self.rng.below(3) {
            let at = self.rng.draw();
            let seen = match self.rng.below(6) {
                0 => Seen {
                    id: self.rng.draw(),
                    ..Seen::default()
                },
                1 => Seen {
                    id: self.board.seen(at).id ^ (1 << self.rng.below(64)),
                    ..self.board.seen(at)
                },
                2 => answers.last().copied().unwrap_or_default(),
                _ => self.board.seen(at),
            };
            answers.push(seen);
        }
        let mut entries = Vec::with_capacity(answers.len());
        for seen in answers {
            let done = match self.rng.one_in(5) {
                true => self.forward(seen),
                false => self.answer(seen),
            };
            entries.push((done, seen));
        }
        entries
    }

    /// The answer that the driver is to move the data itself, to places that add up or not.
    fn forward(&mut self, seen: Seen) -> Done {
        let pieces = 1 + self.rng.below(3) as u32;
        let place = self
            .memory
            .any(&mut self.rng, pieces as usize * size_of::<Extent>());
        let mut left = seen.length;
        for index in 0..pieces {
            let length = match (index + 1 == pieces, self.rng.below(16)) {
                (_, 0) => self.rng.draw() as u32,
                (true, _) => left,
                (false, _) => left / 2 / 512 * 512,
            };
            left = left.wrapping_sub(length);
            let extent = Extent {
                offset: match (seen.op, self.rng.below(24)) {
                    (_, 0) => self.rng.pick(&NUMBERS),
                    (abi::OP_FLUSH, _) => 0,
                    _ => self.rng.below(16 << 20) / 512 * 512,
                },
                length,
                fd: self.files.target(&mut self.rng),
            };
            let part = self
                .memory
                .shifted(place, index as usize * size_of::<Extent>());
            self.memory.poke(part, &sys::bytes_of(&extent));
        }
        Done {
            id: seen.id,
            buffer: place.at,
            length: match self.rng.below(30) {
                0 => self.rng.pick(&[0, 4, 257, u32::MAX]),
                _ => pieces,
            },
            flags: abi::DONE_FORWARD | self.rng.some_of(abi::DONE_RETURN.into()) as u16,
            ..Done::default()
        }
    }

    pub(super) fn answer(&self, seen: Seen) -> Done {
        // From what is already random in the id: the closure above has the generator.
        let mut rng = Rng::new(&[seen.id, self.recent.len() as u64]);
        let well = rng.below(10) < 8;
        Done {
            id: seen.id,
            buffer: match rng.below(12) {
                0 => rng.pick(&NUMBERS),
                _ => self.memory.data(),
            },
            length: match rng.below(16) {
                0 => rng.draw() as u32,
                _ => seen.length,
            },
            result: match well {
                true => abi::OK,
                false => rng.below(9) as u16,
            },
            flags: match rng.below(16) {
                0..=5 => abi::DONE_ZERO,
                6 => rng.draw() as u16,
                _ => 0,
            },
            status: 0,
            reserved: u32::from(rng.one_in(40)),
        }
    }

    pub(super) fn owner(&mut self) -> u64 {
        match self.rng.below(10) {
            0..=5 => 0,
            6..=8 => self.rng.pick(&OWNERS),
            _ => self.rng.below(64),
        }
    }

    pub(super) fn patience(&mut self) -> u64 {
        match self.rng.below(1000) {
            0 => abi::FOREVER,
            1..=10 => self.rng.below(30_000_000),
            11..=200 => self.rng.below(1_000_000),
            _ => 0,
        }
    }

    /// An EXCHANGE as a worker makes it, nearly.
    pub(super) fn serve(&mut self) {
        // Most of what is taken is to be completed, and a device that is set up is worth staying.
        let device = self.held.first().map(|seen| seen.device).or(self.stay);
        let open = self.of_device(device);
        let answers = self.answers(open.device);
        let take_max = self.rng.below(24) as u32;
        let exchange = Exchange {
            size: size_of::<Exchange>() as u32,
            flags: match self.rng.below(12) {
                0 => abi::X_DETACHED,
                1 => abi::X_NO_DATA,
                _ => 0,
            },
            arena: self.memory.data(),
            arena_bytes: match self.rng.below(6) {
                0 => self.rng.pick(&[0, 512, 4096]),
                _ => DATA as u64,
            },
            owner: self.owner(),
            timeout_ns: self.patience(),
            take_max,
            take_min: self.rng.below(5).min(u64::from(take_max.max(1))) as u32,
            spin: self.rng.pick(&[0, 0, 20, 500]),
            ..Exchange::default()
        };
        self.exchange(open, exchange, &answers, false);
    }

    /// An EXCHANGE with something wrong in it.
    pub(super) fn exchange_badly(&mut self) {
        let open = self.some_file();
        let answers = self.answers(open.device);
        let (arena, arena_bytes) = self.memory.any_data(&mut self.rng);
        let exchange = Exchange {
            size: size_of::<Exchange>() as u32,
            flags: self.rng.pick(&[0, 0, 1, 2, 3, 3, 4, 1 << 31]),
            arena,
            arena_bytes,
            owner: self.owner(),
            timeout_ns: self.patience(),
            take_max: self.rng.below(64) as u32,
            take_min: self.rng.pick(&[0, 0, 1, 1, 2, 9, 64, u32::MAX]),
            spin: self
                .rng
                .pick(&[0, 0, 0, 50, abi::MAX_SPIN, abi::MAX_SPIN + 1, u32::MAX]),
            ..Exchange::default()
        };
        self.exchange(open, exchange, &answers, true);
    }

    pub(super) fn exchange(
        &mut self,
        open: Open,
        exchange: Exchange,
        answers: &[(Done, Seen)],
        badly: bool,
    ) {
        let (done, take, call) = self.exchange_places(exchange, answers.len(), badly);
        for (index, (entry, _)) in answers.iter().enumerate() {
            let part = self.memory.shifted(done, index * size_of::<Done>());
            self.memory.poke(part, &sys::bytes_of(entry));
        }
        let exchange = Exchange {
            done: done.at,
            done_count: answers.len() as u32,
            take: take.at,
            ..exchange
        };
        let bytes = match badly {
            true => damaged(&mut self.rng, &exchange, true),
            false => sys::bytes_of(&exchange),
        };
        let whole = bytes == sys::bytes_of(&exchange);
        let call = match call {
            Some(call) => call,
            None => self.memory.any(&mut self.rng, bytes.len()),
        };
        self.memory.poke(call, &bytes);
        let errno = self.fire(is::EXCHANGE, open, call.at);
        self.stay = match errno {
            0 if !self.rng.one_in(20) => Some(open.device),
            libc::ENXIO => None,
            _ => self.stay,
        };
        if errno == 0 && whole && !open.stranger {
            self.exchanged(open, exchange, (done, take, call), answers);
        }
    }

    /// Places for entries, requests, and, if it is to be in order, the call.
    pub(super) fn exchange_places(
        &mut self,
        exchange: Exchange,
        answers: usize,
        badly: bool,
    ) -> (Place, Place, Option<Place>) {
        let done_len = answers * size_of::<Done>();
        let take_len = exchange.take_max as usize * size_of::<Take>();
        if !badly {
            let call = self.memory.good(size_of::<Exchange>());
            return (
                self.memory.good(done_len),
                self.memory.good(take_len),
                Some(call),
            );
        }
        let done = self.memory.any(&mut self.rng, done_len);
        let take = match self.rng.below(20) {
            // Over each other.
            0 if take_len <= done_len => done,
            _ => self.memory.any(&mut self.rng, take_len),
        };
        (done, take, None)
    }

    /// Looks at what an EXCHANGE that went well has left.
    pub(super) fn exchanged(
        &mut self,
        open: Open,
        asked: Exchange,
        (done, take, call): (Place, Place, Place),
        answers: &[(Done, Seen)],
    ) {
        let Some(told) = self.memory.peek::<Exchange>(call, 0) else {
            return;
        };
        let same = told.take_max == asked.take_max && told.arena == asked.arena;
        if !same || told.taken > asked.take_max || told.done_failed > asked.done_count {
            self.board
                .finding(&format!("EXCHANGE: {asked:x?} became {told:x?}"));
            return;
        }
        if done.at != take.at {
            self.completed(open, told, done, answers);
        }
        for index in 0..told.taken as usize {
            let Some(entry) = self.memory.peek::<Take>(take, index) else {
                return;
            };
            let place = entry.buffer.wrapping_sub(asked.arena);
            let fits = asked.flags & abi::X_NO_DATA != 0
                || entry.op > abi::OP_WRITE
                || place.saturating_add(entry.length.into()) <= asked.arena_bytes
                    && place % u64::from(abi::ARENA_ALIGN) == 0;
            if entry.id == 0 || usize::from(entry.op) >= abi::OP_COUNT || !fits {
                self.board
                    .finding(&format!("a strange request: {entry:x?} of {asked:x?}"));
            }
            let seen = Seen {
                id: entry.id,
                length: entry.length,
                op: entry.op,
                device: open.device,
            };
            let at = self.rng.draw();
            self.board.given(seen, at);
            self.board.taken.fetch_add(1, Relaxed);
            self.held.push(seen);
        }
    }

    /// Counts the statuses of entries; those that went well can do so once only.
    pub(super) fn completed(
        &self,
        open: Open,
        told: Exchange,
        done: Place,
        answers: &[(Done, Seen)],
    ) {
        let mut failed = 0;
        for (index, (_, seen)) in answers.iter().enumerate() {
            let Some(entry) = self.memory.peek::<Done>(done, index) else {
                return;
            };
            let errno = -entry.status;
            self.board.entries[crate::board::place(errno)].fetch_add(1, Relaxed);
            if errno == 0 {
                self.board.ended(Seen {
                    device: open.device,
                    ..*seen
                });
            } else {
                failed += 1;
            }
            let (always, may) = crate::calls::ENTRIES;
            if !always.contains(&errno) && !may.contains(&errno) {
                self.board
                    .finding(&format!("an entry has status {}", entry.status));
            }
        }
        if failed != told.done_failed {
            let told = told.done_failed;
            self.board.finding(&format!(
                "{failed} entries have a status, but {told} are told"
            ));
        }
    }

    /// So many workers that there is no room for one more.
    pub(super) fn crowd(&mut self) {
        if !self.rng.one_in(20) {
            return self.serve();
        }
        let open = self.files.good(&mut self.rng);
        let take = self.memory.good(size_of::<Take>());
        for owner in 0..4200u64 {
            if !self.board.goes_on() {
                return;
            }
            let exchange = Exchange {
                size: size_of::<Exchange>() as u32,
                take: take.at,
                take_max: 1,
                arena: self.memory.data(),
                arena_bytes: 0,
                owner: 0x1000 + owner,
                ..Exchange::default()
            };
            let call = self.memory.good(size_of::<Exchange>());
            self.memory.poke(call, &sys::bytes_of(&exchange));
            if self.fire(is::EXCHANGE, open, call.at) == libc::ENOSPC {
                return;
            }
            self.memory.begin();
        }
    }
}
