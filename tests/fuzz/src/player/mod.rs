// SPDX-License-Identifier: MIT

//! One hostile process: threads that make calls by a grammar, threads that take their memory away.
//!
//! A production of the grammar is a method of `Player`: it chooses memory, fills it with something
//! that is right, nearly right or wrong, makes the call, and looks at what came back as far as
//! nobody else could have written there. A new call is a line of [`KINDS`], a
//! production, and a weight in `Player::step`.

mod around;
mod control;
mod exchange;
mod of_2009;

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use abuse::abi::XfrHdr;
use abuse_scenarios::kit::raw::handle;
use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{setgid, setuid, Gid, Uid};

use crate::board::{Board, Seen, BEATS};
use crate::calls::{is, KINDS};
use crate::files::{Files, Open};
use crate::memory::{damaged, Hostile, Memory, Place};
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

/// Productions of `Player::step` by which disks, devices or processes come and go.
const DEAR: [RangeInclusive<u64>; 3] = [665..=699, 750..=753, 955..=997];
/// After so many calls only one in so many of these is made.
const SEEN: u64 = 20_000;
const DEARNESS: u64 = 16;

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
        let production = self.rng.below(1000);
        if DEAR.iter().any(|dear| dear.contains(&production)) && self.spares() {
            return self.serve();
        }
        match production {
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
            945..=954 => self.stray(),
            955..=969 => self.resize(),
            970..=979 => self.add(),
            980..=989 => self.remove(),
            990..=997 => self.fork(),
            _ => self.crowd(),
        }
    }

    /// Whether to leave out what takes the kernel as long as a hundred calls. A run that has seen all
    /// of it often enough has more use for the hundred.
    fn spares(&mut self) -> bool {
        self.board.calls.load(Relaxed) > SEEN && !self.rng.one_in(DEARNESS)
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
}
