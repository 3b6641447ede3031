// SPDX-License-Identifier: MIT

//! `abusectl top` shows the rates and latencies of the time between two looks: of a disk that is read
//! those of the reads, of an idle one none. It prints table after table for scripts, and over the last
//! one on a terminal.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::kit::{Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let (busy, idle) = (guest.disk("size=16M")?, guest.disk("size=16M")?);
    let _servers = (busy.serve("ram:busy")?, idle.serve("ram:idle")?);
    let file = Direct::open(busy.path())?;
    let over = AtomicBool::new(false);
    let texts = std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                file.read(0, 16384)?;
            }
            Ok(())
        });
        let texts = top(guest);
        over.store(true, Ordering::Relaxed);
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        texts
    });
    drop(quiet);
    let [json, raw, terminal] = texts?;

    let mut tables = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
    let mut count = 0;
    for table in tables.by_ref() {
        let table = table.with_context(|| json.clone())?;
        let row = |node: &str| -> Result<Value> {
            let rows = table["devices"].as_array().context("a list")?;
            let row = rows.iter().find(|row| row["name"] == node);
            row.cloned().with_context(|| format!("{node}: {table}"))
        };
        let (one, two) = (
            row(&busy.path().display().to_string())?,
            row(&idle.path().display().to_string())?,
        );
        let number = |key: &str| one[key].as_f64().with_context(|| format!("{key}: {one}"));
        let (reads, bytes) = (number("r/s")?, number("read/s")?);
        ensure!(
            reads > 1.0 && (bytes / reads / 16384.0 - 1.0).abs() < 0.01,
            "{one}"
        );
        let (latency, service) = (number("latency")?, number("service")?);
        ensure!(
            latency > service && service > 0.0 && latency < PATIENCE.as_secs_f64(),
            "{one}"
        );
        ensure!(
            latency == number("r-latency")?,
            "only reads were made: {one}"
        );
        ensure!(one["workers"] == 1 && one["w/s"] == 0.0 && one["errors"] == 0.0);
        ensure!(
            two["r/s"] == 0.0 && two["latency"].is_null() && two["workers"] == 1,
            "an idle disk: {two}"
        );
        count += 1;
    }
    ensure!(count == 2, "{count} tables instead of two: {json}");

    let rows: Vec<Vec<&str>> = raw.lines().map(|line| line.split(' ').collect()).collect();
    ensure!(
        rows.len() == 2 && rows.iter().all(|row| row.len() == 3),
        "not two disks by three columns: {raw}"
    );
    ensure!(rows[0][1] != "0" && rows[1][1] == "0", "{raw}");
    ensure!(
        terminal.matches("\x1b[H").count() == 2 && terminal.contains("LATENCY"),
        "not two tables over one another: {terminal:?}"
    );

    for (words, code, said) in [
        (&["-o", "LATENTCY"][..], 2, "did you mean 'LATENCY'?"),
        (&["--delay", "0s"], 2, "--delay 0"),
        (&["-n", "0"], 2, "0"),
        (&["4000", "-n", "1"], 4, "/dev/abctl4000"),
    ] {
        let output = guest.command("abusectl").arg("top").args(words).run()?;
        ensure!(
            output.status.code() == Some(code) && output.stderr.contains(said),
            "{words:?}: {}: {}",
            output.status,
            output.stderr
        );
    }
    Ok(())
}

fn top(guest: &Guest) -> Result<[String; 3]> {
    let top = |words: &[&str]| {
        let command = guest.command("abusectl").args(["top", "-d", "400ms"]);
        command.args(words).ok()
    };
    let json = top(&["-n", "2", "-J", "-o", "+R-LATENCY"])?;
    let raw = top(&["-n", "1", "--raw", "--noheadings", "-o", "NAME,R/S,READ/S"])?;
    let terminal = guest
        .command("script")
        .args(["-qec", "abusectl top -n 2 -d 200ms", "/dev/null"])
        .ok()?;
    Ok([json, raw, terminal])
}
