// SPDX-License-Identifier: MIT

//! What costs more than it may: each line of a file of bounds is a key, as in the table, and the most
//! that it may be. What is cheaper by more than the bound's slack says so too, for somebody to lower
//! the bound: a gate that has become wide lets things through.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};

use crate::report::Findings;

/// How much more than its bound a figure may be: what a repetition differs by is a tenth of it.
const SLACK: f64 = 0.02;

/// Compares, and says of each bound how it stands.
pub(crate) fn gate(place: &Path, bounds: &Path) -> Result<ExitCode> {
    let text = fs::read_to_string(bounds).with_context(|| bounds.display().to_string())?;
    let findings = Findings::read(place)?;
    let mut failed = false;
    for (key, bound) in parse(&text)? {
        let value = findings.value(key);
        let verdict = judge(value, bound);
        failed |= matches!(verdict, Verdict::Dearer | Verdict::Unknown);
        let value = value.map_or("nothing".into(), |value| format!("{value:.3}"));
        let name = key.replace(" / ", "/").replace(' ', "-");
        println!(
            "{} {name}: {value}, {} {bound}",
            verdict.word(),
            verdict.relation()
        );
    }
    Ok(match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Cheaper,
    Dearer,
    Unknown,
}

impl Verdict {
    /// As every test of this project says it.
    fn word(self) -> &'static str {
        match self {
            Verdict::Fine | Verdict::Cheaper => "ok",
            Verdict::Dearer | Verdict::Unknown => "FAILED",
        }
    }

    fn relation(self) -> &'static str {
        match self {
            Verdict::Fine => "about as much as",
            Verdict::Cheaper => "well below the bound, which may be lowered:",
            Verdict::Dearer => "more than 2% above the bound of",
            Verdict::Unknown => "not measured, with a bound of",
        }
    }
}

fn judge(value: Option<f64>, bound: f64) -> Verdict {
    match value {
        Some(value) if value > bound * (1.0 + SLACK) => Verdict::Dearer,
        Some(value) if value < bound * (1.0 - SLACK) => Verdict::Cheaper,
        Some(_) => Verdict::Fine,
        None => Verdict::Unknown,
    }
}

/// Lines of "KEY = NUMBER"; `#` begins a remark.
fn parse(text: &str) -> Result<Vec<(&str, f64)>> {
    let mut bounds = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let (key, bound) = line
            .split_once('=')
            .with_context(|| format!("{line}: no '='"))?;
        let bound = bound
            .trim()
            .parse()
            .with_context(|| format!("{line}: no number"))?;
        bounds.push((key.trim(), bound));
    }
    ensure!(!bounds.is_empty(), "no bound in it");
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_more_fail_and_so_does_nothing() {
        assert_eq!(judge(Some(1.019), 1.0), Verdict::Fine);
        assert_eq!(judge(Some(1.021), 1.0), Verdict::Dearer);
        assert_eq!(judge(Some(0.97), 1.0), Verdict::Cheaper);
        assert_eq!(judge(None, 1.0), Verdict::Unknown);
    }

    #[test]
    fn bounds_are_lines_of_keys_and_numbers() {
        let bounds = parse("# all\n\na b / c = 0.5 # why\n").unwrap();
        assert_eq!(bounds, [("a b / c", 0.5)]);
        assert!(parse("# none").is_err());
        assert!(parse("a = x").is_err());
    }
}
