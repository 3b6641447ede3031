// SPDX-License-Identifier: MIT

//! A file that takes space only where it is written holds a disk of 4 GiB: bytes written to the
//! disk are in the file at the same place, before and after the worker is replaced.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use anyhow::{ensure, Result};

use crate::kit::{Direct, Fio, Guest};

/// Beyond what 32 bits can count.
const FAR: u64 = (4 << 30) - 65536;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=4G")?;
    let image = guest.file("sparse.img");
    let backend = format!("file:{},create", image.display());
    let mut server = disk.serve(&backend)?;
    let file = Direct::open(disk.path())?;
    file.write(FAR, &[0x3c; 65536])?;
    file.write(0, &[0x3d; 4096])?;
    file.flush()?;

    let backing = File::open(&image)?;
    let mut bytes = vec![0; 65536];
    backing.read_exact_at(&mut bytes, FAR)?;
    ensure!(
        bytes == [0x3c; 65536],
        "the file has other bytes at the end"
    );
    let found = backing.metadata()?;
    ensure!(
        found.len() == 4 << 30 && found.blocks() * 512 < 1 << 20,
        "{} bytes, {} of them allocated",
        found.len(),
        found.blocks() * 512
    );

    server.kill()?;
    let _server = disk.serve(&backend)?;
    ensure!(
        file.read(FAR, 65536)? == [0x3c; 65536],
        "forgotten at the end"
    );
    ensure!(file.read(1 << 30, 4096)? == [0; 4096], "a hole is not zero");
    let options = [
        "rw=randrw",
        "bsrange=4k-128k",
        "iodepth=16",
        "size=8M",
        "offset=1G",
    ];
    Fio::on(guest, disk.path(), &options).verify().run()?;
    Ok(())
}
