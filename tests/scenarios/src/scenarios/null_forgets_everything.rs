// SPDX-License-Identifier: MIT

//! The null backend takes every write, and every read is zeros.

use anyhow::{ensure, Result};

use crate::kit::{Direct, Fio, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=1T")?;
    let _server = disk.serve_with("null", &["--threads", "2"])?;
    let file = Direct::open(disk.path())?;
    file.write(1 << 39, &[0x12; 8192])?;
    file.flush()?;
    ensure!(file.read(1 << 39, 8192)? == [0; 8192], "it remembers");
    let options = ["rw=randrw", "bs=4k", "iodepth=64", "number_ios=4000"];
    Fio::on(guest, disk.path(), &options).run()?;
    Ok(())
}
