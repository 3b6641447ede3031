// SPDX-License-Identifier: MIT

//! A 32-bit program gets and sets the status, whose struct is shorter there, and serves with the calls
//! of 2009 and with those of v2.

use anyhow::{ensure, Result};

use crate::kit::v1::Client;
use crate::kit::{Fio, Guest};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let client = Client::of_32_bits(guest)?;
    let empty = client.ask("status", &[])?;
    empty.are(&[
        ("struct", "44"),
        ("device", "0"),
        ("size", "0"),
        ("max_vecs", "256"),
    ])?;

    client.set_up(&["8589934592", "4096", "7", "ro"])?;
    let number = client.device().number().to_string();
    let told = [
        ("struct", "44"),
        ("device", "0"),
        ("size", "8589934592"),
        ("number", number.as_str()),
        ("flags", "1"),
        ("blocksize", "4096"),
        ("max_queue", "7"),
        ("queue_size", "0"),
        ("errors", "0"),
        ("max_vecs", "256"),
    ];
    client.ask("status", &[])?.are(&told)?;
    // A 64-bit client is told the same.
    let other = Client::on(guest, client.device().clone());
    let longer = other.ask("status", &[])?;
    longer.are(&told[1..])?;
    longer.are(&[("struct", "48")])?;
    client.expect("reset", &[], "ok")?;

    client.set_up(&["16777216", "512", "64"])?;
    let disk = client.device().disk_path();
    let mut server = client.serve(&[])?;
    let job = ["rw=randwrite", "bs=4k", "size=1M", "iodepth=8"];
    Fio::on(guest, &disk, &job).verify().run()?;
    ensure!(server.is_running()?, "the 32-bit client ended");
    client.expect("reset", &[], "ok")?;

    let disk = guest.disk("size=64M")?;
    let mut server = guest
        .command("memory_disk-32")
        .arg(disk.control())
        .spawn()?;
    let job = ["rw=randwrite", "bs=16k", "size=4M", "iodepth=16"];
    Fio::on(guest, disk.path(), &job).verify().run()?;
    ensure!(server.is_running()?, "the 32-bit worker of v2 ended");
    Ok(())
}
