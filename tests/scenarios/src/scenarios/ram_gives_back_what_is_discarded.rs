// SPDX-License-Identifier: MIT

//! The memory of a disk with discard shrinks by what is discarded or unmapped, and takes new data.
//! When the machine has none left, writing to such a place ends with "no space"; the worker lives,
//! what is there can be written, and once there is room again so can the rest.

use std::os::unix::fs::MetadataExt;

use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::{Direct, Guest};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 48 * MIB;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let shm = Shm::of(guest, 64)?;
    let disk = guest.disk("size=48M,discard,write_zeroes")?;
    let mut server = disk.serve("ram:holes")?;
    let space = || -> Result<u64> { Ok(std::fs::metadata("/dev/shm/abuse-holes")?.blocks() * 512) };
    ensure!(space()? == SIZE, "{} bytes were promised", space()?);
    let file = Direct::open(disk.path())?;
    file.write(0, &[1; MIB as usize])?;
    file.write(40 * MIB, &[1; MIB as usize])?;

    let blkdiscard = |flags: &str, length: &str| {
        let command = guest.command("blkdiscard").args([flags, "-l", length]);
        command.arg(disk.path()).ok()
    };
    blkdiscard("-fz", "40M")?;
    ensure!(
        space()? == SIZE,
        "zeroing gave {} bytes back",
        SIZE - space()?
    );
    ensure!(file.read(0, 4096)? == [0; 4096], "zeroed data are there");
    file.write(0, &[2; MIB as usize])?;
    blkdiscard("-f", "40M")?;
    ensure!(space()? == 8 * MIB, "{} bytes are left", space()?);
    ensure!(file.read(0, 4096)? == [0; 4096], "discarded data are there");
    ensure!(
        file.read(40 * MIB, 4096)? == [1; 4096],
        "other data are gone"
    );

    // A worker that comes finds the holes as they are.
    server.kill()?;
    let mut server = disk.serve("ram:holes")?;
    ensure!(space()? == 8 * MIB, "{} bytes are left", space()?);
    file.write(0, &[3; 4096])?;
    ensure!(file.read(0, 4096)? == [3; 4096]);

    shm.fill(guest)?;
    let error = file.write(8 * MIB, &[4; MIB as usize]).err();
    ensure!(
        error.as_ref().and_then(std::io::Error::raw_os_error) == Some(Errno::ENOSPC as i32),
        "a write without room: {error:?}"
    );
    ensure!(
        server.is_running()?,
        "the worker died: {}",
        server.stderr()?
    );
    ensure!(file.read(20 * MIB, 4096)? == [0; 4096]);
    file.write(0, &[5; 4096])?;
    shm.empty()?;
    file.write(8 * MIB, &[6; MIB as usize])?;
    ensure!(file.read(8 * MIB, 4096)? == [6; 4096]);
    Ok(())
}

/// /dev/shm, made small for a while.
struct Shm<'g>(&'g Guest);

const FILLER: &str = "/dev/shm/abuse-filler";

impl Shm<'_> {
    fn of(guest: &Guest, mib: u32) -> Result<Shm<'_>> {
        let size = format!("remount,size={mib}M");
        guest
            .command("mount")
            .args(["-o", &size, "/dev/shm"])
            .ok()?;
        Ok(Shm(guest))
    }

    /// Takes all that is left.
    fn fill(&self, guest: &Guest) -> Result<()> {
        let left = nix::sys::statvfs::statvfs("/dev/shm")?;
        let bytes = (left.blocks_free() * left.fragment_size()).to_string();
        guest
            .command("fallocate")
            .args(["-l", &bytes, FILLER])
            .ok()?;
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(FILLER)?)
    }
}

impl Drop for Shm<'_> {
    fn drop(&mut self) {
        let _ = self
            .0
            .command("mount")
            .args(["-o", "remount,size=50%", "/dev/shm"])
            .ok();
    }
}
