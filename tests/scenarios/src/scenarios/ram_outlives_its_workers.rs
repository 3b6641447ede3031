// SPDX-License-Identifier: MIT

//! The ram backend's bytes live in named memory: every worker may go, and those that come later
//! find what was written. Another name is another memory.

use anyhow::{ensure, Result};

use crate::kit::{Direct, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let mut server = disk.serve("ram:outlives")?;
    file.write(1 << 20, &[0x99; 65536])?;
    server.kill()?;
    let mut server = disk.serve("ram:outlives")?;
    ensure!(
        file.read(1 << 20, 65536)? == [0x99; 65536],
        "it was forgotten"
    );
    server.kill()?;
    let _other = disk.serve("ram:another")?;
    ensure!(
        file.read(1 << 20, 65536)? == [0; 65536],
        "it is the same memory"
    );
    Ok(())
}
