// SPDX-License-Identifier: MIT

//! What a worker asks the allocator for while it serves: nothing.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::backend::tests::TempDir;
use crate::backend::{File, FileOptions, Null, Ram};
use crate::error::Result;
use crate::sys::counting::asked;
use crate::sys::ioctl::{Call, Reply};
use crate::worker::driver::Driver;
use crate::Status;

/// Calls after which everything has been asked for that is asked for once.
const WARM: u64 = 20;
const CALLS: u64 = 220;

/// A driver that always has a full batch, and asks for no memory itself. It notes what the thread that
/// calls it had asked for when it was warm, and what at the end; and all arenas it was given.
struct Endless {
    setup: Setup,
    stop: Stop,
    calls: AtomicU64,
    warm: AtomicU64,
    end: AtomicU64,
    arenas: AtomicU64,
    arena: AtomicU64,
}

impl Endless {
    fn new() -> Endless {
        Endless {
            setup: Setup::new(SIZE),
            stop: Stop::new(),
            calls: AtomicU64::new(0),
            warm: AtomicU64::new(0),
            end: AtomicU64::new(0),
            arenas: AtomicU64::new(0),
            arena: AtomicU64::new(0),
        }
    }
}

impl Driver for Endless {
    fn exchange(&self, call: Call<'_>) -> nix::Result<Reply> {
        let count = self.calls.fetch_add(1, Ordering::Relaxed);
        if count == WARM {
            self.warm.store(asked(), Ordering::Relaxed);
        }
        if count == CALLS {
            self.end.store(asked(), Ordering::Relaxed);
            self.stop.stop();
        }
        let base = call.arena.map_or(0, |arena| arena.address());
        if !call.take.is_empty() && self.arena.swap(base, Ordering::Relaxed) != base {
            self.arenas.fetch_add(1, Ordering::Relaxed);
        }
        let taken = call.take.len();
        for (index, take) in call.take.iter_mut().enumerate() {
            let number = count * 1000 + index as u64;
            *take = abi::Take {
                id: number + 1,
                op: match number % 8 {
                    0 => abi::OP_FLUSH,
                    1 | 2 => abi::OP_WRITE,
                    _ => abi::OP_READ,
                },
                sector: (number * 8) % (SIZE / 512),
                buffer: base + index as u64 * 4096,
                length: if number % 8 == 0 { 0 } else { 4096 },
                epoch: 1,
                ..abi::Take::default()
            };
        }
        Ok(Reply {
            taken,
            epoch: 1,
            ..Reply::default()
        })
    }

    fn status(&self) -> Result<Status> {
        unreachable!("the epoch does not change")
    }

    fn label(&self) -> String {
        "/dev/endless".into()
    }
}

fn asks_for_nothing(backend: &impl Backend, threads: usize) {
    let driver = Endless::new();
    let plan = Plan::new(&backend.capabilities(), &driver.setup, 1).threads(threads);
    let served = serve(&driver, backend, &plan, &driver.stop, Calls::default()).unwrap();
    assert!(served.completed > CALLS, "{served:?}");
    assert_eq!(served.failed, 0);
    if threads == 1 {
        let (warm, end) = (&driver.warm, &driver.end);
        let asked = end.load(Ordering::Relaxed) - warm.load(Ordering::Relaxed);
        assert_eq!(asked, 0, "{} batches asked for memory", CALLS - WARM);
        assert!(driver.arenas.load(Ordering::Relaxed) <= 1, "another arena");
    }
}

#[test]
fn serving_asks_the_allocator_for_nothing() {
    let directory = TempDir::new();
    asks_for_nothing(&Null, 1);
    asks_for_nothing(&Ram::open_in(directory.path(), "a", SIZE).unwrap(), 1);
    let options = FileOptions {
        create: true,
        ..FileOptions::for_disk(&Setup::new(SIZE))
    };
    let file = File::open(directory.path().join("disk"), &options).unwrap();
    asks_for_nothing(&file, 1);
    let options = FileOptions {
        io_uring: true,
        ..options
    };
    let rings = File::open(directory.path().join("disk"), &options).unwrap();
    asks_for_nothing(&rings, 1);
    // Nor is anything lost by those who help each other.
    asks_for_nothing(&file, 3);
}

#[test]
fn the_count_counts() {
    let before = asked();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(asked() > before);
}
