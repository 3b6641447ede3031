// SPDX-License-Identifier: MIT

//! `abusectl get` takes a request and ends; another process, `abusectl put`, completes it: a disk
//! served by hand, with dd on the other side. A second put of the same is refused.

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::kit::{Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let disk = guest.disk("size=64M")?;
    let _udev = guest.hold_udev()?;
    let control = disk.control();
    let tool = |words: &[&str]| guest.command("abusectl").args(words);
    let data: Vec<u8> = (0..4096u32).map(|n| (n % 251) as u8).collect();
    let (there, back) = (guest.file("there"), guest.file("back"));
    std::fs::write(&there, &data)?;
    let (there, back) = (there.display().to_string(), back.display().to_string());

    // A write, whose data get saves.
    let node = disk.path().display().to_string();
    let dd = guest
        .command("dd")
        .args([&format!("if={there}"), &format!("of={node}")])
        .args(["bs=4k", "count=1", "seek=3", "oflag=direct"])
        .spawn()?;
    let poll = tool(&["poll", &control, "--timeout", "60s"]).ok()?;
    ensure!(poll.contains("1 request waiting"), "{poll}");
    let taken = tool(&["get", &control, "--json", "--data", &back]).ok()?;
    let taken: Value = serde_json::from_str(&taken).context("the JSON of get")?;
    let request = &taken["requests"][0];
    let id = request["id"].as_str().context("an id")?;
    ensure!(
        request["op"] == "write" && request["offset"] == 12288 && request["length"] == 4096,
        "{taken}"
    );
    ensure!(std::fs::read(&back)? == data, "get saved other bytes");
    ensure!(disk.status()?.taken == 1, "it did not stay taken");
    tool(&["put", &control, id]).ok()?;
    let ended = dd.finish(PATIENCE)?;
    ensure!(ended.status.success(), "dd: {}", ended.stderr);
    let again = tool(&["put", &control, id]).run()?;
    ensure!(
        again.status.code() == Some(1) && again.stderr.contains("Stale file handle"),
        "{again:?}"
    );

    // A read, whose data put brings.
    let dd = guest
        .command("dd")
        .args([&format!("if={node}"), &format!("of={back}")])
        .args(["bs=4k", "count=1", "skip=3", "iflag=direct"])
        .spawn()?;
    let taken = tool(&["get", &control, "--timeout", "60s"]).ok()?;
    let id = taken
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .context("an id")?;
    ensure!(taken.contains("\nop: read\n"), "{taken}");
    let short = tool(&["put", &control, id]).run()?;
    ensure!(
        short.status.code() == Some(1) && short.stderr.contains("The request stays taken"),
        "{short:?}"
    );
    tool(&["put", &control, id, "--data", &there]).ok()?;
    let ended = dd.finish(PATIENCE)?;
    ensure!(ended.status.success(), "dd: {}", ended.stderr);
    ensure!(std::fs::read(&back)? == data, "dd read other bytes");

    // One that fails.
    let dd = guest
        .command("dd")
        .args([&format!("if={node}"), "of=/dev/null"])
        .args(["bs=4k", "count=1", "iflag=direct"])
        .spawn()?;
    let taken = tool(&["get", &control, "--timeout", "60s"]).ok()?;
    let id = taken
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("id: "));
    tool(&[
        "put",
        &control,
        id.context("an id")?,
        "--result",
        "medium-error",
    ])
    .ok()?;
    let ended = dd.finish(PATIENCE)?;
    ensure!(!ended.status.success(), "dd saw no error");
    Ok(())
}
