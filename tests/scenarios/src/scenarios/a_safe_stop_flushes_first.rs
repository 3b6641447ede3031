// SPDX-License-Identifier: MIT

//! An unforced `abusectl reset` or `remove` has what was written made durable before the disk goes. Where
//! nobody can do that it is refused, with the reason and what `--force` would lose, and nothing has
//! happened; a disk that was never written to, or was flushed since, needs nobody.

use abuse::{Operation, State};
use anyhow::{ensure, Result};

use crate::kit::{wait_for, Answer, Direct, Disk, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    for verb in ["reset", "remove"] {
        flushes(guest, verb)?;
        cannot(guest, verb)?;
    }
    let disk = written(guest)?;
    let number = disk.device().number().to_string();
    // The worker refuses to flush.
    let mut puppet = disk.puppet()?;
    let stop = guest.command("abusectl").args(["reset", &number]).spawn()?;
    let flush = puppet.take_one()?;
    ensure!(flush.operation == Operation::Flush, "{flush:?}");
    ensure!(puppet.put(&flush, Answer::Error)?.is_none());
    let said = stop.finish(PATIENCE)?;
    ensure!(
        said.status.code() == Some(5) && said.stderr.contains("Input/output error"),
        "{said:?}"
    );
    ensure!(disk.status()?.state == State::Live);
    puppet.kill()?;
    guest.abusectl(0, &["reset", &number, "--force"])?;
    Ok(())
}

/// A disk of a device of its own, with something written to it and not flushed.
fn written(guest: &Guest) -> Result<Disk<'_>> {
    let disk = guest.disk_on(guest.add()?, &abuse::Setup::new(1 << 20))?;
    let server = disk.serve("ram:safe-stop")?;
    Direct::open(disk.path())?.write(0, &[1; 4096])?;
    disk.wait_idle(PATIENCE)?;
    let flushes = disk.counts(Operation::Flush)?.done;
    ensure!(flushes == 0, "{flushes} flushes came by themselves");
    drop(server);
    Ok(disk)
}

fn flushes(guest: &Guest, verb: &str) -> Result<()> {
    let disk = guest.disk_on(guest.add()?, &abuse::Setup::new(1 << 20))?;
    let number = disk.device().number().to_string();
    guest.abusectl(0, &["reset", &number])?;

    let disk = written(guest)?;
    let server = disk.serve("ram:safe-stop")?;
    Direct::open(disk.path())?.flush()?;
    disk.wait_idle(PATIENCE)?;
    ensure!(disk.status()?.unflushed == 0, "{:?}", disk.status()?);
    drop(server);
    let number = disk.device().number().to_string();
    guest.abusectl(0, &["reset", &number])?;

    let disk = written(guest)?;
    let number = disk.device().number().to_string();
    ensure!(disk.status()?.unflushed == 1, "{:?}", disk.status()?);
    let mut puppet = disk.puppet()?;
    let stop = guest.command("abusectl").args([verb, &number]).spawn()?;
    let flush = puppet.take_one()?;
    ensure!(flush.operation == Operation::Flush, "{verb}: {flush:?}");
    ensure!(disk.status()?.setup.is_some(), "{verb} did not wait for it");
    ensure!(puppet.put(&flush, Answer::Done)?.is_none());
    let said = stop.finish(PATIENCE)?;
    ensure!(said.status.success(), "{said:?}");
    puppet.kill()?;
    Ok(())
}

fn cannot(guest: &Guest, verb: &str) -> Result<()> {
    let disk = written(guest)?;
    let number = disk.device().number().to_string();
    let said = guest.abusectl(5, &[verb, &number])?;
    ensure!(
        said.contains("nobody serves the disk") && said.contains("--force"),
        "{said}"
    );
    ensure!(disk.status()?.openers == 0 && disk.status()?.is_idle());

    let server = disk.serve("ram:safe-stop")?;
    disk.wait_status("the server to wait", |status| status.waiting > 0)?;
    server.stop()?;
    // Until it got as far as asking for the flush before its time was up.
    wait_for("a flush that nobody does", PATIENCE, || {
        let said = guest.abusectl(124, &[verb, &number, "--timeout", "300ms"])?;
        ensure!(said.contains("no worker did it in 300ms"), "{said}");
        Ok((!disk.status()?.is_idle()).then_some(()))
    })?;
    ensure!(disk.status()?.state == State::Live);
    // The flush is still asked for, and the next one says so.
    let said = guest.abusectl(5, &[verb, &number, "--timeout", "300ms"])?;
    ensure!(said.contains("1 request pending"), "{said}");
    let said = guest.abusectl(0, &[verb, &number, "--force"])?;
    ensure!(
        said.contains("1 request failed") && said.contains("not flushed (1 write)"),
        "{said}"
    );
    drop(server);
    Ok(())
}
