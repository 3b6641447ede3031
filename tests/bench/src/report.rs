// SPDX-License-Identifier: MIT

//! What all of it comes to: a table for people, `bench.json` for programs, `bench.svg` for a talk, and
//! `profile-CONTENDER-JOB.txt`, where the instructions of a request are spent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{json, Map, Value};

use crate::bars::BARS;
use crate::counts;
use crate::flame;
use crate::job::JOBS;
use crate::median::{median, spread};
use crate::picture;
use crate::record::{self, Record};
use crate::symbols::Symbols;

/// Who is ours.
pub(crate) const OURS: &[&str] = &[
    "copy",
    "null",
    "ram",
    "file",
    "forward",
    "copy-2w",
    "copy-4w4q",
    "file-uring",
    "disk",
    "disk-uring",
    "spin",
    "slow-1w",
    "slow-4w",
    "slow-4t",
];

/// Those of ours that are compared with others of ours.
const AMONG_OURS: &[(&str, &str)] = &[
    ("copy-2w", "copy"),
    ("copy-4w4q", "copy"),
    ("file-uring", "file"),
    ("disk-uring", "disk"),
    ("slow-4w", "slow-1w"),
    ("slow-4t", "slow-1w"),
    ("spin", "copy"),
];

/// Whose profile there is a picture of, too.
const PICTURED: (&str, &str) = ("copy", "randread-4k-qd64");

/// Figures of one kind, by contender and job, one for each round.
type Figures = BTreeMap<(String, String), Vec<f64>>;

/// Everything that was seen, by what it says.
#[derive(Default)]
pub(crate) struct Findings {
    contenders: Vec<Record>,
    missing: Vec<(String, String)>,
    /// By kind: instructions, driver, exchanges, switches, iops, p50_us, p99_us.
    pub(crate) figures: BTreeMap<&'static str, Figures>,
    /// What was measured once, by name.
    once: BTreeMap<String, f64>,
    /// Instructions for each request in every function, of the last round.
    profiles: BTreeMap<(String, String), BTreeMap<String, f64>>,
}

/// Reads it, writes the files, and returns the table.
pub(crate) fn report(place: &Path) -> Result<String> {
    let findings = Findings::read(place)?;
    let json = findings.to_json();
    fs::write(place.join("bench.json"), format!("{json:#}\n")).context("bench.json")?;
    if let Some(figures) = findings.figures.get("instructions") {
        fs::write(place.join("bench.svg"), picture::draw(&middle(figures))).context("bench.svg")?;
    }
    for ((contender, job), profile) in &findings.profiles {
        let name = format!("profile-{contender}-{job}.txt");
        fs::write(place.join(&name), listing(profile)).context(name)?;
        if contender == PICTURED.0 && job == PICTURED.1 {
            let title = format!("{contender}, {job}");
            let picture = flame::draw(&title, profile);
            fs::write(place.join("profile.svg"), picture).context("profile.svg")?;
        }
    }
    Ok(findings.table())
}

impl Findings {
    pub(crate) fn read(place: &Path) -> Result<Findings> {
        let mut findings = Findings::default();
        let records = record::read(&place.join("count.jsonl"))?;
        if !records.is_empty() {
            let symbols = Symbols::read(&place.join("kallsyms"))?;
            for record in &records {
                findings.note(record);
                match record {
                    Record::Count { .. } => findings.count(place, &symbols, record)?,
                    Record::Phase { name, phase, parts } => {
                        let blocks = counts::read(&place.join("counts").join(phase.to_string()))?;
                        let total: u64 = blocks
                            .iter()
                            .map(|block| block.times * block.instructions)
                            .sum();
                        let each = total as f64 / f64::from(*parts);
                        findings.once.insert(name.clone(), each);
                    }
                    _ => {}
                }
            }
        }
        for record in record::read(&place.join("clock.jsonl"))? {
            findings.note(&record);
        }
        Ok(findings)
    }

