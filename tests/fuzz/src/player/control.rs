// SPDX-License-Identifier: MIT

//! What shapes, resets, resizes, adds and removes devices, and offers their requests again.

use std::sync::atomic::Ordering::Relaxed;

use abuse::abi::{self, Add, Reconnect, Remove, Requeue, Reset, Resize, Setup, Status};

use super::{Player, OWNERS};
use crate::calls::is;
use crate::memory::NUMBERS;

impl Player<'_> {
    pub(super) fn status(&mut self) {
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

    pub(super) fn setup(&mut self) {
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

    pub(super) fn requeue(&mut self) {
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

    pub(super) fn reconnect(&mut self) {
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

    pub(super) fn reset(&mut self) {
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

    pub(super) fn resize(&mut self) {
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
    pub(super) fn some_number(&mut self) -> u32 {
        match self.rng.below(12) {
            0 => self.rng.below(u64::from(self.devices)) as u32,
            1 => self.rng.pick(&NUMBERS) as u32,
            // The first that is none.
            2 => (1 << 20) + self.rng.below(2) as u32,
            3..=4 => abi::ANY_NUMBER,
            _ => u32::from(self.devices) + self.rng.below(8) as u32,
        }
    }

    pub(super) fn add(&mut self) {
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

    pub(super) fn remove(&mut self) {
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
}
