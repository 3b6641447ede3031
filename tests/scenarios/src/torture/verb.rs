// SPDX-License-Identifier: MIT

//! `abuse-scenarios torture`: round after round, for as long as it was told.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, bail, Context, Result};

use super::{play, Limit, Round, Tally};
use crate::runner;

/// How it is called.
pub const USAGE: &str = "\
usage: abuse-scenarios torture [--duration TIME] [--seed N] [--round N] [--length TIME]

Rounds of LENGTH (20s), each on a disk and with troubles of its own, for DURATION (1m), or only that
one ROUND. Ends with a line of figures; the exit status is 1 if an operation failed or a read returned
what no disk could have returned.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    duration: Duration,
    seed: Option<u64>,
    round: Option<u64>,
    length: Duration,
}

/// What the verb does.
pub fn run(words: &[&str]) -> ExitCode {
    let options = match parse(words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("abuse-scenarios torture: {error:#}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let seed = options.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64 % 1_000_000)
    });
    let until = Instant::now() + options.duration;
    let mut all = Tally::default();
    let mut well = true;
    let mut number = options.round.unwrap_or(0);
    while well {
        let left = until.saturating_duration_since(Instant::now());
        let time = match options.round {
            Some(_) => left,
            None => left.min(options.length),
        };
        let round = Round::draw(seed, number);
        println!("torture: seed {seed}, round {number}: {round}");
        let mut mine = Tally::default();
        let name = format!("torture_round_{number}");
        well = runner::alone(&name, |guest| {
            play(guest, &round, Limit::Time(time), &mut mine)
        });
        if !well && mine.is_clean() {
            // Something besides the operations: the kernel's log, a request that was left.
            mine.errors += 1;
        }
        println!("    {mine}");
        all.add(&mine);
        number += 1;
        // What is left is worth a round, or it is over.
        let left = until.saturating_duration_since(Instant::now());
        if options.round.is_some() || left < options.length / 4 {
            break;
        }
    }
    println!("torture: seed={seed} {all}");
    match well && all.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        duration: Duration::from_secs(60),
        seed: None,
        round: None,
        length: Duration::from_secs(20),
    };
    for pair in words.chunks(2) {
        let [name, value] = *pair else {
            bail!("{}: wants a value", pair[0]);
        };
        match name {
            "--duration" => options.duration = time(value)?,
            "--length" => options.length = time(value)?,
            "--seed" => options.seed = Some(number(value)?),
            "--round" => options.round = Some(number(value)?),
            _ => bail!("{name}: no such option"),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .with_context(|| format!("{text}: not a number"))
}

/// `90`, `90s`, `30m`, `2h`.
fn time(text: &str) -> Result<Duration> {
    let units = [("h", 3600), ("m", 60), ("s", 1)];
    let (digits, unit) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))
        .unwrap_or((text, 1));
    let count = number(digits).map_err(|_| anyhow!("{text}: not a time, as 90s or 30m"))?;
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds > 0);
    let seconds = seconds.with_context(|| format!("{text}: not a time, as 90s or 30m"))?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let options = parse(&["--seed", "7", "--duration", "30m", "--round", "3"]).unwrap();
        assert_eq!((options.seed, options.round), (Some(7), Some(3)));
        assert_eq!(options.duration, Duration::from_secs(1800));
        for words in [
            &["--seed"][..],
            &["--seed", "x"],
            &["--duration", "0s"],
            &["--duration", "5d"],
            &["--speed", "1"],
        ] {
            parse(words).unwrap_err();
        }
    }
}
