// SPDX-License-Identifier: MIT

//! I/O is cut into requests of exactly the largest size that a disk was set up with, from a page to
//! 16 MiB: no smaller, where its memory is in few pieces, and no larger.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{skip, Fio, Guest, PATIENCE};

const MIB: u64 = 1 << 20;
/// Of one write, in huge pages; and of all.
const WRITE: u64 = 16 * MIB;
const ALL: u64 = 16 * MIB;

pub(super) fn run(guest: &Guest) -> Result<()> {
    if !std::path::Path::new(HUGE_PAGES).exists() {
        return skip("this kernel has no huge pages");
    }
    let _quiet = guest.hold_udev()?;
    let _huge = HugePages::reserve(16)?;
    for largest in [4096, 65536, 6 * MIB, WRITE] {
        let disk = guest.disk(&format!("size={ALL},max_bytes={largest}"))?;
        ensure!(u64::from(disk.setup().max_bytes) == largest);
        let server = disk.serve("null")?;
        let blocks = format!("bs={WRITE}");
        let options = [
            "rw=write",
            "iodepth=1",
            "mem=shmhuge",
            "hugepage-size=2M",
            &blocks,
        ];
        Fio::on(guest, disk.path(), &options).run()?;
        let counts = disk.counts(Operation::Write)?;
        let requests = ALL / WRITE * WRITE.div_ceil(largest);
        ensure!(
            (counts.done, counts.bytes) == (requests, ALL),
            "at most {largest} bytes each: {counts:?}, not {requests} requests"
        );
        drop(server);
        disk.device().reset(true, Some(PATIENCE))?;
    }
    Ok(())
}

/// Pages of 2 MiB, set aside for a while.
struct HugePages;

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn reserve(count: u32) -> Result<HugePages> {
        let pages = HugePages;
        std::fs::write(HUGE_PAGES, count.to_string())?;
        let there = std::fs::read_to_string(HUGE_PAGES)?;
        ensure!(there.trim() == count.to_string(), "{there} huge pages");
        Ok(pages)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(HUGE_PAGES, "0");
    }
}