    fn figure(&mut self, kind: &'static str, contender: &str, job: &str, figure: f64) {
        let key = (contender.to_string(), job.to_string());
        self.figures
            .entry(kind)
            .or_default()
            .entry(key)
            .or_default()
            .push(figure);
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::Contender { .. } => {
                if !self.contenders.contains(record) {
                    self.contenders.push(record.clone());
                }
            }
            Record::Missing { name, reason } => {
                let missing = (name.clone(), reason.clone());
                if !self.missing.contains(&missing) {
                    self.missing.push(missing);
                }
            }
            Record::Count { .. } | Record::Phase { .. } => {}
            Record::Value { name, value } => {
                self.once.insert(name.clone(), *value);
            }
            Record::Clock {
                contender,
                job,
                iops,
                p50_us,
                p99_us,
                ..
            } => {
                self.figure("iops", contender, job, *iops);
                self.figure("p50_us", contender, job, *p50_us);
                self.figure("p99_us", contender, job, *p99_us);
            }
        }
    }

    /// The cost of a request is the difference of the long run and the short one.
    fn count(&mut self, place: &Path, symbols: &Symbols, record: &Record) -> Result<()> {
        let Record::Count {
            contender,
            job,
            requests,
            phases,
            switches,
            ..
        } = record
        else {
            return Ok(());
        };
        let module = self.module(contender).context("a job of nobody")?;
        let more = (requests[1] - requests[0]) as f64;
        let mut profile: BTreeMap<String, f64> = BTreeMap::new();
        let (mut total, mut driver, mut exchanges) = (0.0, 0.0, 0.0);
        for (phase, sign) in phases.iter().zip([-1.0, 1.0]) {
            for block in counts::read(&place.join("counts").join(phase.to_string()))? {
                let cost = sign * (block.times * block.instructions) as f64 / more;
                total += cost;
                let Some(symbol) = symbols.at(block.address) else {
                    *profile.entry("user space".into()).or_default() += cost;
                    continue;
                };
                if symbol.module == module {
                    driver += cost;
                }
                if symbol.address == block.address && is_exchange(&symbol.name) {
                    exchanges += sign * block.times as f64 / more;
                }
                let name = match symbol.module.as_str() {
                    "" => symbol.name.clone(),
                    module => format!("{} [{module}]", plain(&symbol.name)),
                };
                *profile.entry(name).or_default() += cost;
            }
        }
        self.figure("instructions", contender, job, total);
        self.figure("driver", contender, job, driver);
        if OURS.contains(&contender.as_str()) {
            self.figure("exchanges", contender, job, exchanges);
        }
        let switched = switches[1] as f64 - switches[0] as f64;
        self.figure("switches", contender, job, switched / more);
        self.profiles
            .insert((contender.clone(), job.clone()), profile);
        Ok(())
    }

    fn module(&self, wanted: &str) -> Option<String> {
        self.contenders.iter().find_map(|record| match record {
            Record::Contender { name, module, .. } if name == wanted => Some(module.clone()),
            _ => None,
        })
    }

    fn names(&self) -> Vec<&str> {
        let name = |record: &'_ Record| match record {
            Record::Contender { name, .. } => Some(name.clone()),
            _ => None,
        };
        let mut names: Vec<&str> = Vec::new();
        for record in &self.contenders {
            if let (Some(_), Record::Contender { name, .. }) = (name(record), record) {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Ours against each other, by what is measured.
    pub(crate) fn ratios(&self) -> BTreeMap<String, f64> {
        let mut ratios = BTreeMap::new();
        for kind in ["instructions", "iops"] {
            let Some(figures) = self.figures.get(kind) else {
                continue;
            };
            let middle = middle(figures);
            for ((contender, job), ours) in &middle {
                if !OURS.contains(&contender.as_str()) {
                    continue;
                }
                for ((other, of), theirs) in &middle {
                    let against = (contender.as_str(), other.as_str());
                    let wanted = !OURS.contains(&against.1) || AMONG_OURS.contains(&against);
                    if of == job && wanted {
                        ratios.insert(format!("{kind} {contender} {job} / {other}"), ours / theirs);
                    }
                }
            }
        }
        ratios
    }

    /// What a bar is about: a ratio, or the middle of a figure as "driver copy JOB".
    pub(crate) fn value(&self, key: &str) -> Option<f64> {
        if let Some(&ratio) = self.ratios().get(key) {
            return Some(ratio);
        }
        if let Some((one, other)) = key.split_once(" / ") {
            return Some(self.once.get(one)? / self.once.get(other)?);
        }
        if let Some(&value) = self.once.get(key) {
            return Some(value);
        }
        let mut words = key.split(' ');
        let (kind, contender, job) = (words.next()?, words.next()?, words.next()?);
        let figures = self.figures.get(kind)?;
        median(figures.get(&(contender.into(), job.into()))?)
    }

    fn to_json(&self) -> Value {
        let mut records = Vec::new();
        for (kind, figures) in &self.figures {
            for ((contender, job), rounds) in figures {
                for (round, figure) in rounds.iter().enumerate() {
                    records.push(((contender, job, round), (*kind, *figure)));
                }
            }
        }
        let mut together: BTreeMap<_, Map<String, Value>> = BTreeMap::new();
        for (key, (kind, figure)) in records {
            together
                .entry(key)
                .or_default()
                .insert(kind.into(), json!(figure));
        }
        let records: Vec<Value> = together
            .into_iter()
            .map(|((contender, job, round), mut figures)| {
                figures.insert("contender".into(), json!(contender));
                figures.insert("job".into(), json!(job));
                figures.insert("round".into(), json!(round));
                Value::Object(figures)
            })
            .collect();
        let contenders: Vec<Value> = self
            .contenders
            .iter()
            .filter_map(|record| match record {
                Record::Contender {
                    name,
                    what,
                    version,
                    ..
                } => Some(json!({"name": name, "what": what, "version": version})),
                _ => None,
            })
            .collect();
        let missing: Map<String, Value> = self
            .missing
            .iter()
            .map(|(name, reason)| (name.clone(), json!(reason)))
            .collect();
        json!({
            "contenders": contenders,
            "missing": missing,
            "records": records,
            "once": self.once,
            "ratios": self.ratios(),
        })
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        let _ = writeln!(out, "Contenders");
        for record in &self.contenders {
            if let Record::Contender {
                name,
                what,
                version,
                ..
            } = record
            {
                let _ = writeln!(out, "  {name:<12} {what} ({version})");
            }
        }
        for (name, reason) in &self.missing {
            let _ = writeln!(out, "  {name:<12} MISSING: {reason}");
        }
        for (kind, title, digits) in [
            ("instructions", "Instructions per request, all of them", 0),
            (
                "driver",
                "Instructions per request in the driver's own symbols",
                0,
            ),
            ("exchanges", "EXCHANGE calls per request", 3),
            ("switches", "Context switches per request", 3),
            ("iops", "Requests per second", 0),
            ("p50_us", "Latency, median, us", 0),
            ("p99_us", "Latency, 99 of 100, us", 0),
        ] {
            if let Some(figures) = self.figures.get(kind) {
                let _ = writeln!(out, "\n{title}");
                self.block(out, figures, digits);
            }
        }
        if !self.once.is_empty() {
            let _ = writeln!(out, "\nFor each device, or each request offered again");
        }
        for (name, value) in &self.once {
            let _ = writeln!(out, "  {name:<32} {value:>12.0}");
        }
        let _ = writeln!(out, "\nAgainst the bars");
        for one in BARS {
            let key = one.key;
            let (value, verdict) = match self.value(key) {
                None => ("-".into(), "not measured"),
                Some(value) if one.is_met(value, one.beyond) => (figure(value), "beyond it"),
                Some(value) if one.is_met(value, one.bar) => (figure(value), "reached"),
                Some(value) => (figure(value), "NOT reached"),
            };
            let bars = format!("{} / {}", figure(one.bar), figure(one.beyond));
            let _ = writeln!(out, "  {key:<58} {value:>7}  of {bars:<13} {verdict}");
        }
        text
    }

    /// Contenders in rows, jobs in columns: the middle, and how far the rounds lie apart.
    fn block(&self, out: &mut String, figures: &Figures, digits: usize) {
        let jobs: Vec<&str> = JOBS
            .iter()
            .map(|job| job.name)
            .filter(|job| figures.keys().any(|(_, of)| of == job))
            .collect();
        let _ = write!(out, "  {:<12}", "");
        for job in &jobs {
            let _ = write!(out, " {job:>24}");
        }
        let _ = writeln!(out);
        for name in self.names() {
            if !figures.keys().any(|(of, _)| of == name) {
                continue;
            }
            let _ = write!(out, "  {name:<12}");
            for job in &jobs {
                let rounds = figures.get(&(name.to_string(), job.to_string()));
                let cell = match rounds.and_then(|rounds| Some((rounds, median(rounds)?))) {
                    Some((rounds, middle)) if rounds.len() > 1 => {
                        let apart = spread(rounds).unwrap_or_default() * 100.0;
                        format!("{middle:.digits$} ({apart:.1}%)")
                    }
                    Some((_, middle)) => format!("{middle:.digits$}"),
                    None => "-".into(),
                };
                let _ = write!(out, " {cell:>24}");
            }
            let _ = writeln!(out);
        }
    }
}

fn figure(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.3}"),
        _ => format!("{value:.0}"),
    }
}

