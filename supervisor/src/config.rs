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

/// Keys of a device that are not terms.
const OWN: [&str; 3] = ["device", "setup", "command"];

/// Reads a file and checks all of it.
pub fn read(path: &Path) -> Result<Vec<Wanted>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Failure::usage(format!(
            "{path}: cannot be read: {error}; abuse-supervisor.toml(5) says what goes into it"
        ))
    })?;
    parse(&text).map_err(|all| {
        let lines = all.iter().map(|wrong| {
            let line = wrong.at.map_or(String::new(), |at| {
                let before = text.get(..at).unwrap_or_default();
                format!("{}:", before.matches('\n').count() + 1)
            });
            format!("{}:{line} {}", path.display(), wrong.why)
        });
        let lines: Vec<String> = lines.collect();
        Failure::new(USAGE, anyhow::Error::msg(lines.join("\n")))
    })
}

/// What is wrong, and at which byte.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    at: Option<usize>,
    why: String,
}

/// The key that is wrong, if it is one, and why.
type WrongKey = (Option<String>, String);

fn parse(text: &str) -> Result<Vec<Wanted>, Vec<Wrong>> {
    let file: File = toml::from_str(text).map_err(|error| {
        vec![Wrong {
            at: error.span().map(|span| span.start),
            why: in_our_words(error.message()),
        }]
    })?;
    let known: Vec<String> = term_names();
    let mut wrong = Vec::new();
    let defaults = section(text, "[defaults]", 0);
    let mut note = |within: &Range<usize>, all: Vec<WrongKey>| {
        wrong.extend(all.into_iter().map(|(key, why)| {
            let found = key.and_then(|key| {
                let own = line_of(text, &key, within);
                own.or_else(|| line_of(text, &key, defaults.as_ref()?))
            });
            Wrong {
                at: Some(found.unwrap_or(within.start)),
                why,
            }
        }));
    };
    let mut of_defaults = check_keys(&file.defaults, &known, &[]);
    of_defaults.extend(check_values(&file.defaults));
    let sound = of_defaults.is_empty();
    note(&defaults.clone().unwrap_or(0..text.len()), of_defaults);
    let mut all: Vec<Wanted> = Vec::new();
    for device in &file.device {
        let from = device.span().start;
        let within = section(text, "[[device]]", from).unwrap_or(from..text.len());
        // What is wrong there was said, and is not to be said of each device.
        let defaults = if sound { &file.defaults } else { &Table::new() };
        match one(device.get_ref(), defaults, &known) {
            Ok(wanted) if all.iter().any(|other| same(&other.device, &wanted.device)) => {
                let why = format!("device '{}' is there twice", wanted.device);
                let why = format!("{why}: have one [[device]] for it, with all its workers");
                note(&within, vec![(Some("device".to_owned()), why)]);
            }
            Ok(wanted) => all.push(wanted),
            Err(wrong) => note(&within, wrong),
        }
    }
    wrong.sort_by_key(|wrong| wrong.at);
    // What is wrong by what the defaults say is so for each device.
    wrong.dedup();
    match wrong.is_empty() {
        true if all.is_empty() => Err(vec![Wrong {
            at: None,
            why: "there is no [[device]] in it; abuse-supervisor.toml(5) has an example".into(),
        }]),
        true => Ok(all),
        false => Err(wrong),
    }
}

/// A device; else what is wrong.
fn one(table: &Table, defaults: &Table, known: &[String]) -> Result<Wanted, Vec<WrongKey>> {
    let (mut own, mut terms) = (Table::new(), Table::new());
    for (key, value) in table {
        match OWN.contains(&key.as_str()) {
            true => own.insert(key.clone(), value.clone()),
            false => terms.insert(key.clone(), value.clone()),
        };
    }
    let mut wrong = check_keys(table, known, &OWN);
    wrong.extend(check_values(&terms));
    let counts = terms.contains_key("intensity") || defaults.contains_key("intensity");
    if terms.contains_key("period") && !counts {
        let why = "period: means nothing without intensity, the number of deaths within it";
        wrong.push((Some("period".to_owned()), why.to_owned()));
    }
    if wrong.is_empty() {
        let mut merged = defaults.clone();
        merged.extend(terms.clone());
        match Value::Table(merged).try_into::<Terms>() {
            Ok(merged) => match merged.policy() {
                Ok(_) => return own_keys(&own, merged),
                Err(failure) => {
                    let why = failure.error.to_string();
                    let key = named(&why, &[&terms, defaults]);
                    wrong.push((key, why.replace("--", "").replace('\n', ": ")));
                }
            },
            Err(error) => wrong.push((None, one_line(error.message()))),
        }
    }
    if let Err(more) = own_keys(&own, Terms::default()) {
        wrong.extend(more);
    }
    Err(wrong)
}

