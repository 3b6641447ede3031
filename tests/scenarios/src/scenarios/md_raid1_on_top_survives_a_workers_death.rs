// SPDX-License-Identifier: MIT

//! A mirror of two disks: workers of the one and of the other are killed while fio writes and verifies
//! through it; no leg is lost, nothing fails, and both legs have the same bytes in the end.

use std::fs;

use anyhow::{ensure, Result};

use super::dm_crypt_on_top_survives_a_workers_death::survive;
use crate::kit::{Direct, Guest, Layer, Supervise};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disks = [guest.disk("size=64M")?, guest.disk("size=64M")?];
    let backing =
        |leg: usize| format!("file:{},create", guest.file(&format!("leg{leg}")).display());
    let supervisors = [
        Supervise::new(guest, &disks[0], 1, &backing(0)).start()?,
        Supervise::new(guest, &disks[1], 1, &backing(1)).start()?,
    ];
    let paths = [disks[0].path(), disks[1].path()];
    let layer = Layer::mirror(guest, [&paths[0], &paths[1]])?;
    survive(guest, &layer, &[&supervisors[0], &supervisors[1]])?;
    let stat = fs::read_to_string("/proc/mdstat")?;
    ensure!(stat.contains("[2/2] [UU]"), "a leg was lost: {stat}");
    layer.down()?;
    // Behind the superblocks.
    let legs = [Direct::open(&paths[0])?, Direct::open(&paths[1])?];
    for place in 0..8 {
        let at = (4 << 20) + place * (1 << 20);
        ensure!(
            legs[0].read(at, 1 << 20)? == legs[1].read(at, 1 << 20)?,
            "the legs differ within a mebibyte of {at}"
        );
    }
    for (disk, supervisor) in disks.iter().zip(supervisors) {
        ensure!(disk.status()?.errors == 0, "requests failed");
        supervisor.drain()?;
    }
    Ok(())
}
