// SPDX-License-Identifier: MIT

//! `badblocks -w` writes four patterns over every block and reads them back, and finds nothing, while
//! one of two workers is killed again and again; on a disk that forgets every write it names them all.

use anyhow::{ensure, Result};

use crate::kit::{Guest, Supervise};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=8M")?;
    let backend = format!("file:{},create", guest.file("backing").display());
    let supervisor = Supervise::new(guest, &disk, 2, &backend).start()?;
    let badblocks = |disk| {
        let command = guest.command("badblocks").args(["-wsv", "-b", "4096"]);
        command.arg(disk)
    };
    let mut scan = badblocks(disk.path()).spawn()?;
    let mut kills = 0;
    while scan.is_running()? {
        // So long alive, and a worker counts as healthy: its successor starts at once.
        std::thread::sleep(std::time::Duration::from_millis(250));
        if kills < 10 && disk.status()?.taken > 0 {
            let victim = supervisor.workers()[kills % 2];
            supervisor.shoot(&victim)?;
            kills += 1;
        }
    }
    let output = scan.finish(crate::kit::PATIENCE)?;
    ensure!(
        output.status.success() && output.stdout.trim().is_empty(),
        "badblocks: {}: {} {}",
        output.status,
        output.stdout,
        output.stderr
    );
    ensure!(
        output.stderr.contains("0 bad blocks found. (0/0/0 errors)"),
        "badblocks says: {}",
        output.stderr
    );
    ensure!(disk.status()?.errors == 0, "requests failed");
    println!("    four patterns over 2048 blocks, {kills} kills");
    supervisor.drain()?;

    let forgetful = guest.disk("size=8M")?;
    let _server = forgetful.serve("null")?;
    let found = badblocks(forgetful.path()).run()?;
    // Zeros read back as zeros: every block was wrong under the other patterns.
    let blocks = found.stdout.lines().count();
    ensure!(
        blocks == 2048,
        "of 2048 forgotten blocks badblocks named {blocks}"
    );
    Ok(())
}
