// SPDX-License-Identifier: MIT

//! One disk, those who write to it and read from it, and what is known of their data.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use anyhow::{bail, ensure, Result};
use nix::libc::{O_CLOEXEC, O_DIRECT, O_RDWR};

use super::{Figures, FILL, MAGIC, PART, USERS};
use crate::rng::Rng;
use crate::sys::{self, Region, PAGE};

/// One disk and what is known of it.
pub(super) struct Disk {
    pub(super) number: u32,
    /// The write that each writer is in; 0: none.
    pub(super) writes: [AtomicU64; USERS as usize],
    pub(super) over: AtomicBool,
}

/// Sixteen bytes of data.
fn cell(disk: u32, sector: u64, number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(MAGIC ^ disk).to_ne_bytes());
    bytes[4..8].copy_from_slice(&(sector as u32).to_ne_bytes());
    bytes[8..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// The bytes of a write, or of a read's answer.
pub(super) fn data(disk: u32, sector: u64, len: usize, number: u64) -> Vec<u8> {
    (0..len / 16)
        .flat_map(|at| cell(disk, sector + at as u64 / 32, number))
        .collect()
}

impl Disk {
    fn open(&self) -> Result<i32> {
        let path = CString::new(format!("/dev/abuse{}", self.number))?;
        sys::open(&path, O_RDWR | O_DIRECT | O_CLOEXEC)
            .map_err(|errno| nix::errno::Errno::from_raw(errno).into())
    }

    /// Where a user's next operation goes, and its bytes.
    fn place(rng: &mut Rng, part: u64) -> (u64, usize) {
        let sectors = 1 + rng.below(rng.clone().pick(&[1, 8, 9, 128]));
        let first = part * PART + rng.below(PART - sectors);
        (first, sectors as usize * 512)
    }

    pub(super) fn write(&self, user: u64, mut rng: Rng) -> Result<()> {
        let fd = self.open()?;
        let region = Region::new(18 * PAGE)?;
        let mut number = 0;
        while !self.over.load(Relaxed) {
            let (sector, len) = Disk::place(&mut rng, user);
            number += 1;
            // Behind the data on the same page is what nobody is to see.
            region.fill(0, region.len(), 0x77);
            let data = data(self.number, sector, len, (user << 48) | number);
            region.poke(0, &data);
            self.writes[user as usize].store((user << 48) | number, Relaxed);
            if sys::pwrite(fd, &region, len, sector * 512) != 0 && !self.over.load(Relaxed) {
                bail!("a write failed");
            }
        }
        sys::close(fd);
        Ok(())
    }

    pub(super) fn read(&self, user: u64, mut rng: Rng, figures: &Figures) -> Result<()> {
        let fd = self.open()?;
        let region = Region::new(18 * PAGE)?;
        while !self.over.load(Relaxed) {
            let (sector, len) = Disk::place(&mut rng, USERS + user);
            region.fill(0, region.len(), FILL);
            if sys::pread(fd, &region, len, sector * 512) != 0 {
                ensure!(self.over.load(Relaxed), "a read failed");
                break;
            }
            let bytes = region.copy(0, region.len());
            let number = u64::from_ne_bytes(bytes[8..16].try_into()?);
            let zeros = bytes[..len].iter().all(|&byte| byte == 0);
            ensure!(
                zeros || bytes[..len] == data(self.number, sector, len, number),
                "a reader got other bytes than the worker gave"
            );
            if let Some(at) = bytes[len..].iter().position(|&byte| byte != FILL) {
                let seen = &bytes[len + at..][..16.min(bytes.len() - len - at)];
                let zeros = if zeros { " of zeros" } else { "" };
                bail!(
                    "{at} bytes behind a read{zeros} of {len} bytes at sector {sector}: {seen:x?}"
                );
            }
            figures.reads.fetch_add(1, Relaxed);
        }
        sys::close(fd);
        Ok(())
    }

    /// Whether these are data that a writer of this disk is waiting to have written, from that sector on.
    pub(super) fn is_current(&self, sector: u64, bytes: &[u8]) -> bool {
        let Some(head) = bytes.get(8..16).and_then(|head| head.try_into().ok()) else {
            return bytes.is_empty();
        };
        let number = u64::from_ne_bytes(head);
        let writer = self.writes.get((number >> 48) as usize);
        writer.is_some_and(|current| current.load(Relaxed) == number)
            && bytes == data(self.number, sector, bytes.len(), number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_disk_sector_or_write_are_not_current() {
        let disk = Disk {
            number: 1,
            writes: Default::default(),
            over: AtomicBool::new(false),
        };
        let number = (2 << 48) | 9;
        disk.writes[2].store(number, Relaxed);
        assert!(disk.is_current(40, &data(1, 40, 1024, number)));
        assert!(!disk.is_current(40, &data(0, 40, 1024, number)));
        assert!(!disk.is_current(41, &data(1, 40, 1024, number)));
        assert!(!disk.is_current(40, &data(1, 40, 1024, number - 1)));
        let mut stale = data(1, 40, 1024, number);
        stale[1008..].copy_from_slice(&cell(1, 41, number - 1));
        assert!(!disk.is_current(40, &stale));
    }
}
