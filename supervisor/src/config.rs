// SPDX-License-Identifier: MIT
//! The configuration file: several devices, each with its worker.
//!
//! ```toml
//! [defaults]                       # for every device that does not say otherwise
//! standby = 1
//! heartbeat = "10s"
//!
//! [[device]]
//! device = "0"
//! setup = "size=1G"
//! command = ["abusectl", "server", "{ctl}", "--backend", "file:/srv/a.img"]
//! ```
//!
//! It is read and checked whole before anything is done with it. What is wrong is said
//! with file, line and, of a key that does not exist, the nearest that does.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::Path;

use abuse::setup_keys::nearest::suggestion;
use serde::Deserialize;
use toml::{Spanned, Table, Value};

use crate::cli::Run;
use crate::exit::{Failure, USAGE};
use crate::terms::Terms;
use crate::{prepare, spawn};

/// One device of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As it is written: /dev/abctlN, /dev/abuseN, N, or a name.
    pub device: String,
    /// The keys of abusectl setup, if it is to be set up.
    pub setup: Vec<String>,
    /// How its workers are looked after.
    pub terms: Terms,
    /// The worker.
    pub command: Vec<OsString>,
}

impl Wanted {
    /// The one of a command line.
    pub fn of(options: &Run) -> Result<Wanted, Failure> {
        options.terms.policy()?;
        prepare::parse(&options.setup)?;
        let program = options.command.first().cloned().unwrap_or_default();
        if !spawn::program_exists(&program) {
            let program = program.to_string_lossy();
            let why = format!("{program}: there is no such program");
            return Err(Failure::usage(why));
        }
        Ok(Wanted {
            device: options.device.clone().unwrap_or_default(),
            setup: options.setup.clone(),
            terms: options.terms.clone(),
            command: options.command.clone(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Table,
    #[serde(default)]
    device: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
struct Own {
    device: String,
    #[serde(default)]
    setup: String,
    command: Vec<String>,
}

/// Keys of a device that are not terms.
const OWN: [&str; 3] = ["device", "setup", "command"];

/// Reads a file and checks all of it.
pub fn read(path: &Path) -> Result<Vec<Wanted>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: cannot be read: {error}", path.display())))?;
    parse(&text).map_err(|wrong| {
        let place = wrong.at.map_or(String::new(), |at| {
            let before = text.get(..at.start).unwrap_or_default();
            format!("{}:", before.matches('\n').count() + 1)
        });
        let place = format!("{}:{place} ", path.display());
        Failure::new(USAGE, anyhow::Error::msg(format!("{place}{}", wrong.why)))
    })
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    at: Option<Range<usize>>,
    why: String,
}

fn wrong(at: &Range<usize>, why: impl Into<String>) -> Wrong {
    Wrong {
        at: Some(at.clone()),
        why: why.into(),
    }
}

fn parse(text: &str) -> Result<Vec<Wanted>, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| {
        let known = ["defaults", "device"];
        Wrong {
            at: error.span(),
            why: with_nearest(error.message(), &known),
        }
    })?;
    let known: Vec<String> = term_names();
    let place = |key: &str, after: usize| line_of(text, key, after);
    check_keys(&file.defaults, &known, &[])
        .and_then(|()| check_values(&file.defaults))
        .map_err(|(key, why)| wrong(&place(&key, 0), why))?;
    let mut all: Vec<Wanted> = Vec::new();
    for device in &file.device {
        let at = device.span();
        let wanted = one(device.get_ref(), &file.defaults, &known).map_err(|(key, why)| {
            let span = key.map_or(at.clone(), |key| place(&key, at.start));
            wrong(&span, why)
        })?;
        if all.iter().any(|other| other.device == wanted.device) {
            let why = format!("device '{}' is there twice", wanted.device);
            return Err(wrong(&place("device", at.end.min(at.start + 11)), why));
        }
        all.push(wanted);
    }
    if all.is_empty() {
        return Err(Wrong {
            at: None,
            why: "there is no [[device]] in it".into(),
        });
    }
    Ok(all)
}

/// A device; else the key that is wrong, if it is one, and why.
fn one(
    table: &Table,
    defaults: &Table,
    known: &[String],
) -> Result<Wanted, (Option<String>, String)> {
    check_keys(table, known, &OWN).map_err(|(key, why)| (Some(key), why))?;
    let (mut own, mut terms) = (Table::new(), defaults.clone());
    for (key, value) in table {
        match OWN.contains(&key.as_str()) {
            true => own.insert(key.clone(), value.clone()),
            false => terms.insert(key.clone(), value.clone()),
        };
    }
    check_values(&terms).map_err(|(key, why)| (Some(key), why))?;
    let terms: Terms = Value::Table(terms)
        .try_into()
        .map_err(|error| (None, first_line(&error)))?;
    let policy = terms.policy();
    policy.map_err(|failure| (None, failure.error.to_string().replace("--", "")))?;
    let own: Own = Value::Table(own)
        .try_into()
        .map_err(|error| (None, first_line(&error)))?;
    let setup: Vec<String> = match own.setup.is_empty() {
        true => Vec::new(),
        false => vec![own.setup],
    };
    let keys = prepare::parse(&setup);
    keys.map_err(|failure| {
        let why = failure.error.to_string().replace("--setup", "setup");
        (Some("setup".to_owned()), why)
    })?;
    let program = own.command.first().map(String::as_str).unwrap_or_default();
    if !spawn::program_exists(OsStr::new(program)) {
        let why = format!("command: '{program}': there is no such program");
        return Err((Some("command".to_owned()), why));
    }
    Ok(Wanted {
        device: own.device,
        setup,
        terms,
        command: own.command.into_iter().map(OsString::from).collect(),
    })
}

/// The keys of [`Terms`], as the file spells them.
fn term_names() -> Vec<String> {
    use clap::Args;
    let command = Terms::augment_args(clap::Command::new(""));
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    names.map(String::from).collect()
}

/// One term after the other, so that what is wrong has a name.
fn check_values(terms: &Table) -> Result<(), (String, String)> {
    for (key, value) in terms {
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        let checked: Result<Terms, _> = Value::Table(alone).try_into();
        checked.map_err(|error| (key.clone(), format!("{key}: {}", first_line(&error))))?;
    }
    Ok(())
}

fn check_keys(table: &Table, known: &[String], own: &[&str]) -> Result<(), (String, String)> {
    let all: Vec<&str> = known
        .iter()
        .map(String::as_str)
        .chain(own.iter().copied())
        .collect();
    match table.keys().find(|key| !all.contains(&key.as_str())) {
        Some(key) => {
            let why = format!("there is no key '{key}'{}", suggestion(key, all));
            Err((key.clone(), why))
        }
        None => Ok(()),
    }
}

/// The first line behind `after` that begins with the key.
fn line_of(text: &str, key: &str, after: usize) -> Range<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.trim_start().strip_prefix(key).unwrap_or("-");
        if at >= after && rest.trim_start().starts_with('=') {
            return at..at + line.len();
        }
        at += line.len();
    }
    after..after
}

