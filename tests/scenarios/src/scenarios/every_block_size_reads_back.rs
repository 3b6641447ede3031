// SPDX-License-Identifier: MIT

//! Requests of every size from 512 bytes to 1 MiB carry their data whole.
//!
//! On a disk with blocks of 512 bytes, each size is written as one request and read back as one,
//! then everything at once in other pieces. fio does the same with sizes mixed at random.

use anyhow::{ensure, Result};

use abuse::Operation;

use crate::kit::{Direct, Fio, Guest};

const SMALLEST: usize = 512;
const LARGEST: usize = 1 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=32M,bs=512")?;
    let _server = disk.serve("ram:sizes")?;
    let file = Direct::open(disk.path())?;

    let sizes = || std::iter::successors(Some(SMALLEST), |size| Some(size * 2)).take(12);
    ensure!(sizes().last() == Some(LARGEST), "the sizes end elsewhere");
    let mut all = Vec::new();
    for (number, size) in sizes().enumerate() {
        let before = disk.counts(Operation::Write)?.done;
        let data = pattern(number as u64 + 1, size);
        let offset = all.len() as u64;
        file.write(offset, &data)?;
        let requests = disk.counts(Operation::Write)?.done - before;
        ensure!(requests == 1, "{size} bytes went in {requests} requests");
        ensure!(
            file.read(offset, size)? == data,
            "{size} bytes came back wrong"
        );
        all.extend(data);
    }
    ensure!(file.read(0, all.len())? == all, "read at once they differ");

    let options = [
        "rw=randrw",
        "bsrange=512-1M",
        "iodepth=16",
        "size=16M",
        "offset=8M",
    ];
    Fio::on(guest, disk.path(), &options).verify().run()?;
    Ok(())
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(seed: u64, size: usize) -> Vec<u8> {
    let words = (0..size as u64 / 8).map(|at| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed));
    words.flat_map(u64::to_le_bytes).collect()
}
