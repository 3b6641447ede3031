// SPDX-License-Identifier: MIT

//! What is no call of ours, or not only: unknown numbers, poll, opening and closing, forks.

use std::sync::atomic::Ordering::Relaxed;

use nix::libc;

use super::Player;
use crate::calls::{is, KINDS};
use crate::files::{Open, NONE};
use crate::sys;

impl Player<'_> {
    pub(super) fn unknown(&mut self) {
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

    pub(super) fn poll(&mut self) {
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

    pub(super) fn change_files(&mut self) {
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

    pub(super) fn stray(&mut self) {
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

    pub(super) fn fork(&mut self) {
        self.board
            .forks
            .fetch_add(self.recent.len() as u64, Relaxed);
        sys::fork_and_call(&self.recent);
    }
}
