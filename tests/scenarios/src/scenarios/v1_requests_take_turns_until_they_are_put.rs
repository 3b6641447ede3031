// SPDX-License-Identifier: MIT

//! GET_BIO shows one request after the other and begins again; an empty queue answers ENOMSG.
//!
//! Three reads wait. Six GETs show each of them twice, in turn, and leave them where they are; a GET
//! without room for vectors gets the header alone. A request that a v2 worker took is shown only when
//! no other is left. With nothing pending the header comes back with zeros and ENOMSG.

use anyhow::{ensure, Result};

use crate::kit::raw::{Memory, Raw};
use crate::kit::v1::Client;
use crate::kit::{wait_until, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let client = Client::on(guest, disk.device().clone());
    let nothing = [
        ("get", "ENOMSG"),
        ("id", "0"),
        ("vec_count", "0"),
        ("transfer_address", "0"),
    ];
    client.ask("get", &[])?.are(&nothing)?;

    let file = Direct::open(disk.path())?;
    let mut reads = Vec::new();
    for place in 0..3 {
        reads.push(file.start_read(place << 20, 8192));
        let come = place as u32 + 1;
        wait_until("a read to come", PATIENCE, || {
            disk.status().is_ok_and(|status| status.queued == come)
        })?;
    }
    let mut shown = Vec::new();
    for _ in 0..6 {
        let next = client.ask("get", &[])?;
        let fine = [
            ("get", "ok"),
            ("command", "0"),
            ("bytes", "8192"),
            ("beyond", "clean"),
        ];
        next.are(&fine)?;
        shown.push((next.number("sector")?, next.number("id")?));
    }
    let sectors: Vec<u64> = shown.iter().map(|(sector, _)| *sector).collect();
    ensure!(sectors == [0, 2048, 4096, 0, 2048, 4096], "{sectors:?}");
    ensure!(
        shown[..3] == shown[3..],
        "a shown request has another id: {shown:?}"
    );
    ensure!(disk.status()?.queued == 3, "showing a request took it");

    let header = client.ask("get", &["header"])?;
    header.are(&[
        ("get", "ok"),
        ("sector", "0"),
        ("bytes", "0"),
        ("transfer_address", "0"),
    ])?;
    ensure!(header.number("vec_count")? > 0, "{header:?}");

    let (worker, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let taken = worker.take_one(&arena)?;
    ensure!(taken.sector == 0, "{taken:?}");
    let mut rest = Vec::new();
    for _ in 0..4 {
        rest.push(client.ask("get", &[])?.number("sector")?);
    }
    ensure!(
        !rest.contains(&0),
        "a claimed request came before others: {rest:?}"
    );
    client.ask("try", &["ok"])?.are(&[("ok", "ok")])?;
    client.ask("try", &["ok"])?.are(&[("ok", "ok")])?;
    // Now the claimed one is shown, and whoever puts first wins.
    client.ask("try", &["ok"])?.are(&[("ok", "ok")])?;
    ensure!(worker.finish(&taken).is_err(), "a request ended twice");
    for read in reads {
        read.finish(PATIENCE)??;
    }
    client.ask("get", &[])?.are(&nothing)?;
    // Clients of 2009 take nothing, and so more was done than taken.
    client.device().reset(true, Some(PATIENCE))?;
    Ok(())
}
