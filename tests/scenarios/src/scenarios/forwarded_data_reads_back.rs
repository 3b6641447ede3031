// SPDX-License-Identifier: MIT

//! `abusectl server --forward` moves no data itself, and what is written reads back, wherever the
//! backing file is: on ext4 and on a block device, past the page cache and through it, and in memory;
//! in small and large requests, and in requests that the block layer put together. At last a file
//! system is on it, and is whole.

use anyhow::{ensure, Result};

use crate::kit::{Direct, Fio, Guest};

const BYTES: u64 = 64 << 20;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let below = guest.loop_device(&guest.file("below.img"), BYTES)?;
    let memory = std::path::PathBuf::from("/dev/shm/forwarded.img");
    let file = guest.file("disk.img");
    for (name, place, option) in [
        ("a file, direct", &file, "create,direct"),
        ("a file, buffered", &file, "buffered"),
        ("a device, direct", &below.path().to_path_buf(), "direct"),
        (
            "a device, buffered",
            &below.path().to_path_buf(),
            "buffered",
        ),
        ("memory", &memory, "create"),
    ] {
        let disk = guest.disk("size=64M,bs=512,discard,write_zeroes")?;
        let backend = format!("file:{},{option}", place.display());
        let server = disk.serve_with(&backend, &["--forward"])?;
        let mixed = ["rw=randrw", "bsrange=512-64k", "iodepth=16", "size=1M"];
        Fio::on(guest, disk.path(), &mixed).verify().run()?;
        // Neighbours that come together become one request of several parts.
        let batches = [
            "rw=write",
            "bs=4k",
            "iodepth=32",
            "iodepth_batch=16",
            "size=1M",
        ];
        let batches = Fio::on(guest, disk.path(), &batches);
        batches.verify().run()?;
        let direct = Direct::open(disk.path())?;
        direct.write(BYTES / 2, &[0x6b; 4096])?;
        direct.flush()?;
        let status = disk.status()?;
        ensure!(
            status.errors == 0 && status.forwarding == 0,
            "{name}: {status:?}"
        );
        drop(server);
        let mut there = [0; 4096];
        std::os::unix::fs::FileExt::read_exact_at(
            &std::fs::File::open(place)?,
            &mut there,
            BYTES / 2,
        )?;
        ensure!(there == [0x6b; 4096], "{name}: other bytes are there");
        if name == "a file, buffered" {
            holds_a_file_system(guest, &backend)?;
        }
        disk.device().reset(true, Some(crate::kit::PATIENCE))?;
    }
    std::fs::remove_file(memory)?;
    Ok(())
}

fn holds_a_file_system(guest: &Guest, backend: &str) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let _server = disk.serve_with(backend, &["--forward", "--threads", "2"])?;
    guest.command("mkfs.ext4").arg("-q").arg(disk.path()).ok()?;
    let mount = guest.mount(disk.path())?;
    let job = [
        "rw=randrw",
        "bsrange=4k-64k",
        "direct=0",
        "size=3M",
        "fsync=32",
    ];
    Fio::on(guest, mount.path().join("data"), &job)
        .verify()
        .run()?;
    mount.unmount()?;
    guest.command("e2fsck").arg("-fn").arg(disk.path()).ok()?;
    ensure!(disk.status()?.errors == 0, "{:?}", disk.status()?);
    disk.device().reset(true, Some(crate::kit::PATIENCE))?;
    Ok(())
}
