// SPDX-License-Identifier: MIT

//! PUT_BIO looks at things in the order of 2009, and a refused PUT leaves the request where it was.
//!
//! A read waits. Every wrong PUT gets its errno and changes nothing: then a right one completes the
//! read. MEDIA_FAILURE ends one request with EIO, DEVICE_FAILURE all of them, and the disk goes on.
//! When several things are wrong, the first in the order decides.

use abuse::abi::{self, XfrHdr};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, Raw, NOWHERE};
use crate::kit::v1::Client;
use crate::kit::{wait_until, Direct, Disk, Guest, PATIENCE};

const WRONG: [(&str, &str); 8] = [
    ("null", "EINVAL"),
    ("header", "EFAULT"),
    ("id", "ENOMSG"),
    ("sector", "EINVAL"),
    ("count", "EINVAL"),
    ("command", "EINVAL"),
    ("vectors", "EFAULT"),
    ("data", "EFAULT"),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let file = Direct::open(disk.path())?;
    for client in [
        Client::on(guest, disk.device().clone()),
        Client::on_32_bits(guest, disk.device().clone()),
    ] {
        let read = file.start_read(4096, 8192);
        pending(&disk, 1)?;
        for (wrong, errno) in WRONG {
            client.ask("try", &[wrong])?.are(&[(wrong, errno)])?;
            ensure!(disk.status()?.queued == 1, "{wrong} took the request");
        }
        client.ask("try", &["ok"])?.are(&[("ok", "ok")])?;
        ensure!(read.finish(PATIENCE)??.iter().all(|&byte| byte == 0));

        let write = file.start_write(4096, vec![7; 8192]);
        pending(&disk, 1)?;
        client.ask("try", &["data"])?.are(&[("data", "EFAULT")])?;
        client.ask("try", &["ok"])?.are(&[("ok", "ok")])?;
        write.finish(PATIENCE)??;

        let both = [file.start_read(0, 512), file.start_read(8192, 512)];
        pending(&disk, 2)?;
        client.ask("try", &["media"])?.are(&[("media", "ok")])?;
        pending(&disk, 1)?;
        client.ask("try", &["device"])?.are(&[("device", "ok")])?;
        pending(&disk, 0)?;
        for read in both {
            let error = read
                .finish(PATIENCE)?
                .err()
                .and_then(|error| error.raw_os_error());
            ensure!(error == Some(Errno::EIO as i32), "{error:?}");
        }
        client.ask("try", &["device"])?.are(&[("device", "ok")])?;
    }

    // Which of two mistakes is found first.
    let read = file.start_read(0, 512);
    pending(&disk, 1)?;
    let raw = Raw::open(&disk.control())?;
    let mut shown = XfrHdr::default();
    raw.call(abi::GET_BIO, &mut shown)?;
    let put = |change: fn(&mut XfrHdr)| {
        let mut header = shown;
        header.transfer_address = NOWHERE;
        change(&mut header);
        raw.call(abi::PUT_BIO, &mut header)
    };
    expect(
        "id and sector",
        put(|it| (it.id, it.sector) = (1, 1)),
        Errno::ENOMSG,
    )?;
    let sector = put(|it| (it.result, it.sector) = (abi::V1_MEDIA_FAILURE, 1));
    expect("sector and media failure", sector, Errno::EINVAL)?;
    expect("vectors nowhere", put(|_| ()), Errno::EFAULT)?;
    ensure!(disk.status()?.queued == 1, "a refused PUT took the request");
    put(|it| it.result = abi::V1_MEDIA_FAILURE)?;
    ensure!(read.finish(PATIENCE)?.is_err());
    put(|it| (it.result, it.id) = (abi::V1_DEVICE_FAILURE, 0))?;
    // Clients of 2009 take nothing, and so more was done than taken.
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

fn pending(disk: &Disk<'_>, number: u32) -> Result<()> {
    wait_until("the requests", PATIENCE, || {
        disk.status().is_ok_and(|status| status.queued == number)
    })
}