fn middle(figures: &Figures) -> BTreeMap<(String, String), f64> {
    figures
        .iter()
        .filter_map(|(key, rounds)| Some((key.clone(), median(rounds)?)))
        .collect()
}

/// Whether a function of our driver is the one that serves the calls of a control node: in a job there
/// is no other than EXCHANGE.
fn is_exchange(name: &str) -> bool {
    name.contains("10abuse_main7control") && name.ends_with("5ioctl")
}

/// A mangled name of Rust, as far as its words go: `abuse::exchange::exchange`.
pub(crate) fn plain(name: &str) -> String {
    let Some(mangled) = name.strip_prefix("_R") else {
        return name.into();
    };
    let mut words = Vec::new();
    let mut rest = mangled;
    while let Some(letter) = rest.chars().next() {
        let behind = rest.get(letter.len_utf8()..).unwrap_or("");
        let digits = rest.len()
            - rest
                .trim_start_matches(|at: char| at.is_ascii_digit())
                .len();
        if matches!(letter, 'B' | 's') {
            // A reference to what was before, or a number that tells two of a name apart.
            let number = behind.trim_start_matches(|at: char| at.is_ascii_alphanumeric());
            rest = number.strip_prefix('_').unwrap_or(behind);
        } else if digits > 0 {
            let (number, tail) = rest.split_at(digits);
            let tail = tail.strip_prefix('_').unwrap_or(tail);
            let len = number.parse().unwrap_or(0usize);
            words.extend(tail.get(..len).filter(|word| !word.is_empty()));
            rest = tail.get(len..).unwrap_or("");
        } else {
            rest = behind;
        }
    }
    // The crate is known.
    let from = words
        .iter()
        .position(|&word| word == "abuse_main")
        .map_or(0, |at| at + 1);
    match words.get(from..) {
        None | Some([]) => name.into(),
        Some(words) => words.join("::"),
    }
}