/// The keys of a device that are not terms.
fn own_keys(own: &Table, terms: Terms) -> Result<Wanted, Vec<WrongKey>> {
    let mut wrong = Vec::new();
    let mut note = |key: &str, why: String| {
        // Of what is not there at all, the line is the device's.
        let place = own.contains_key(key).then(|| key.to_owned());
        wrong.push((place, format!("{key}: {why}")));
    };
    let device = match own.get("device") {
        Some(Value::String(device)) if !device.is_empty() => device.clone(),
        other => {
            let how = r#"as in device = "0" or device = "/dev/abctl0""#;
            note("device", says(other, "text", how));
            String::new()
        }
    };
    let setup: Vec<String> = match own.get("setup") {
        None => Vec::new(),
        Some(Value::String(setup)) if setup.is_empty() => Vec::new(),
        Some(Value::String(setup)) => vec![setup.clone()],
        other => {
            let how = r#"as in setup = "size=1G,bs=4096""#;
            note("setup", says(other, "text", how));
            Vec::new()
        }
    };
    if let Err(failure) = prepare::parse(&setup) {
        let why = failure.error.to_string();
        note("setup", why.replace("--setup: ", "").replace('\n', "; "));
    }
    let words = match own.get("command") {
        Some(Value::Array(words)) => words.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let words: Vec<&str> = words.unwrap_or_default();
    match words.first() {
        Some(program) if spawn::program_exists(OsStr::new(program)) => {}
        Some(program) => note(
            "command",
            format!("'{program}': there is no such program; install it, or give its whole path"),
        ),
        None => {
            let how =
                r#"as in command = ["abusectl", "server", "{ctl}", "--backend", "file:/srv/a"]"#;
            note("command", says(own.get("command"), "a list of text", how));
        }
    }
    match wrong.is_empty() {
        true => Ok(Wanted {
            device,
            setup,
            terms,
            command: words.into_iter().map(OsString::from).collect(),
        }),
        false => Err(wrong),
    }
}

/// What a key must be that is missing, or is not that.
fn says(found: Option<&Value>, what: &str, how: &str) -> String {
    match found {
        None => format!("is missing: {what}, {how}"),
        Some(_) => format!("must be {what}, {how}"),
    }
}

/// Whether both name the same device, as far as that can be told without it.
fn same(one: &str, other: &str) -> bool {
    let number = |text: &str| {
        let last = text.strip_prefix("/dev/").unwrap_or(text);
        let digits = last.strip_prefix("abctl").or(last.strip_prefix("abuse"));
        digits.unwrap_or(last).parse::<u32>().ok()
    };
    one == other || number(one).is_some_and(|number_of_one| Some(number_of_one) == number(other))
}

/// The keys of [`Terms`], as the file spells them.
fn term_names() -> Vec<String> {
    use clap::Args;
    let command = Terms::augment_args(clap::Command::new(""));
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    names.map(String::from).collect()
}

/// One term after the other, so that what is wrong has a name.
fn check_values(terms: &Table) -> Vec<WrongKey> {
    let known = term_names();
    let known = terms.iter().filter(|(key, _)| known.contains(key));
    let wrong = known.filter_map(|(key, value)| {
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        let checked: Result<Terms, _> = Value::Table(alone).try_into();
        let said = checked.err()?.message().to_owned();
        let why = match (kind(key), value) {
            (Kind::Number, Value::Integer(number)) if said.starts_with("invalid value") => {
                format!("{number}: is too small or too large")
            }
            (Kind::Number, Value::Integer(_)) | (Kind::Text(_), Value::String(_)) => {
                one_line(&said)
            }
            (Kind::Number, _) => format!("must be a number, as in {key} = 2"),
            (Kind::Text(example), _) => format!("must be text, as in {key} = \"{example}\""),
        };
        Some((Some(key.clone()), format!("{key}: {why}")))
    });
    wrong.collect()
}

/// How a term is written.
pub(crate) enum Kind {
    /// Without quotes.
    Number,
    /// As this, in quotes.
    Text(&'static str),
}

/// How that term is written.
pub(crate) fn kind(key: &str) -> Kind {
    match key {
        "workers" | "standby" | "intensity" => Kind::Number,
        "back-off" => Kind::Text("50ms..10s"),
        "give-up" => Kind::Text("hold:5min"),
        "at-end" => Kind::Text("keep"),
        _ => Kind::Text("10s"),
    }
}

fn check_keys(table: &Table, known: &[String], own: &[&str]) -> Vec<WrongKey> {
    let all = || known.iter().map(String::as_str).chain(own.iter().copied());
    let unknown = table.keys().filter(|key| all().all(|known| known != *key));
    let wrong = unknown.map(|key| {
        let why = format!("there is no key '{key}'{}", suggestion(key, all()));
        (Some(key.clone()), why)
    });
    wrong.collect()
}

/// The first key that is named as an option, as --stable-after, and that one of the tables has.
fn named(why: &str, tables: &[&Table]) -> Option<String> {
    let words = why.split(|other: char| !other.is_ascii_lowercase() && other != '-');
    let keys: Vec<&str> = words.filter_map(|word| word.strip_prefix("--")).collect();
    let mut found = tables.iter().flat_map(|table| {
        let there = keys.iter().filter(|key| table.contains_key(**key));
        there.map(|key| key.to_string())
    });
    found.next()
}

/// From the first such head at or behind `from` to the next head of any kind.
fn section(text: &str, head: &str, from: usize) -> Option<Range<usize>> {
    let mut at = 0;
    let mut start = None;
    for line in text.split_inclusive('\n') {
        let is_head = line.starts_with('[');
        match start {
            Some(start) if is_head => return Some(start..at),
            None if at >= from && is_head && line.starts_with(head) => start = Some(at),
            _ => {}
        }
        at += line.len();
    }
    start.map(|start| start..text.len())
}

/// The first line in that part that begins with the key.
fn line_of(text: &str, key: &str, within: &Range<usize>) -> Option<usize> {
    let mut at = within.start;
    for line in text.get(within.clone())?.split_inclusive('\n') {
        let rest = line.trim_start();
        let rest = rest.strip_prefix('"').unwrap_or(rest);
        if let Some(rest) = rest.strip_prefix(key) {
            if rest.trim_start_matches('"').trim_start().starts_with('=') {
                return Some(at);
            }
        }
        at += line.len();
    }
    None
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(": ")
}

/// toml's own words where they are good; of an unknown key with the nearest one.
fn in_our_words(message: &str) -> String {
    let unknown = message.strip_prefix("unknown field `");
    if let Some((key, _)) = unknown.and_then(|rest| rest.split_once('`')) {
        let near = suggestion(key, ["defaults", "device"]);
        return format!("there is no key '{key}' here, outside of [defaults] and [[device]]{near}");
    }
    if message.contains("invalid type: map, expected a sequence")
        || message.contains("invalid table header\nduplicate key `\"device\"`")
    {
        return "a device begins with [[device]], in two brackets".to_owned();
    }
    one_line(message)
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
                9,
                "heartbeat: must be 100ms or more",
            ),
            (
                "workers = 2",
                "back-off = \"1min..2min\"",
                9,
                "is shorter than the shortest pause of back-off",
            ),
            ("\"10s\"", "\"10ms\"", 4, "heartbeat: must be 100ms or more"),
            (
                "workers = 2",
                "workers = \"two\"",
                9,
                "workers: must be a number, as in workers = 2",
            ),
            (
                "workers = 2",
                "workers = -1",
                9,
                "is too small or too large",
            ),
            (
                "\"10s\"",
                "10",
                4,
                "heartbeat: must be text, as in heartbeat = \"10s\"",
            ),
            ("workers = 2", "period = \"1h\"", 9, "without intensity"),
            ("\"0\"", "0", 7, "device: must be text, as in device"),
            ("device = \"0\"", "", 6, "device: is missing"),
            ("\"size=1G\"", "1", 8, "setup: must be text"),
            ("[\"sh\"]", "\"sh\"", 15, "command: must be a list of text"),
            ("[\"sh\"]", "[]", 15, "command: must be a list of text"),
            ("\"spare\"", "\"/dev/abuse0\"", 13, "is there twice"),
            (
                "\n[[device]]\ndevice = \"spare\"\nstandby = 0\ncommand = [\"sh\"]",
                "\n[device]",
                12,
                "in two brackets",
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
            ("command = [\"sh\"]", "", 12, "command: is missing"),
            ("[defaults]", "[defaults", 2, "invalid table header"),
        ];
        for (from, to, line, why) in cases {
            let text = GOOD.replacen(from, to, 1);
            let all = parse(&text).unwrap_err();
            let wrong = &all[0];
            assert!(all.len() == 1 && wrong.why.contains(why), "{to}: {all:?}");
            let at = wrong.at.unwrap_or_else(|| panic!("{to}: nowhere"));
            let found = text[..at].matches('\n').count() + 1;
            assert_eq!(found, line, "{to}: {}", wrong.why);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let text = GOOD.replace("standby = 1", "stanby = 1\nheartbeet = 1");
        let text = text.replace("workers = 2", "workers = 0\nhearbeat = \"1s\"");
        let text = text.replace("[\"sh\"]", "[\"no-such-program\"]");
        let all = parse(&text).unwrap_err();
        let line = |wrong: &Wrong| text[..wrong.at.unwrap()].matches('\n').count() + 1;
        let lines: Vec<usize> = all.iter().map(line).collect();
        assert_eq!(lines, [3, 4, 10, 11, 17], "{all:?}");
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
                Err(all) => prop_assert!(
                    !all.is_empty() && all.iter().all(|wrong| wrong.at.is_none_or(|at| at <= text.len()))
                ),
            }
        }
    }
}
