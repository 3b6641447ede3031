// SPDX-License-Identifier: MIT

//! Every refusal of abusectl has its exit status, says what failed in one line, and what to do in
//! the next: 2 for usage, 3 not set up or nothing there, 4 no device, 5 busy, 124 too late.

use anyhow::{ensure, Context, Result};

use abuse::{Device, State};

use crate::kit::{Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let _udev = guest.hold_udev()?;
    let mut empty = None;
    for number in Device::numbers()? {
        if Device::open_read_only(number.to_string())?.status()?.state == State::Empty {
            empty = Some(format!("/dev/abctl{number}"));
        }
    }
    let empty = empty.context("a device that is not set up")?;
    let (full, empty) = (disk.control(), empty.as_str());
    let full = full.as_str();
    let refused = |code: i32, words: &[&str], message: &str| -> Result<()> {
        let output = guest.command("abusectl").args(words).run()?;
        ensure!(
            output.status.code() == Some(code),
            "abusectl {words:?}: expected {code}: {output:?}"
        );
        ensure!(
            output.stderr.starts_with("abusectl: ") && output.stderr.contains(message),
            "abusectl {words:?}: expected '{message}': {output:?}"
        );
        ensure!(
            output.stderr.lines().count() >= 2 && !output.stderr.contains("os error"),
            "abusectl {words:?}: no next step: {output:?}"
        );
        Ok(())
    };

    let busy = "Device or resource busy";
    refused(2, &["setup", empty, "sise=1G"], "did you mean 'size'")?;
    refused(2, &["setup", empty, "size=1G,ro,rw"], "rw")?;
    refused(2, &["setup", empty, "size=1000"], "the nearest is 4096")?;
    refused(5, &["setup", full, "size=64M"], busy)?;
    refused(4, &["setup", "/dev/abctl999", "size=64M"], "/dev/abctl999")?;
    for verb in ["poll", "get", "reconnect", "reset"] {
        refused(3, &[verb, empty], "not set up")?;
        refused(4, &[verb, "/dev/abctl999"], "/dev/abctl999")?;
    }
    refused(3, &["requeue", empty, "--all"], "not set up")?;
    refused(3, &["put", empty, "1"], "not set up")?;
    refused(3, &["server", empty, "--backend", "null"], "not set up")?;
    refused(3, &["get", full], "no request is waiting")?;
    refused(124, &["get", full, "--timeout", "50ms"], "no request came")?;
    refused(124, &["poll", full, "--timeout", "50ms"], "no request came")?;
    refused(1, &["put", full, "0x123456"], "put failed")?;
    refused(
        2,
        &["put", full, "1", "--result", "io-error", "--zero"],
        "has no data",
    )?;

    let file = Direct::open(disk.path())?;
    refused(5, &["reset", full], "open (1 opener)")?;
    let write = file.start_write(0, vec![1; 4096]);
    disk.wait_queued(1)?;
    drop(file);
    refused(5, &["reset", full], "1 request pending")?;
    let mut worker = disk.puppet()?;
    let held = worker.take_one()?;
    let pid = worker.pid().to_string();
    let living = "nothing offered again";
    refused(5, &["requeue", full, "--owner", &pid], living)?;
    refused(5, &["requeue", full, "--all"], living)?;
    refused(5, &["reconnect", full], "owner lives")?;
    let forced = guest
        .command("abusectl")
        .args(["requeue", full, "--id", &held.id.to_string(), "--force"])
        .ok()?;
    ensure!(forced.contains("1 request offered again"), "{forced}");

    let reset = guest
        .command("abusectl")
        .args(["reset", full, "--force"])
        .ok()?;
    ensure!(reset.contains("reset, 1 request failed"), "{reset}");
    ensure!(write.finish(PATIENCE)?.is_err(), "the write did not fail");
    refused(3, &["reset", full], "not set up")?;
    Ok(())
}
