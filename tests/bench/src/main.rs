// SPDX-License-Identifier: MIT

//! What a request costs, with our driver and with others.
//!
//! ```sh
//! abuse-bench count --out DIR [--quick]    # in a guest that counts instructions (tests/vm/run --count)
//! abuse-bench clock --out DIR [--quick]    # in a guest with several processors
//! abuse-bench report DIR                   # anywhere: the table, bench.json, bench.svg
//! abuse-bench gate DIR BOUNDS              # anywhere: what costs more than it may
//! ```
//!
//! The first two measure and leave what they saw in the directory; the others only read it. See
//! `docs/performance.md` for how, and `tests/bench/run` for who calls whom.

mod bars;
mod contender;
mod copying;
mod counts;
mod flame;
mod gate;
mod guest;
mod job;
mod median;
mod picture;
mod record;
mod recovery;
mod report;
mod scale;
mod symbols;
mod sys;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Context, Result};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("abuse-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["count", ref options @ ..] => guest::count(&Options::parse(options)?)?,
        ["clock", ref options @ ..] => guest::clock(&Options::parse(options)?)?,
        ["serve-copying", ref words @ ..] => copying::serve(words)?,
        ["report", place] => print!("{}", report::report(place.as_ref())?),
        ["gate", place, bounds] => return gate::gate(place.as_ref(), bounds.as_ref()),
        _ => bail!("count|clock --out DIR [--quick] [--only CONTENDER,...] [--jobs JOB,...] [--rounds N] [--devices N], report DIR, gate DIR BOUNDS"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is measured, and where it goes.
pub(crate) struct Options {
    pub(crate) out: PathBuf,
    pub(crate) quick: bool,
    /// These contenders alone, by name.
    pub(crate) only: Vec<String>,
    /// These jobs alone.
    pub(crate) jobs: Vec<String>,
    pub(crate) rounds: Option<u32>,
    /// Devices that are made to see what one costs; none: that is left out.
    pub(crate) devices: u32,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options {
            out: PathBuf::new(),
            quick: false,
            only: Vec::new(),
            jobs: Vec::new(),
            rounds: None,
            devices: 0,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} wants a value"))
            };
            let list = |text: &str| text.split(',').map(String::from).collect();
            match word {
                "--out" => options.out = value()?.into(),
                "--quick" => options.quick = true,
                "--only" => options.only = list(value()?),
                "--jobs" => options.jobs = list(value()?),
                "--rounds" => options.rounds = Some(value()?.parse().context("--rounds")?),
                "--devices" => options.devices = value()?.parse().context("--devices")?,
                _ => bail!("{word}: no such option"),
            }
        }
        if options.out.as_os_str().is_empty() {
            bail!("where does it go? Say --out DIR");
        }
        Ok(options)
    }
}