fn first_line(error: &toml::de::Error) -> String {
    error
        .message()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// toml's own words, with the nearest key where they are of an unknown one.
fn with_nearest(message: &str, known: &[&str]) -> String {
    match message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'))
    {
        Some((key, _)) => {
            let near = suggestion(key, known.iter().copied());
            format!("there is no key '{key}'{near}")
        }
        None => message.lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"
[defaults]
standby = 1
heartbeat = "10s"

[[device]]
device = "0"
setup = "size=1G"
workers = 2
command = ["sh", "-c", "exit", "{ctl}"]

[[device]]
device = "spare"
standby = 0
command = ["sh"]
"#;

    #[test]
    fn devices_have_the_defaults_but_for_what_they_say_themselves() {
        let all = parse(GOOD).unwrap();
        assert_eq!(all.len(), 2);
        let counts = |wanted: &Wanted| (wanted.terms.workers, wanted.terms.standby);
        assert_eq!((counts(&all[0]), counts(&all[1])), ((2, 1), (1, 0)));
        assert_eq!(all[1].terms.heartbeat, all[0].terms.heartbeat);
        assert_eq!(all[1].terms.back_off, Terms::default().back_off);
        assert_eq!(all[0].command[3], "{ctl}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_the_nearest_key() {
        let cases = [
            (
                "standby = 1",
                "stanby = 1",
                3,
                "there is no key 'stanby'; did you mean 'standby'?",
            ),
            ("workers = 2", "wokers = 2", 9, "did you mean 'workers'?"),
            ("workers = 2", "workers = 0", 9, "at least 1"),
            (
                "workers = 2",
                "back-off = \"9s..1s\"",
                9,
                "the longest pause is shorter",
            ),
            (
                "workers = 2",
                "heartbeat = \"1ms\"",
                6,
                "must be 100ms or more",
            ),
            ("\"10s\"", "\"10 bananas\"", 4, "heartbeat: '10 bananas'"),
            ("size=1G", "sise=1G", 8, "did you mean 'size'?"),
            (
                "[\"sh\"]",
                "[\"no-such-program\"]",
                15,
                "'no-such-program': there is no such program",
            ),
            ("\"spare\"", "\"0\"", 13, "device '0' is there twice"),
            ("[defaults]", "[default]", 2, "did you mean 'defaults'?"),
            ("command = [\"sh\"]", "", 12, "missing field `command`"),
            ("[defaults]", "[defaults", 2, "invalid table header"),
        ];
        for (from, to, line, why) in cases {
            let text = GOOD.replacen(from, to, 1);
            let wrong = parse(&text).unwrap_err();
            assert!(wrong.why.contains(why), "{to}: {wrong:?}");
            let at = wrong.at.unwrap_or_else(|| panic!("{to}: nowhere"));
            let found = text[..at.start].matches('\n').count() + 1;
            assert_eq!(found, line, "{to}: {}", wrong.why);
        }
    }

    proptest! {
        #[test]
        fn fuzzed_files_are_understood_or_wrong_somewhere(
            lines in prop::collection::vec(
                "(\\[defaults\\]|\\[\\[device\\]\\]|(device|setup|workers|standby|heartbeat|back-off|command|period|[a-z]{1,6}) ?= ?([0-9]{1,5}|\"[0-9a-z.=]{0,8}\"|\\[\"sh\"\\])|\\PC{0,8})",
                0..12,
            )
        ) {
            let text = lines.join("\n");
            match parse(&text) {
                Ok(all) => prop_assert!(!all.is_empty() && all.iter().all(|one| one.terms.policy().is_ok())),
                Err(wrong) => prop_assert!(wrong.at.is_none_or(|at| at.start <= text.len())),
            }
        }
    }
}