/// A profile, the most expensive first.
fn listing(profile: &BTreeMap<String, f64>) -> String {
    let mut rows: Vec<(&String, f64)> = profile.iter().map(|(name, &cost)| (name, cost)).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut text = String::new();
    for (name, cost) in rows.iter().filter(|(_, cost)| *cost >= 0.5) {
        let _ = writeln!(text, "{cost:>10.1}  {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mangled_name_is_told_by_its_words() {
        let name = "_RNvMs_NtNtCs1234_5abuse6ledger4coreNtB4_6Ledger7enqueue";
        assert!(plain(name).ends_with("Ledger::enqueue"), "{}", plain(name));
        assert_eq!(plain("queue_rq"), "queue_rq");
    }

    #[test]
    fn ratios_are_of_ours_against_others_in_the_same_job() {
        let mut findings = Findings::default();
        findings.figure("instructions", "copy", "job", 80.0);
        findings.figure("instructions", "copy", "job", 90.0);
        findings.figure("instructions", "kublk", "job", 100.0);
        findings.figure("instructions", "kublk", "other", 1.0);
        let ratios = findings.ratios();
        assert_eq!(ratios.get("instructions copy job / kublk"), Some(&0.85));
        assert_eq!(ratios.len(), 1);
        findings.figure("driver", "copy", "job", 7.0);
        assert_eq!(findings.value("driver copy job"), Some(7.0));
        assert_eq!(findings.value("driver null job"), None);
    }
}
