// SPDX-License-Identifier: MIT

//! A process that uses the disks meanwhile: direct and buffered I/O, flushes, discards, new looks for
//! partitions, opens and closes. It waits in the kernel when nobody serves; the janitor's resets end
//! that.

use std::ffi::CString;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use abuse_scenarios::kit::detectors::patience;
use anyhow::Result;
use nix::libc;

use crate::board::{Board, BEATS};
use crate::calls::KINDS;
use crate::player::Role;
use crate::rng::Rng;
use crate::sys::{self, Region, PAGE};

/// Threads of a process.
pub const THREADS: usize = 4;
/// Bytes of the largest operation.
const ROOM: usize = 64 * PAGE;
/// How many of a file's first bytes are used.
const SPAN: u64 = 1 << 20;

// From linux/fs.h.
const BLKRRPART: u32 = 0x125f;
const BLKFLSBUF: u32 = 0x1261;
const BLKROSET: u32 = 0x125d;
const BLKDISCARD: u32 = 0x1277;
const BLKSECDISCARD: u32 = 0x127d;
const BLKZEROOUT: u32 = 0x127f;

/// Uses the disks until the board says stop, or the process is killed.
pub fn play(board: &'static Board, role: Role) -> Result<()> {
    sys::die_with_parent();
    let mut users = Vec::new();
    for index in 0..THREADS {
        let rng = Rng::new(&[role.seed, role.index, role.life, index as u64]);
        let region = Region::new(ROOM)?;
        region.fill(0, ROOM, 0x5e);
        let beat = &board.beats[BEATS - 1 - (role.index as usize * THREADS + index) % (BEATS / 4)];
        beat.process.store(std::process::id(), Relaxed);
        let mut user = User {
            board,
            rng,
            region,
            devices: role.devices.into(),
        };
        users.push(thread::spawn(move || {
            while board.stop.load(Relaxed) == 0 {
                beat.count.fetch_add(1, Relaxed);
                beat.kind.store(KINDS.len() as u32 + 1, Relaxed);
                user.session();
            }
            beat.kind.store(0, Relaxed);
        }));
    }
    for user in users {
        if user.join().is_err() {
            board.finding("a user of disks panicked");
        }
    }
    sys::leave(0)
}

struct User {
    board: &'static Board,
    rng: Rng,
    region: Region,
    devices: u64,
}

impl User {
    /// One opened disk.
    fn session(&mut self) {
        let device = self.rng.below(self.devices);
        let path = CString::new(format!("/dev/abuse{device}")).unwrap_or_default();
        let direct = self.rng.pick(&[libc::O_DIRECT, libc::O_DIRECT, 0]);
        let mode = self.rng.pick(&[libc::O_RDWR, libc::O_RDWR, libc::O_RDONLY]);
        let exclusive = self.rng.pick(&[0, 0, 0, libc::O_EXCL]);
        let Ok(fd) = sys::open(&path, mode | direct | exclusive | libc::O_CLOEXEC) else {
            // No disk at the moment, most likely. To look for one takes as long as a call.
            return thread::sleep(patience(Duration::from_millis(5)));
        };
        for _ in 0..=self.rng.below(8) {
            let errno = self.operation(fd);
            self.board.io.fetch_add(1, Relaxed);
            if errno != 0 {
                self.board.io_failed.fetch_add(1, Relaxed);
            }
            if errno == libc::EIO || self.board.stop.load(Relaxed) != 0 {
                break;
            }
        }
        sys::close(fd);
    }

    fn operation(&mut self, fd: i32) -> i32 {
        let unit = self.rng.pick(&[512, 4096, 4096]);
        let len = (unit << self.rng.below(6)).min(ROOM as u64);
        let offset = self.rng.below(SPAN / unit) * unit;
        match self.rng.below(24) {
            0..=9 => sys::pwrite(fd, &self.region, len as usize, offset),
            10..=17 => sys::pread(fd, &self.region, len as usize, offset),
            18 => sys::fsync(fd),
            19 => {
                let zero_or_punch = self.rng.pick(&[0x10, 0x03, 0x07]);
                sys::punch(fd, zero_or_punch, offset, len)
            }
            20 => {
                let number = self.rng.pick(&[BLKDISCARD, BLKSECDISCARD, BLKZEROOUT]);
                sys::disk_ioctl(fd, number, [offset, len])
            }
            21 => sys::disk_ioctl(fd, BLKRRPART, [0; 2]),
            22 => sys::disk_ioctl(fd, BLKFLSBUF, [0; 2]),
            _ => sys::disk_ioctl(fd, BLKROSET, [self.rng.below(8) / 7, 0]),
        }
    }
}
