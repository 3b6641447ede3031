// SPDX-License-Identifier: MIT

//! SET_STATUS with RECONNECT succeeds on a disk that is there: read-only or not is taken over, what
//! was taken is offered again, and nothing else changes: another size, block or queue is refused. In
//! 2009 it never succeeded.

use anyhow::{ensure, Context, Result};

use crate::kit::raw::{Memory, Raw};
use crate::kit::v1::Client;
use crate::kit::{Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let client = Client::new(guest)?;
    client.set_up(&["16777216", "512", "64"])?;
    let before = client.device().status()?;
    let file = Direct::open(client.device().disk_path())?;
    let read = file.start_read(0, 4096);
    let node = client.device().control_path().display().to_string();
    let (worker, arena) = (Raw::open(&node)?, Memory::new(1 << 20)?);
    let taken = worker.take_one(&arena)?;

    client.expect("setup", &["16777216", "512", "0", "ro", "reconnect"], "ok")?;
    let after = client.device().status()?;
    let mut same = after.setup.clone().context("no disk")?;
    ensure!(same.read_only, "it is not read-only");
    ensure!(after.epoch == before.epoch + 1, "epoch {}", after.epoch);
    ensure!((after.queued, after.taken) == (1, 0), "{after:?}");
    same.read_only = false;
    ensure!(
        Some(&same) == before.setup.as_ref(),
        "{same:?} was {:?}",
        before.setup
    );
    ensure!(
        worker.finish(&taken).is_err(),
        "an id outlived the reconnect"
    );
    ensure!(
        file.write(0, &[1; 512]).is_err(),
        "a read-only disk was written"
    );

    for [bytes, block, queue] in [
        ["33554432", "512", "64"],
        ["16777216", "4096", "64"],
        ["16777216", "512", "9"],
        ["16777216", "512", "65"],
        ["16777216", "512", "513"],
    ] {
        client.expect("setup", &[bytes, block, queue, "reconnect"], "EINVAL")?;
    }
    client.expect("setup", &["16777216", "512", "64"], "EINVAL")?;
    client.expect("setup", &["16777216", "512", "64", "reconnect"], "ok")?;
    ensure!(client.device().status()?.setup == before.setup);
    let _server = client.serve(&[])?;
    read.finish(PATIENCE)??;
    file.write(0, &[1; 512])?;
    ensure!(file.read(0, 512)? == [1; 512]);
    client.device().reset(true, Some(PATIENCE))?;
    Ok(())
}
