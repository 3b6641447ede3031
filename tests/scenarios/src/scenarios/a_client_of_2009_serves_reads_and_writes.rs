// SPDX-License-Identifier: MIT

//! A client that knows only the six calls of 2009 serves a disk: reads, writes and flushes.
//!
//! It sets the device up with SET_STATUS and serves it from memory through poll, GET_BIO and PUT_BIO,
//! on a read-only descriptor as its kind did; fio verifies, and dd and cmp look at the bytes. Then the
//! same with a disk that v2 set up with a volatile cache, so that flushes come by, and with two clients
//! at once, which are shown the same requests.

use anyhow::{ensure, Result};

use crate::kit::v1::Client;
use crate::kit::{Fio, Guest, PATIENCE};
use abuse::{Operation, Setup};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let client = Client::new(guest)?;
    client.set_up(&["33554432", "512", "64"])?;
    let disk = client.device().disk_path();
    let mut server = client.serve(&[])?;
    let job = ["rw=randwrite", "bs=4k", "size=2M", "iodepth=16"];
    Fio::on(guest, &disk, &job).verify().run()?;
    let job = ["rw=write", "bs=512k", "size=8M", "iodepth=4"];
    Fio::on(guest, &disk, &job).verify().run()?;

    let (sent, back) = (guest.file("sent"), guest.file("back"));
    let copy = |from: &str, to: &str, more: &[&str]| {
        let words = ["bs=64k", "count=32"];
        let ends = [format!("if={from}"), format!("of={to}")];
        guest.command("dd").args(ends).args(words).args(more).ok()
    };
    let (sent, back) = (sent.display().to_string(), back.display().to_string());
    let node = disk.display().to_string();
    copy("/dev/urandom", &sent, &[])?;
    copy(&sent, &node, &["oflag=direct"])?;
    copy(&node, &back, &["iflag=direct"])?;
    guest.command("cmp").args([&sent, &back]).ok()?;
    ensure!(server.is_running()?, "the client ended");
    let status = client.device().status()?;
    ensure!(status.errors == 0, "{} errors", status.errors);
    client.expect("reset", &[], "ok")?;

    let cached = guest.disk_of(&Setup::new(16 << 20))?;
    let client = Client::on(guest, cached.device().clone());
    let memory = guest.file("memory").display().to_string();
    let _servers = [
        client.serve(&["0", &memory])?,
        client.serve(&["0", &memory])?,
    ];
    let job = ["rw=randwrite", "bs=4k", "size=1M", "iodepth=8", "fsync=16"];
    Fio::on(guest, cached.path(), &job).verify().run()?;
    let flushes = cached.counts(Operation::Flush)?;
    ensure!(flushes.done > 0 && flushes.failed == 0, "{flushes:?}");
    // Clients of 2009 take nothing, and so more was done than taken.
    client.device().reset(true, Some(PATIENCE))?;
    Ok(())
}
