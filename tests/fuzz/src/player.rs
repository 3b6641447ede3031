// SPDX-License-Identifier: MIT

//! One hostile process: threads that make calls by a grammar, threads that take their memory away.
//!
//! A production of the grammar is a method of `Player`: it chooses memory, fills it with something
//! that is right, nearly right or wrong, makes the call, and looks at what came back as far as
//! nobody else could have written there. A new call is a line of [`KINDS`], a
//! production, and a weight in `Player::step`.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use abuse::abi::{self, Add, Done, Exchange, Info, Reconnect, Remove, Requeue, Reset};
use abuse::abi::{Resize, Setup, Status, Take, Vector, XfrHdr};
use abuse_scenarios::kit::raw::handle;
use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{setgid, setuid, Gid, Uid};

use crate::board::{Board, Seen, BEATS};
use crate::calls::{is, KINDS};
use crate::files::{Files, Open, NONE};
use crate::memory::{damaged, Hostile, Memory, Place, DATA, NUMBERS};
use crate::rng::Rng;
use crate::sys;

/// Threads of a process that make calls.
pub const THREADS: usize = 3;

/// Which process this is.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Of the run.
    pub seed: u64,
    /// Among those that run at once.
    pub index: u64,
    /// How many had this index before.
    pub life: u64,
    /// Devices that there are.
    pub devices: u16,
}

/// Plays until the board says stop, or the process is killed.
pub fn play(board: &'static Board, role: Role) -> Result<()> {
    sys::die_with_parent();
    sys::ignore_children();
    handle(Signal::SIGUSR1, false)?;
    handle(Signal::SIGUSR2, true)?;
    let hostile: &'static Hostile = Box::leak(Box::new(Hostile::new()?));
    let files: &'static Files = Box::leak(Box::new(Files::new(role.devices)));
    if role.index % 4 == 3 {
        // What it has open it keeps; everything else it loses.
        setgid(Gid::from_raw(65534)).context("setgid")?;
        setuid(Uid::from_raw(65534)).context("setuid")?;
    }
    let parts = |thread: u64| [role.seed, role.index, role.life, thread];
    let rng = Rng::new(&parts(100));
    thread::spawn(move || hostile.race(rng, board));
    let rng = Rng::new(&parts(101));
    thread::spawn(move || hostile.bring(rng, board));
    let mut players = Vec::new();
    for index in 0..THREADS {
        let rng = Rng::new(&parts(index as u64));
        let beat = (role.index as usize * THREADS + index) % BEATS;
        let mut player = Player {
            board,
            files,
            memory: Memory::new(hostile)?,
            rng,
            beat,
            devices: role.devices,
            held: Vec::new(),
            shown: None,
            stay: None,
            added: None,
            recent: Vec::new(),
        };
        let beat = &board.beats[beat];
        beat.process.store(std::process::id(), Relaxed);
        players.push(thread::spawn(move || {
            while board.goes_on() {
                player.step();
            }
            beat.kind.store(0, Relaxed);
        }));
    }
    for player in players {
        if player.join().is_err() {
            board.finding("a player panicked");
        }
    }
    sys::leave(0)
}

/// One thread.
struct Player<'p> {
    board: &'static Board,
    files: &'p Files,
    memory: Memory<'p>,
    rng: Rng,
    beat: usize,
    devices: u16,
    /// Requests that this thread took.
    held: Vec<Seen>,
    /// What GET_BIO showed last, and of which device.
    shown: Option<(XfrHdr, u16)>,
    /// A device that is set up.
    stay: Option<u16>,
    /// The device that was added last: number and sequence.
    added: Option<(u32, u64)>,
    /// The last calls, for a forked process to make again.
    recent: Vec<(i32, u32, u64)>,
}

/// Tokens of owners that several use.
const OWNERS: [u64; 4] = [0xa0, 0xa1, 0xa2, 0xa3];

