// SPDX-License-Identifier: MIT

//! The file backend on a block device, here a loop device: verified through the disk, and the bytes
//! are on the other device.

use anyhow::{ensure, Result};

use crate::kit::{Direct, Fio, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let below = guest.loop_device(&guest.file("below.img"), 64 << 20)?;
    let disk = guest.disk("size=64M,bs=512")?;
    let _server = disk.serve(&format!("file:{}", below.path().display()))?;
    let options = ["rw=randrw", "bsrange=512-64k", "iodepth=16", "size=8M"];
    Fio::on(guest, disk.path(), &options).verify().run()?;

    let file = Direct::open(disk.path())?;
    file.write(32 << 20, &[0x6b; 4096])?;
    file.flush()?;
    let under = Direct::open(below.path())?.read(32 << 20, 4096)?;
    ensure!(under == [0x6b; 4096], "the other device has other bytes");
    Ok(())
}
