// SPDX-License-Identifier: MIT

//! Of a disk that has every operation a client of 2009 is shown what it knows: reads, plain writes
//! and flushes. A discard, a zeroing, an erase and a durable write are never offered to it; they
//! wait for a worker that knows them.

use abuse::Operation;
use anyhow::{ensure, Result};

use crate::kit::v1::Client;
use crate::kit::{Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,discard,write_zeroes,secure_erase")?;
    let client = Client::on(guest, disk.device().clone());
    let file = Direct::open_durable(disk.path())?;
    let write = file.start_write(4096, vec![1; 4096]);
    let commands = ["-f", "-fz", "-fs"].map(|flags| {
        let command = guest.command("blkdiscard").args([flags, "-l", "1M"]);
        command.arg(disk.path()).spawn()
    });
    // blkdiscard may want the disk for itself: they come one after the other.
    disk.wait_status("a durable write and a range", |status| status.queued >= 2)?;
    let mut worker = disk.puppet()?;
    let mut seen = Vec::new();
    let mut hidden = 0;
    while !seen.contains(&Operation::SecureErase)
        || !seen.contains(&Operation::WriteZeroes)
        || !seen.contains(&Operation::Discard)
        || !seen.contains(&Operation::Write)
    {
        hidden += u32::from(sees_nothing(&client)? && disk.status()?.queued > 0);
        let held = worker.take_one()?;
        sees_nothing(&client)?;
        ensure!(
            held.operation != Operation::Write || held.fua,
            "a plain write was hidden"
        );
        ensure!(worker.put(&held, Answer::Done)?.is_none(), "refused");
        seen.push(held.operation);
    }
    ensure!(hidden > 0, "nothing was hidden from it");
    write.finish(PATIENCE)??;
    for command in commands {
        let output = command?.finish(PATIENCE)?;
        ensure!(output.status.success(), "{}", output.stderr);
    }

    // What it knows it is shown, with all that is hidden beside it.
    let plain = Direct::open(disk.path())?;
    let read = plain.start_read(0, 4096);
    disk.wait_queued(1)?;
    client
        .ask("get", &[])?
        .are(&[("get", "ok"), ("command", "0")])?;
    let held = worker.take_one()?;
    ensure!(worker.put(&held, Answer::Done)?.is_none(), "refused");
    read.finish(PATIENCE)??;
    Ok(())
}

/// Whether it is shown nothing; a flush is all that it may be shown.
fn sees_nothing(client: &Client<'_>) -> Result<bool> {
    let shown = client.ask("get", &[])?;
    let nothing = shown.get("get")? == "ENOMSG";
    ensure!(
        nothing || shown.get("command")? == "2",
        "it is shown {shown:?}"
    );
    Ok(nothing)
}
