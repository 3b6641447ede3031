// SPDX-License-Identifier: MIT

//! What all processes of a run share: counts, ids that were seen, signs of life. It is in a file
//! without a name, so that it outlives whoever is killed.

use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::calls::KINDS;
use crate::sys;

/// Errnos that are counted each for itself; higher ones count as the highest.
pub const ERRNOS: usize = 140;
/// Threads that can show signs of life.
pub const BEATS: usize = 256;
/// Ids that are remembered.
const IDS: usize = 1024;
/// Places for ids that must not come twice. A newer id takes the place of an older one.
const TRACES: usize = 1 << 18;

sys::shared! {
    /// Sign of life of one thread.
    pub struct Beat {
        /// Grows with every call.
        pub count: AtomicU64,
        /// What it does, by its index, plus one; 0: nothing.
        pub kind: AtomicU32,
        /// Its process.
        pub process: AtomicU32,
    }

    /// An id that somebody was given.
    struct Known {
        id: AtomicU64,
        /// Of the request: length in the upper half, operation, device.
        about: AtomicU64,
    }

    /// The shared memory.
    pub struct Board {
        /// Everybody is to end.
        pub stop: AtomicU32,
        /// Of the run.
        pub findings: AtomicU32,
        /// That may be made in all; 0: any number.
        pub limit: AtomicU64,
        /// That were made.
        pub calls: AtomicU64,
        /// ... as 32-bit programs make them.
        pub compat: AtomicU64,
        /// ... by forked processes.
        pub forks: AtomicU64,
        /// Pages that came late.
        pub slow_pages: AtomicU64,
        /// Changes to memory that races.
        pub races: AtomicU64,
        /// Operations on disks.
        pub io: AtomicU64,
        /// ... that failed.
        pub io_failed: AtomicU64,
        /// Requests taken.
        pub taken: AtomicU64,
        /// By call and errno.
        pub outcomes: [[AtomicU64; ERRNOS]; KINDS.len()],
        /// Entries of `done` by errno.
        pub entries: [AtomicU64; ERRNOS],
        /// Signs of life.
        pub beats: [Beat; BEATS],
        ids: [Known; IDS],
        given: [AtomicU64; TRACES],
        ended: [AtomicU64; TRACES],
    }
}

/// A request that somebody holds, or held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Its id.
    pub id: u64,
    /// Bytes.
    pub length: u32,
    /// `abi::OP_*`
    pub op: u16,
    /// Number of its device.
    pub device: u16,
}

impl Board {
    /// A new one, with the file to be inherited.
    pub fn new() -> anyhow::Result<(&'static Board, File)> {
        let file = File::from(nix::sys::memfd::memfd_create(
            "board",
            nix::sys::memfd::MFdFlags::empty(),
        )?);
        file.set_len(size_of::<Board>() as u64)?;
        Ok((sys::share(&file)?, file))
    }

    /// That of the parent.
    pub fn inherited(fd: i32) -> nix::Result<&'static Board> {
        sys::share(&sys::inherited(fd))
    }

    /// Whether to go on.
    pub fn goes_on(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        self.stop.load(Relaxed) == 0 && (self.calls.load(Relaxed) < limit || limit == 0)
    }

    /// Counts how a call ended.
    pub fn count(&self, kind: usize, errno: i32) {
        self.calls.fetch_add(1, Relaxed);
        self.outcomes[kind][place(errno)].fetch_add(1, Relaxed);
    }

    /// Something that must not be. It is printed, and fails the run.
    pub fn finding(&self, what: &str) {
        if self.findings.fetch_add(1, Relaxed) < 50 {
            eprintln!("FINDING: {what}");
        }
    }

    /// Remembers a request that was given out. Finds an id that was given twice.
    pub fn given(&self, seen: Seen, at: u64) {
        let about =
            (u64::from(seen.length) << 32) | (u64::from(seen.op) << 16) | u64::from(seen.device);
        let place = &self.ids[at as usize % IDS];
        place.id.store(seen.id, Relaxed);
        place.about.store(about, Relaxed);
        if trace(&self.given, seen) {
            self.finding(&format!("an id was given twice: {seen:x?}"));
        }
    }

    /// A request was completed. Finds one that was completed twice.
    pub fn ended(&self, seen: Seen) {
        if trace(&self.ended, seen) {
            self.finding(&format!("an id was completed twice: {seen:x?}"));
        }
    }

    /// One of those that were given out, probably long completed.
    pub fn seen(&self, at: u64) -> Seen {
        let place = &self.ids[at as usize % IDS];
        let about = place.about.load(Relaxed);
        Seen {
            id: place.id.load(Relaxed),
            length: (about >> 32) as u32,
            op: (about >> 16) as u16,
            device: about as u16,
        }
    }
}

/// Where an errno is counted.
pub fn place(errno: i32) -> usize {
    (errno.unsigned_abs() as usize).min(ERRNOS - 1)
}

/// Leaves a trace of an id; whether there was one already.
fn trace(traces: &[AtomicU64; TRACES], seen: Seen) -> bool {
    // Ids of two devices may be equal by chance.
    let key = (seen.id ^ u64::from(seen.device).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1);
    let hash = key.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 40;
    traces[hash as usize % TRACES].swap(key, Relaxed) == key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_comes_twice_is_found_and_on_another_device_not() {
        let (board, _file) = Board::new().unwrap();
        let seen = Seen {
            id: 0x1234_0001,
            length: 4096,
            op: 1,
            device: 3,
        };
        board.given(seen, 7);
        assert_eq!(board.seen(7).length, 4096);
        board.given(Seen { device: 4, ..seen }, 8);
        assert_eq!(board.findings.load(Relaxed), 0);
        board.given(seen, 9);
        assert_eq!(board.findings.load(Relaxed), 1);
        board.ended(seen);
        assert_eq!(board.findings.load(Relaxed), 1);
        board.ended(seen);
        assert_eq!(board.findings.load(Relaxed), 2);
    }

    #[test]
    fn calls_are_counted_up_to_the_limit() {
        let (board, _file) = Board::new().unwrap();
        board.limit.store(2, Relaxed);
        board.count(0, 22);
        assert!(board.goes_on());
        board.count(0, 5000);
        assert!(!board.goes_on());
        assert_eq!(board.outcomes[0][22].load(Relaxed), 1);
        assert_eq!(board.outcomes[0][ERRNOS - 1].load(Relaxed), 1);
    }
}
