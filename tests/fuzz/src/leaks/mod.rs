// SPDX-License-Identifier: MIT

//! What the driver lets out: every byte that it writes into a caller's memory must be one that the
//! caller could have read from the disk, or one that the contract says.
//!
//! Two disks are written to and read from at once. Each sixteen bytes of data say whose they are: disk,
//! sector, and which write. Memory that calls may write to is filled with one byte before, and looked at
//! afterwards, whole: data must be those of the request, of this disk, of now; all else must be as it
//! was, or a field of a struct that is neither the kernel's poison nor one of its addresses. It means
//! most on a kernel that poisons what it frees and does not clear what it allocates:
//! `init_on_alloc=0 slub_debug=FZPU page_poison=1`.

mod disk;
mod looker;
mod poison;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use abuse::{Device, State};
use abuse_scenarios::kit::{wait_until, PATIENCE};
use anyhow::{bail, ensure, Result};

use crate::rng::Rng;
use crate::sys::PAGE;
use disk::Disk;
use looker::Looker;
pub use poison::{kernel_poisons, kernels_own};

/// What memory is filled with before a call.
const FILL: u8 = 0xd5;
/// Sixteen bytes that say whose they are begin with this.
const MAGIC: u32 = 0x41_42_55_53;
/// Writers, and as many readers, of a disk; each has its own part of it.
const USERS: u64 = 6;
/// Sectors of a part.
const PART: u64 = 512;
/// Disks at once.
const DISKS: usize = 2;
/// Bytes of an arena.
const ARENA: usize = 96 * PAGE;

/// What was looked at.
#[derive(Debug, Default)]
pub struct Figures {
    /// Requests that were handed out.
    pub gets: AtomicU64,
    /// Bytes that were looked at.
    pub bytes: AtomicU64,
    /// Calls, refused ones too.
    pub calls: AtomicU64,
    /// ... that were refused.
    pub refused: AtomicU64,
    /// Reads whose data came back as the worker gave them.
    pub reads: AtomicU64,
}

/// Looks until so many requests were handed out on each disk.
pub fn look(gets: u64, seed: u64, figures: &Figures) -> Result<()> {
    let mut disks = Vec::new();
    for number in 0..DISKS as u32 {
        let device = Device::open(number.to_string())?;
        ensure!(
            device.status()?.state == State::Empty,
            "device {number} is set up"
        );
        device.setup(&abuse::Setup {
            logical_block: 512,
            max_bytes: 64 << 10,
            ..abuse::Setup::new(2 * USERS * PART * 512)
        })?;
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        disks.push(Disk {
            number,
            writes: Default::default(),
            over: AtomicBool::new(false),
        });
    }
    thread::scope(|scope| -> Result<()> {
        let mut lookers = Vec::new();
        let mut users = Vec::new();
        for disk in &disks {
            for user in 0..USERS {
                let rng = Rng::new(&[seed, disk.number.into(), user]);
                users.push(scope.spawn(move || disk.write(user, rng)));
                let rng = Rng::new(&[seed, disk.number.into(), user, 1]);
                users.push(scope.spawn(move || disk.read(user, rng, figures)));
            }
            let rng = Rng::new(&[seed, disk.number.into()]);
            lookers.push(scope.spawn(move || {
                let looked = Looker::new(disk, rng, figures).and_then(|mut it| it.look(gets));
                disk.over.store(true, Relaxed);
                // What still waits for a worker.
                let _ = Device::open(disk.number.to_string())
                    .and_then(|device| device.reset(true, Some(PATIENCE)));
                looked
            }));
        }
        let mut result = Ok(());
        for thread in lookers.into_iter().chain(users) {
            let one = thread.join().unwrap_or_else(|_| bail!("a thread panicked"));
            result = result.and(one);
        }
        result
    })
}
