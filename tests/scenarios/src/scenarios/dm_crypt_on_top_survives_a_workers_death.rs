// SPDX-License-Identifier: MIT

//! dm-crypt over a disk: its workers are killed while fio writes and verifies through it, and nothing
//! fails or comes out wrong; and what is below is not what was written.

use anyhow::{ensure, Result};

use crate::kit::{Direct, Fio, Guest, Layer, Supervise, Supervisor};

const KILLS: usize = 3;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let layer = Layer::crypt(guest, &disk.path())?;
    survive(guest, &layer, &[&supervisor])?;
    Direct::open(layer.path())?.write(0, &[0; 4096])?;
    let below = Direct::open(disk.path())?.read(0, 4096)?;
    ensure!(below != [0; 4096], "it is not encrypted");
    layer.down()?;
    ensure!(disk.status()?.errors == 0, "requests failed");
    supervisor.drain().map(drop)
}

/// fio verifies through the layer while the workers below it are killed, of one disk after the other.
pub(super) fn survive(
    guest: &Guest,
    layer: &Layer<'_>,
    supervisors: &[&Supervisor<'_>],
) -> Result<()> {
    let mut kills = 0;
    while kills < KILLS {
        let job = ["rw=randwrite", "bsrange=4k-64k", "iodepth=16", "size=24M"];
        let mut load = Fio::on(guest, layer.path(), &job).verify().start()?;
        while kills < KILLS && load.process.is_running()? {
            std::thread::sleep(std::time::Duration::from_millis(250));
            let supervisor = supervisors[kills % supervisors.len()];
            let victim = supervisor.workers()[0];
            if supervisor.shoot(&victim)?.requeued > 0 {
                kills += 1;
            }
        }
        load.finish()?;
    }
    Ok(())
}
