// SPDX-License-Identifier: MIT

//! `abuse-fuzz`: see the library. `player` and `load` are for its own use.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use abuse_fuzz::board::Board;
use abuse_fuzz::director::{self, Plan};
use abuse_fuzz::player::Role;
use abuse_fuzz::{load, player};
use anyhow::{bail, Context, Result};

const USAGE: &str = "\
usage: abuse-fuzz [--seed N] [--calls N] [--seconds N] [--processes N] [--users N] [--devices N]

Makes hostile calls on the devices of this machine, which are reset: ten thousand, or as many as
--calls says, or for --seconds. --processes (4) make them, --users (2) use the disks meanwhile,
--devices (4) says how many of the devices take part. Exit status: 0 nothing was found; 1 something was, or an answer
that is documented was never seen; 2 wrong usage.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role @ ("player" | "load"), numbers @ ..] =
        &words.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        return match child(role, numbers) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("abuse-fuzz {role}: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let plan = match plan(&words) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("abuse-fuzz: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match director::direct(&plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("abuse-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn child(role: &str, numbers: &[&str]) -> Result<()> {
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|word| word.parse())
        .collect::<Result<_, _>>()?;
    let [fd, seed, index, life, devices] = numbers[..] else {
        bail!("five numbers");
    };
    let board = Board::inherited(fd as i32).context("the board")?;
    let role_of = Role {
        seed,
        index,
        life,
        devices: devices as u16,
    };
    match role {
        "player" => player::play(board, role_of),
        _ => load::play(board, role_of),
    }
}

fn plan(words: &[String]) -> Result<Plan> {
    let mut options = HashMap::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let known = [
            "--seed",
            "--calls",
            "--seconds",
            "--processes",
            "--users",
            "--devices",
        ];
        if !known.contains(&word.as_str()) {
            bail!("{word}: no such option");
        }
        let value = words
            .next()
            .with_context(|| format!("{word}: wants a number"))?;
        let value: u64 = value.parse().with_context(|| format!("{word} {value}"))?;
        options.insert(word.as_str(), value);
    }
    let get = |name: &str| options.get(name).copied();
    let seconds = get("--seconds").map(Duration::from_secs);
    let calls = match (get("--calls"), seconds) {
        (Some(calls), _) => calls,
        (None, Some(_)) => 0,
        (None, None) => 10_000,
    };
    Ok(Plan {
        seed: get("--seed").unwrap_or(1),
        calls,
        time: seconds,
        processes: get("--processes").unwrap_or(4).clamp(1, 32),
        users: get("--users").unwrap_or(2).min(16),
        devices: get("--devices").unwrap_or(4).clamp(2, 64) as u16,
    })
}
