// SPDX-License-Identifier: MIT

//! `abuse-leaks`: see [`abuse_fuzz::leaks`].

use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use abuse_fuzz::leaks::{kernel_poisons, look, Figures};
use anyhow::{Context, Result};

const USAGE: &str = "\
usage: abuse-leaks [--gets N] [--seed N]

Has ten thousand requests, or --gets, handed out on two disks, and looks at every byte that any call
writes. Exit status: 0 only what should comes out; 1 something else does; 2 wrong usage.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (gets, seed) = match options(&words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("abuse-leaks: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (started, figures) = (Instant::now(), Figures::default());
    // Each disk has half of them.
    let looked = look(gets.div_ceil(2), seed, &figures);
    if let Err(error) = &looked {
        println!("FINDING: {error:#}");
    }
    let findings = u8::from(looked.is_err());
    println!(
        "leaks: seed={seed} gets={} bytes={} calls={} refused={} reads={} poisoned={} seconds={:.0} \
         findings={findings}",
        figures.gets.load(Relaxed),
        figures.bytes.load(Relaxed),
        figures.calls.load(Relaxed),
        figures.refused.load(Relaxed),
        figures.reads.load(Relaxed),
        kernel_poisons(),
        started.elapsed().as_secs_f32(),
    );
    ExitCode::from(findings)
}

fn options(words: &[String]) -> Result<(u64, u64)> {
    let (mut gets, mut seed) = (10_000, 1);
    for pair in words.chunks(2) {
        let value = pair
            .get(1)
            .with_context(|| format!("{}: wants a number", pair[0]))?;
        let value = value
            .parse()
            .with_context(|| format!("{} {value}", pair[0]))?;
        match pair[0].as_str() {
            "--gets" => gets = value,
            "--seed" => seed = value,
            other => anyhow::bail!("{other}: no such option"),
        }
    }
    Ok((gets, seed))
}
