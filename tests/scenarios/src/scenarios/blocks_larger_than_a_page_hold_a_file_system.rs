// SPDX-License-Identifier: MIT

//! A disk whose blocks are larger than a page, up to 64 KiB, holds data and a file system with
//! blocks of that size; nothing smaller than a block ever reaches its worker.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::{Disk, Fio, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    for (block, make, check) in [
        // The largest sector xfs knows.
        (32768, "mkfs.xfs -q -f -b size=32k", "xfs_repair -n"),
        (65536, "mkfs.ext4 -q -F -b 65536", "e2fsck -fn"),
    ] {
        let disk = guest.disk(&format!("size=384M,bs={block},discard"))?;
        let backing = guest.file(&format!("blocks-{block}"));
        let _server = disk.serve(&format!("file:{},create", backing.display()))?;
        let blocks = format!("bs={block}");
        let options = ["rw=randwrite", "iodepth=8", "size=8M", &blocks];
        Fio::on(guest, disk.path(), &options).verify().run()?;
        whole_blocks(&disk, block)?;

        let (make, check): (Vec<_>, Vec<_>) =
            (make.split(' ').collect(), check.split(' ').collect());
        guest
            .command(make[0])
            .args(&make[1..])
            .arg(disk.path())
            .ok()?;
        let mount = guest.mount_with(&disk.path(), "discard")?;
        for number in 0..20 {
            let data = vec![number as u8; 5000 * (number + 1)];
            std::fs::write(mount.path().join(format!("file-{number}")), data)?;
        }
        mount.unmount()?;
        let mount = guest.mount(disk.path())?;
        for number in 0..20 {
            let data = std::fs::read(mount.path().join(format!("file-{number}")))?;
            ensure!(
                data == vec![number as u8; 5000 * (number + 1)],
                "file {number}"
            );
        }
        mount.unmount_and_check(&check)?;
        whole_blocks(&disk, block)?;
        disk.device().reset(true, Some(PATIENCE))?;
    }
    Ok(())
}

fn whole_blocks(disk: &Disk<'_>, block: u64) -> Result<()> {
    let status = disk.status()?;
    ensure!(status.errors == 0, "requests failed: {status:?}");
    for operation in [Operation::Read, Operation::Write] {
        let counts = status.counts(operation);
        ensure!(
            counts.done > 0 && counts.bytes >= counts.done * block && counts.bytes % block == 0,
            "{operation} of parts of a block: {counts:?}"
        );
    }
    Ok(())
}
