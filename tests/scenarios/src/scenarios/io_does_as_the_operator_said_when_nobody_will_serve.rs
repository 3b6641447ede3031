// SPDX-License-Identifier: MIT

//! Each worker dies at once, until the place is given up. What becomes of I/O then is the operator's
//! choice: it waits, or waits for so long and fails then, or fails. The disk stays, and is served as if
//! nothing had been when workers that work are started; which nobody can order but root and the
//! supervisor's own user.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::kit::{wait_until, Direct, Guest, Supervise, PATIENCE};

const LATER: Duration = Duration::from_millis(1500);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    for (what, fails) in [
        ("hold", None),
        ("hold:1500ms", Some(LATER)),
        ("fail", Some(Duration::ZERO)),
    ] {
        gives_up(guest, what, fails).context(what)?;
    }
    Ok(())
}

fn gives_up(guest: &Guest, what: &str, fails: Option<Duration>) -> Result<()> {
    let disk = guest.disk("size=16M")?;
    let file = Direct::open(disk.path())?;
    let mut read = file.start_read(0, 4096);
    let works = guest.file("works").display().to_string();
    let script = "test -e \"$1\" || exit 1; exec abusectl server \"$2\" --backend ram:given-up";
    let begun = Instant::now();
    let supervisor = Supervise::new(guest, &disk, 1, "")
        .command(&["sh", "-c", script, "sh", &works, "{ctl}"])
        .option("--back-off=1ms..10ms")
        .option("--intensity=2")
        .option(&format!("--give-up={what}"))
        .spawn()?;
    supervisor.wait_log("FAILED: all 1 workers were given up")?;
    let status = || {
        let status = guest.command("abuse-supervisor").args(["status", "--json"]);
        let status = status.arg("--runtime-dir").arg(guest.file("run")).ok()?;
        anyhow::Ok(serde_json::from_str::<serde_json::Value>(&status)?)
    };
    ensure!(status()?["health"] == "failed", "{}", status()?);
    match fails {
        None => {
            disk.wait_status("the read to have waited for long", |status| {
                status.oldest_queued >= Some(LATER)
            })?;
            ensure!(!read.is_over(), "it did not wait");
            ensure!(status()?["io_fails"] == false, "{}", status()?);
        }
        Some(after) => {
            wait_until("the read to fail", PATIENCE, || read.is_over())?;
            let waited = begun.elapsed();
            ensure!(waited >= after, "it failed after {waited:?}");
            ensure!(status()?["io_fails"] == true, "{}", status()?);
            let again = file.start_read(4096, 4096).finish(PATIENCE)?;
            ensure!(again.is_err(), "read from nobody");
        }
    }

    a_stranger_is_not_heard(guest, &disk.control())?;
    std::fs::write(&works, "")?;
    supervisor.restart()?;
    let read = read.finish(PATIENCE)?;
    ensure!(
        read.is_err() == fails.is_some(),
        "the first read: {:?}",
        read.map(|bytes| bytes.len())
    );
    let bytes = file.start_read(8192, 4096).finish(PATIENCE)??;
    ensure!(bytes == [0; 4096], "other bytes were read");
    ensure!(status()?["health"] == "served", "{}", status()?);
    std::fs::remove_file(&works)?;
    drop(file);
    supervisor.drain()?;
    disk.device().reset(true, Some(PATIENCE))?;
    Ok(())
}

/// Where the socket is open to all, he is refused by who he is.
fn a_stranger_is_not_heard(guest: &Guest, control: &str) -> Result<()> {
    let run = guest.file("run");
    let name = Path::new(control).file_name().context("a name")?;
    let socket = run.join(name).with_extension("control");
    let before = std::fs::metadata(&run)?.permissions();
    std::fs::set_permissions(&run, Permissions::from_mode(0o755))?;
    std::fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
    let stranger = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let asks = guest.command("setpriv").args(stranger);
    let asks = asks.args(["abuse-supervisor", "drain", "--no-wait"]);
    let asked = asks.arg("--runtime-dir").arg(&run).arg(control).run()?;
    std::fs::set_permissions(&run, before)?;
    ensure!(
        !asked.status.success() && asked.stderr.contains("only root"),
        "{asked:?}"
    );
    Ok(())
}
