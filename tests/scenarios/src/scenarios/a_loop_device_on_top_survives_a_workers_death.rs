// SPDX-License-Identifier: MIT

//! A loop device over a disk: the disk's workers are killed while fio writes and verifies through it,
//! and nothing fails or comes out wrong.

use anyhow::{ensure, Result};

use super::dm_crypt_on_top_survives_a_workers_death::survive;
use crate::kit::{Guest, Layer, Supervise};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let layer = Layer::looped(guest, &disk.path())?;
    survive(guest, &layer, &[&supervisor])?;
    layer.down()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain().map(drop)
}
