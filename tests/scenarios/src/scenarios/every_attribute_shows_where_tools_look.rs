// SPDX-License-Identifier: MIT

//! Each attribute of a set-up is what the block layer works with: it is in sysfs, and lsblk and
//! blockdev say the same. Three shapes that have little in common hold data.

use anyhow::{ensure, Context, Result};

use crate::kit::{Disk, Fio, Guest};

struct Shape {
    keys: &'static str,
    sysfs: &'static [(&'static str, &'static str)],
    /// LOG-SEC PHY-SEC MIN-IO OPT-IO ROTA RO DISC-GRAN DISC-MAX SIZE
    lsblk: &'static str,
    /// --getss --getpbsz --getiomin --getioopt --getro --getsize64
    blockdev: &'static str,
    queues: usize,
}

const SHAPES: [Shape; 3] = [
    Shape {
        keys: "size=64M",
        sysfs: &[
            ("queue/logical_block_size", "4096"),
            ("queue/max_hw_sectors_kb", "1024"),
            ("queue/max_sectors_kb", "1024"),
            ("queue/max_segments", "256"),
            ("queue/nr_requests", "128"),
            ("queue/rotational", "0"),
            ("queue/write_cache", "write back"),
            ("queue/fua", "1"),
            ("queue/discard_max_hw_bytes", "0"),
            ("queue/write_zeroes_max_bytes", "0"),
            ("ro", "0"),
        ],
        lsblk: "4096 4096 4096 0 0 0 0 0 67108864",
        blockdev: "4096 4096 4096 0 0 67108864",
        queues: 1,
    },
    Shape {
        keys:
            "size=48M,bs=512,physical=8192,io_min=16K,io_opt=128K,max_bytes=8M,depth=33,queues=2,\
               segments=77,rotational,write_through,discard,discard_granularity=32K,\
               max_discard=1M,write_zeroes",
        sysfs: &[
            ("queue/logical_block_size", "512"),
            ("queue/physical_block_size", "8192"),
            ("queue/minimum_io_size", "16384"),
            ("queue/optimal_io_size", "131072"),
            ("queue/max_hw_sectors_kb", "8192"),
            ("queue/max_sectors_kb", "8192"),
            ("queue/max_segments", "77"),
            ("queue/nr_requests", "33"),
            ("queue/rotational", "1"),
            ("queue/write_cache", "write through"),
            ("queue/fua", "0"),
            ("queue/discard_granularity", "32768"),
            ("queue/discard_max_hw_bytes", "1048576"),
            ("queue/write_zeroes_max_bytes", "1048576"),
        ],
        lsblk: "512 8192 16384 131072 1 0 32768 1048576 50331648",
        blockdev: "512 8192 16384 131072 0 50331648",
        queues: 2,
    },
    Shape {
        keys: "size=32M,bs=2K,max_bytes=16M,depth=4096,segments=2,nofua,discard",
        sysfs: &[
            ("queue/logical_block_size", "2048"),
            ("queue/physical_block_size", "2048"),
            ("queue/max_hw_sectors_kb", "16384"),
            ("queue/max_sectors_kb", "16384"),
            ("queue/max_segments", "2"),
            ("queue/nr_requests", "4096"),
            ("queue/write_cache", "write back"),
            ("queue/fua", "0"),
            ("queue/discard_granularity", "2048"),
        ],
        lsblk: "2048 2048 2048 0 0 0 2048 1073741824 33554432",
        blockdev: "2048 2048 2048 0 0 33554432",
        queues: 1,
    },
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    for (number, shape) in SHAPES.iter().enumerate() {
        let disk = guest.disk(shape.keys)?;
        shows(guest, &disk, shape).context(shape.keys)?;
        let _server = disk.serve(&format!("ram:shape-{number}"))?;
        let block = disk.setup().logical_block;
        let mixed = format!("bsrange={block}-256k");
        let options = ["rw=randrw", "iodepth=16", "size=6M", &mixed];
        Fio::on(guest, disk.path(), &options).verify().run()?;
    }
    Ok(())
}

fn shows(guest: &Guest, disk: &Disk<'_>, shape: &Shape) -> Result<()> {
    disk.check_sysfs(shape.sysfs)?;
    let queues =
        std::fs::read_dir(format!("/sys/block/abuse{}/mq", disk.device().number()))?.count();
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(queues == shape.queues.min(cpus), "{queues} hardware queues");
    let columns = "LOG-SEC,PHY-SEC,MIN-IO,OPT-IO,ROTA,RO,DISC-GRAN,DISC-MAX,SIZE";
    let lsblk = guest
        .command("lsblk")
        .args(["--bytes", "--nodeps", "--noheadings", "-o", columns]);
    let said = lsblk.arg(disk.path()).ok()?;
    ensure!(one_space(&said) == shape.lsblk, "lsblk: {said}");
    let blockdev = guest.command("blockdev").args([
        "--getss",
        "--getpbsz",
        "--getiomin",
        "--getioopt",
        "--getro",
        "--getsize64",
    ]);
    let said = blockdev.arg(disk.path()).ok()?;
    ensure!(one_space(&said) == shape.blockdev, "blockdev: {said}");
    Ok(())
}

fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
