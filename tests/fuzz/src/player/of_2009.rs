// SPDX-License-Identifier: MIT

//! The calls of 2009.

use abuse::abi::{self, Info, Vector, XfrHdr};

use super::Player;
use crate::calls::is;
use crate::files::Open;
use crate::memory::{Place, DATA, NUMBERS};
use crate::sys;

impl Player<'_> {
    pub(super) fn get_status(&mut self) {
        let place = self.memory.any(&mut self.rng, size_of::<Info>());
        let open = self.files.any(&mut self.rng);
        let at = self.or_null(place.at);
        self.fire(is::GET_STATUS, open, at);
    }

    /// The calls of 2009 know a NULL from a bad pointer.
    pub(super) fn or_null(&mut self, at: u64) -> u64 {
        match self.rng.one_in(20) {
            true => 0,
            false => at,
        }
    }

    pub(super) fn set_status(&mut self) {
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
    pub(super) fn reconnect_as_2009(&mut self, open: Open, place: Place) {
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
    pub(super) fn plain(&mut self, kind: usize) {
        let (open, at) = (self.some_file(), self.rng.pick(&NUMBERS));
        self.fire(kind, open, at);
    }

    pub(super) fn get_bio(&mut self) {
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

    pub(super) fn put_bio(&mut self) {
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
}
