// SPDX-License-Identifier: MIT

//! A disk with four hardware queues, four workers and four writers: everything reads back.

use anyhow::{ensure, Result};

use crate::kit::{Fio, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M,queues=4,depth=32")?;
    let setup = disk.setup();
    let adjusted = setup.adjusted().contains(&"queues");
    ensure!(
        setup.queues == 4 || adjusted,
        "four queues became {} without a word",
        setup.queues
    );
    let there = std::fs::read_dir(format!("/sys/block/abuse{}/mq", disk.device().number()))?;
    ensure!(
        there.count() == setup.queues as usize && setup.queues > 1,
        "the block layer has another number of queues than {}",
        setup.queues
    );
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(disk.serve("ram:queues")?);
    }
    let options = [
        "rw=randrw",
        "bsrange=4k-64k",
        "iodepth=16",
        "numjobs=4",
        "size=8M",
        "offset_increment=16M",
    ];
    Fio::on(guest, disk.path(), &options).verify().run()?;
    Ok(())
}