impl Player<'_> {
    fn step(&mut self) {
        self.memory.begin();
        // One thread of each process serves, more or less: without that nothing would ever come to
        // the later states of a request.
        if self.beat % THREADS == 0 && !self.rng.one_in(5) {
            return self.serve();
        }
        match self.rng.below(1000) {
            0..=379 => self.serve(),
            380..=489 => self.exchange_badly(),
            490..=549 => self.status(),
            550..=589 => self.setup(),
            590..=639 => self.requeue(),
            640..=664 => self.reconnect(),
            665..=699 => self.reset(),
            700..=714 => self.get_status(),
            715..=744 => self.set_status(),
            745..=749 => self.plain(is::SET_POLL),
            750..=753 => self.plain(is::RESET),
            754..=813 => self.get_bio(),
            814..=863 => self.put_bio(),
            864..=889 => self.unknown(),
            890..=909 => self.poll(),
            910..=944 => self.change_files(),
            945..=959 => self.stray(),
            960..=974 => self.resize(),
            975..=982 => self.add(),
            983..=989 => self.remove(),
            990..=997 => self.fork(),
            _ => self.crowd(),
        }
    }

    // --- Making calls ---------------------------------------------------------------------------

    /// Makes one ioctl, counts it and judges its answer.
    fn fire(&mut self, kind: usize, open: Open, at: u64) -> i32 {
        let mut number = KINDS[kind].number;
        if number > 0xffff && self.rng.one_in(16) {
            // The size in the number means nothing.
            number = number & !(0x3fff << 16) | ((self.rng.below(0x4000) as u32) << 16);
        }
        self.fire_number(kind, open, number, at)
    }

    fn fire_number(&mut self, kind: usize, open: Open, number: u32, at: u64) -> i32 {
        self.alive(kind);
        let low = u32::try_from(at).ok().filter(|_| self.rng.one_in(6));
        let errno = match low {
            Some(low) => {
                self.board.compat.fetch_add(1, Relaxed);
                sys::ioctl32(open.fd, number, low)
            }
            None => sys::ioctl(open.fd, number, at),
        };
        if self.recent.len() == 8 {
            self.recent.remove(0);
        }
        self.recent.push((open.fd, number, at));
        self.judge(kind, errno, open);
        if errno == libc::ENODEV && !open.manager && self.rng.one_in(4) {
            self.files.close_gone(open);
            self.files.open(open.device, open.writable);
        }
        errno
    }

    fn alive(&self, kind: usize) {
        let beat = &self.board.beats[self.beat];
        beat.count.fetch_add(1, Relaxed);
        beat.kind.store(kind as u32 + 1, Relaxed);
    }

    fn judge(&self, kind: usize, errno: i32, open: Open) {
        self.board.count(kind, errno);
        if !open.stranger && !KINDS[kind].knows(errno) {
            let name = KINDS[kind].name;
            let errno = nix::errno::Errno::from_raw(errno);
            self.board.finding(&format!("{name} answers {errno:?}"));
        }
    }

    /// Puts a struct of v2 somewhere, damaged or not.
    fn placed<T: abuse_scenarios::kit::raw::Plain>(&mut self, value: &T, sized: bool) -> Place {
        let bytes = damaged(&mut self.rng, value, sized);
        let place = self.memory.any(&mut self.rng, bytes.len());
        self.memory.poke(place, &bytes);
        place
    }

    /// A descriptor, and once in a while any.
    fn some_file(&mut self) -> Open {
        if self.rng.one_in(4) {
            self.files.any(&mut self.rng)
        } else {
            self.files.good(&mut self.rng)
        }
    }

    /// One that can be written to, of this device if there is one.
    fn of_device(&mut self, device: Option<u16>) -> Open {
        let mut open = self.files.good(&mut self.rng);
        for _ in 0..8 {
            if device.is_none_or(|device| open.device == device) {
                break;
            }
            open = self.files.good(&mut self.rng);
        }
        open
    }

    // --- v2 -------------------------------------------------------------------------------------

    fn status(&mut self) {
        let status = Status {
            size: size_of::<Status>() as u32,
            ..Status::default()
        };
        let place = self.placed(&status, true);
        let open = self.files.any(&mut self.rng);
        if self.fire(is::STATUS, open, place.at) != 0 || open.stranger {
            return;
        }
        let Some(status) = self.memory.peek::<Status>(place, 0) else {
            return;
        };
        let sound = status.abi_version == abi::ABI_VERSION
            && status.state <= abi::STATE_GONE
            && status.config.reserved == [0; 5]
            && status.driver.last() == Some(&0);
        if !sound {
            self.board
                .finding(&format!("a strange status: {status:x?}"));
        }
    }

    fn setup(&mut self) {
        let rng = &mut self.rng;
        let block = rng.pick(&[0, 512, 512, 1024, 4096, 4096, 65536]);
        let unit = u64::from(if block == 0 { 4096 } else { block });
        let blocks = 1 + rng.below(4096);
        let bytes = match rng.below(20) {
            0 | 1 => 1u64 << 63,
            2 => i64::MAX as u64 / unit * unit,
            3 => rng.pick(&NUMBERS),
            _ => unit * blocks,
        };
        let read_only = if rng.one_in(12) { abi::F_READ_ONLY } else { 0 };
        let setup = Setup {
            size: size_of::<Setup>() as u32,
            bytes,
            logical_block: block,
            physical_block: rng.pick(&[0, 0, 512, 4096, 65536]),
            io_min: rng.pick(&[0, 0, 4096, 65535]),
            io_opt: rng.pick(&[0, 0, 65536, u32::MAX]),
            max_bytes: rng.pick(&[0, 4096, 65536, 65536, 65536, u32::MAX]),
            depth: rng.pick(&[0, 1, 2, 16, 128, 4096]),
            queues: rng.pick(&[0, 1, 1, 2, 64]),
            max_segments: rng.pick(&[0, 0, 1, 16, 256, 10_000]),
            features: rng.some_of(abi::F_ALL & !abi::F_READ_ONLY) | read_only,
            policies: rng.some_of(abi::P_ALL),
            max_attempts: rng.pick(&[0, 0, 1, 2, 5]),
            discard_granularity: rng.pick(&[0, 0, 512, 4096, 1 << 20]),
            lease_ns: rng.pick(&[0, 0, 0, 1, 1_000_000, 50_000_000]),
            no_server_ns: rng.pick(&[0, 0, 0, 20_000_000, 1_000_000_000, u64::MAX]),
            max_discard_bytes: rng.pick(&[0, 0, 4096, u32::MAX]),
            ..Setup::default()
        };
        let place = self.placed(&setup, true);
        let open = self.some_file();
        if self.fire(is::SETUP, open, place.at) == 0 {
            self.stay = Some(open.device);
        }
    }

    /// Entries that complete what is held, mixed with others.
    fn answers(&mut self, device: u16) -> Vec<(Done, Seen)> {
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
        let answer = |seen: Seen| (self.answer(seen), seen);
        answers.into_iter().map(answer).collect()
    }

    fn answer(&self, seen: Seen) -> Done {
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

    fn owner(&mut self) -> u64 {
        match self.rng.below(10) {
            0..=5 => 0,
            6..=8 => self.rng.pick(&OWNERS),
            _ => self.rng.below(64),
        }
    }

    fn patience(&mut self) -> u64 {
        match self.rng.below(1000) {
            0 => abi::FOREVER,
            1..=10 => self.rng.below(30_000_000),
            11..=200 => self.rng.below(1_000_000),
            _ => 0,
        }
    }

    /// An EXCHANGE as a worker makes it, nearly.
    fn serve(&mut self) {
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
            ..Exchange::default()
        };
        self.exchange(open, exchange, &answers, false);
    }

    /// An EXCHANGE with something wrong in it.
    fn exchange_badly(&mut self) {
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
            ..Exchange::default()
        };
        self.exchange(open, exchange, &answers, true);
    }

    fn exchange(&mut self, open: Open, exchange: Exchange, answers: &[(Done, Seen)], badly: bool) {
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
    fn exchange_places(
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
    fn exchanged(
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
    fn completed(&self, open: Open, told: Exchange, done: Place, answers: &[(Done, Seen)]) {
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

    fn requeue(&mut self) {
        let rng = &mut self.rng;
        let at = rng.draw();
        let requeue = Requeue {
            size: size_of::<Requeue>() as u32,
            flags: match rng.below(8) {
                0 => rng.draw() as u32,
                1 => 0,
                2 => abi::RQ_ALL,
                3 => abi::RQ_ALL | abi::RQ_FORCE,
                _ => rng.some_of(0x1f) | if rng.one_in(4) { abi::RQ_FORCE } else { 0 },
            },
            owner: rng.pick(&OWNERS),
            id: self.board.seen(at).id,
            older_than_ns: rng.pick(&[0, 0, 1_000_000, 1_000_000_000, u64::MAX]),
            pid: match rng.below(4) {
                0 => std::process::id(),
                1 => 1,
                2 => rng.draw() as u32,
                _ => self.board.beats[rng.below(32) as usize]
                    .process
                    .load(Relaxed),
            },
            ..Requeue::default()
        };
        let place = self.placed(&requeue, true);
        let open = self.some_file();
        self.fire(is::REQUEUE, open, place.at);
    }

    fn reconnect(&mut self) {
        let rng = &mut self.rng;
        let reconnect = Reconnect {
            size: size_of::<Reconnect>() as u32,
            flags: rng.pick(&[0, 0, 0, 1, 1, 2, 4, 4, 5, 5, 6, 8]),
            ..Reconnect::default()
        };
        let place = self.placed(&reconnect, true);
        let open = self.some_file();
        self.fire(is::RECONNECT, open, place.at);
    }

    fn reset(&mut self) {
        let rng = &mut self.rng;
        let reset = Reset {
            size: size_of::<Reset>() as u32,
            flags: rng.pick(&[0, 0, 1, 1, 1, 2]),
            timeout_ns: rng.pick(&[0, 1, 1_000, 1_000_000, 100_000_000, abi::FOREVER]),
            ..Reset::default()
        };
        let place = self.placed(&reset, true);
        let open = self.some_file();
        self.fire(is::RESET2, open, place.at);
    }

    fn resize(&mut self) {
        let rng = &mut self.rng;
        let resize = Resize {
            size: size_of::<Resize>() as u32,
            flags: rng.pick(&[0, 0, abi::RZ_FORCE, abi::RZ_FORCE, 2]),
            bytes: match rng.below(10) {
                0 => 1 << 63,
                1 => rng.pick(&NUMBERS),
                _ => 65536 * (1 + rng.below(512)),
            },
            ..Resize::default()
        };
        let place = self.placed(&resize, true);
        let open = self.some_file();
        self.fire(is::RESIZE, open, place.at);
    }

    /// Devices above those that the others use come and go, and now and then one of these.
    fn some_number(&mut self) -> u32 {
        match self.rng.below(12) {
            0 => self.rng.below(u64::from(self.devices)) as u32,
            1 => self.rng.pick(&NUMBERS) as u32,
            2..=4 => abi::ANY_NUMBER,
            _ => u32::from(self.devices) + self.rng.below(8) as u32,
        }
    }

    fn add(&mut self) {
        let mut add = Add {
            size: size_of::<Add>() as u32,
            number: self.some_number(),
            ..Add::default()
        };
        if self.rng.one_in(3) {
            let name: &[u8] = self.rng.pick(&[
                &b"one"[..],
                b"two",
                b"abuse7",
                b"7",
                b"..",
                b"-x",
                b"a/b",
                &[b'n'; 63],
                &[b'n'; 64],
            ]);
            add.name[..name.len()].copy_from_slice(name);
        }
        let place = self.placed(&add, true);
        let open = self.files.manager(&mut self.rng);
        if self.fire(is::ADD, open, place.at) != 0 || !open.manager {
            return;
        }
        if let Some(add) = self.memory.peek::<Add>(place, 0) {
            self.added = Some((add.number, add.sequence));
        }
    }

    fn remove(&mut self) {
        let known = self.added.filter(|_| self.rng.one_in(2));
        let (number, sequence) = match known {
            Some(known) => known,
            None => (self.some_number(), self.rng.pick(&[0, 0, 1, 9, u64::MAX])),
        };
        let remove = Remove {
            size: size_of::<Remove>() as u32,
            flags: self.rng.pick(&[0, abi::RM_FORCE, abi::RM_FORCE, 2]),
            number,
            sequence,
            timeout_ns: self.rng.pick(&[0, 1, 1_000_000, 100_000_000, abi::FOREVER]),
            ..Remove::default()
        };
        let place = self.placed(&remove, true);
        let open = self.files.manager(&mut self.rng);
        self.fire(is::REMOVE, open, place.at);
    }

    /// So many workers that there is no room for one more.
    fn crowd(&mut self) {
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

    // --- v1 -------------------------------------------------------------------------------------

    fn get_status(&mut self) {
        let place = self.memory.any(&mut self.rng, size_of::<Info>());
        let open = self.files.any(&mut self.rng);
        let at = self.or_null(place.at);
        self.fire(is::GET_STATUS, open, at);
    }

    /// The calls of 2009 know a NULL from a bad pointer.
    fn or_null(&mut self, at: u64) -> u64 {
        match self.rng.one_in(20) {
            true => 0,
            false => at,
        }
    }

    fn set_status(&mut self) {
        let rng = &mut self.rng;
        let block = rng.pick(&[512, 512, 1024, 4096, 0, 8192, 511]);
        let info = Info {
            bytes: match rng.below(12) {
                0 => 1 << 63,
                1 => rng.pick(&NUMBERS),
                _ => u64::from(block) * (1 + rng.below(4096)),
            },
            flags: rng.pick(&[0, 0, 0, 1, 2, 2, 3, 4]),
            blocksize: block,
            max_queue: rng.pick(&[0, 1, 16, 512, 513]),
            ..Info::default()
        };
        let place = self.placed(&info, false);
        let open = self.some_file();
        if self.rng.one_in(4) {
            self.reconnect_as_2009(open, place);
        }
        self.fire(is::SET_STATUS, open, place.at);
    }

    /// Asks for what the disk is already, but for a flag or two.
    fn reconnect_as_2009(&mut self, open: Open, place: Place) {
        let good = self.memory.good(size_of::<Info>());
        if sys::ioctl(open.fd, abi::GET_STATUS, good.at) != 0 {
            return;
        }
        if let Some(info) = self.memory.peek::<Info>(good, 0) {
            let info = Info {
                flags: abi::FLAGS_RECONNECT | self.rng.some_of(abi::FLAGS_READ_ONLY),
                max_queue: info.max_queue.min(abi::V1_MAX_QUEUE),
                ..info
            };
            self.memory.poke(place, &sys::bytes_of(&info));
        }
    }

    /// A call that looks at no argument.
    fn plain(&mut self, kind: usize) {
        let (open, at) = (self.some_file(), self.rng.pick(&NUMBERS));
        self.fire(kind, open, at);
    }

    fn get_bio(&mut self) {
        let vectors = abi::V1_MAX_VECS as usize * size_of::<Vector>();
        let vectors = match self.rng.below(6) {
            0 => 0,
            1 => self.memory.bad(&mut self.rng, vectors).at,
            _ => self.memory.good(vectors).at,
        };
        let header = XfrHdr {
            transfer_address: vectors,
            vec_count: self.rng.pick(&[0, 0, 1, 256, u32::MAX]),
            ..XfrHdr::default()
        };
        let place = match self.rng.below(3) {
            0 => self.placed(&header, false),
            _ => self.memory.good(size_of::<XfrHdr>()),
        };
        if self.memory.is_good(place) {
            self.memory.poke(place, &sys::bytes_of(&header));
        }
        let open = self.some_file();
        let at = self.or_null(place.at);
        if self.fire(is::GET_BIO, open, at) != 0 || open.stranger {
            return;
        }
        if let Some(header) = self.memory.peek::<XfrHdr>(place, 0) {
            if header.vec_count > abi::V1_MAX_VECS || header.command > abi::V1_SYNC_NOTIFICATION {
                self.board.finding(&format!("GET_BIO shows {header:x?}"));
            }
            self.shown = Some((header, open.device));
        }
    }

    fn put_bio(&mut self) {
        let mut open = self.some_file();
        let mut header = XfrHdr::default();
        if let Some((shown, device)) = self.shown.take().filter(|_| !self.rng.one_in(6)) {
            header = shown;
            open = self.of_device(Some(device));
        } else {
            let at = self.rng.draw();
            header.id = self.board.seen(at).id;
            header.vec_count = self.rng.below(300) as u32;
        }
        let count = (header.vec_count as usize).min(abi::V1_MAX_VECS as usize);
        let vectors = match self.rng.below(3) {
            0 => self.memory.bad(&mut self.rng, count * size_of::<Vector>()),
            _ => self.memory.good(count * size_of::<Vector>()),
        };
        let (data, _) = self.memory.any_data(&mut self.rng);
        for index in 0..count {
            let vector = Vector {
                address: data.wrapping_add(((index * 4096) % (DATA / 2)) as u64),
                len: self.rng.pick(&[512, 4096, 0, u32::MAX]),
                offset: self.rng.pick(&[0, 512, 4096, u32::MAX]),
            };
            let part = self.memory.shifted(vectors, index * size_of::<Vector>());
            self.memory.poke(part, &sys::bytes_of(&vector));
        }
        header.transfer_address = vectors.at;
        header.result = match self.rng.below(100) {
            0 => abi::V1_DEVICE_FAILURE,
            1..=6 => abi::V1_MEDIA_FAILURE,
            7 => self.rng.draw() as u32,
            _ => abi::V1_OKAY,
        };
        let place = match self.rng.below(3) {
            0 => self.placed(&header, false),
            _ => {
                let place = self.memory.good(size_of::<XfrHdr>());
                self.memory.poke(place, &sys::bytes_of(&header));
                place
            }
        };
        let at = self.or_null(place.at);
        self.fire(is::PUT_BIO, open, at);
    }

    // --- The rest -------------------------------------------------------------------------------

    fn unknown(&mut self) {
        let number = match self.rng.below(3) {
            0 => 0x4126 + self.rng.below(10) as u32,
            // The letter of ours, numbers that are none, and any direction and size.
            1 => (self.rng.draw() as u32 & 0xffff_0000) | (0x4130 + self.rng.below(64) as u32),
            _ => KINDS[is::STATUS].number & 0x3fff_ffff | self.rng.pick(&[0, 1 << 30, 2 << 30]),
        };
        let place = self.memory.any(&mut self.rng, 128);
        let open = self.files.any(&mut self.rng);
        self.fire_number(is::UNKNOWN, open, number, place.at);
    }

    fn poll(&mut self) {
        let open = self.files.any(&mut self.rng);
        let events = self.rng.draw() as i16;
        let milliseconds = self.rng.pick(&[0, 0, 0, 1, 5]);
        let pollmsg = 0x400;
        let gone = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
        let known = libc::POLLIN | libc::POLLRDNORM | gone | pollmsg;
        if self.rng.one_in(2) {
            self.alive(is::POLL);
            let (errno, said) = sys::poll(open.fd, events, milliseconds);
            self.judge(is::POLL, errno, open);
            // The descriptor may be a disk by now, which can always be written to.
            let writable = libc::POLLOUT | libc::POLLWRNORM;
            if !open.stranger && said & !known & !writable != 0 {
                self.board.finding(&format!("poll says {said:#x}"));
            }
        } else {
            self.alive(is::EPOLL);
            let events = u32::from(events as u16) & 0x7ff | self.rng.pick(&[0, 1 << 31, 1 << 30]);
            let (errno, _) = sys::epoll(open.fd, events, milliseconds);
            self.judge(is::EPOLL, errno, open);
        }
    }

    fn change_files(&mut self) {
        // Some of them are there only at times.
        let device = match self.rng.below(u64::from(self.devices) + 4) as u16 {
            device if device < self.devices + 2 => device,
            _ => NONE,
        };
        let errno = match self.rng.below(8) {
            0..=3 => return self.files.close(&mut self.rng),
            4 => return self.files.dup(&mut self.rng),
            _ if !self.files.has_room() => return self.files.close(&mut self.rng),
            5 => {
                match self.rng.below(3) {
                    0 => self.files.open_manager(!self.rng.one_in(3)),
                    _ => {
                        self.files.open_disk(device);
                    }
                }
                return;
            }
            _ => {
                let writable = !self.rng.one_in(3);
                self.alive(is::OPEN);
                self.files.open(device, writable)
            }
        };
        let open = Open {
            fd: -1,
            device,
            writable: false,
            stranger: false,
            manager: false,
        };
        self.judge(is::OPEN, errno, open);
    }

    fn stray(&mut self) {
        let open = self.files.any(&mut self.rng);
        let place = self.memory.any(&mut self.rng, 4096);
        self.alive(is::STRAY);
        // Not on a disk: to write there is for the load.
        if open.stranger {
            return;
        }
        let errno = sys::stray(self.rng.draw(), open.fd, place.at, 512);
        self.judge(is::STRAY, errno, open);
    }

    fn fork(&mut self) {
        self.board
            .forks
            .fetch_add(self.recent.len() as u64, Relaxed);
        sys::fork_and_call(&self.recent);
    }
}
