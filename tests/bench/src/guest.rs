// SPDX-License-Identifier: MIT

//! What is done in the guest: contenders are made ready, jobs run in turn, and what was seen is noted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use crate::contender::{Contender, Lane, Running, CONTENDERS, OTHER_CPUS};
use crate::job::{Job, JOBS};
use crate::record::{Log, Record};
use crate::scale::Once;
use crate::{recovery, scale, sys, Options};

/// Where the programs of the peers are, below the directory that everything goes to.
const PEERS: &str = "peers";
/// Seconds of a job whose time is taken.
const SECONDS: u32 = 3;

/// Counts the instructions of every job with every contender.
pub(crate) fn count(options: &Options) -> Result<()> {
    let mut log = Log::create(&options.out.join("count.jsonl"))?;
    let ready = make_ready(options, Lane::Count, &mut log)?;
    fs::copy("/proc/kallsyms", options.out.join("kallsyms")).context("the kernel's symbols")?;
    let mut phases = 0;
    for round in 0..options.rounds.unwrap_or(if options.quick { 1 } else { 3 }) {
        for job in jobs(options) {
            let requests = match options.quick {
                true => job.quick.unwrap_or(job.requests),
                false => job.requests,
            };
            for (contender, running) in in_turn(&ready, job, round) {
                let disk = running.disk.to_string_lossy().to_string();
                // Whatever is done only once, as making room, was done before it counts.
                if round == 0 {
                    fio(job, &disk, requests[0] / 2)?;
                }
                let mut switches = [0; 2];
                for (requests, switches) in requests.iter().zip(&mut switches) {
                    let before = context_switches()?;
                    sys::begin();
                    let outcome = fio(job, &disk, *requests);
                    sys::end();
                    outcome.with_context(|| format!("{} of {}", job.name, contender.name))?;
                    *switches = context_switches()? - before;
                }
                log.write(&Record::Count {
                    contender: contender.name.into(),
                    job: job.name.into(),
                    round,
                    requests,
                    phases: [phases, phases + 1],
                    switches,
                })?;
                phases += 2;
            }
        }
    }
    if options.devices > 0 {
        let mut once = Once::new(&mut log, &mut phases);
        scale::measure(options.devices, &mut once)?;
        recovery::measure(&options.out.join(PEERS), &mut once)?;
    }
    Ok(())
}

/// Takes the time of every job with every contender.
pub(crate) fn clock(options: &Options) -> Result<()> {
    let mut log = Log::create(&options.out.join("clock.jsonl"))?;
    let ready = make_ready(options, Lane::Clock, &mut log)?;
    for round in 0..options.rounds.unwrap_or(if options.quick { 2 } else { 5 }) {
        for job in jobs(options) {
            for (contender, running) in in_turn(&ready, job, round) {
                let disk = running.disk.to_string_lossy().to_string();
                let mut arguments = job.arguments(&disk, 1 << 20);
                arguments.retain(|option| option != "--minimal");
                arguments.push("--output-format=json".into());
                arguments.push("--time_based=1".into());
                arguments.push(format!("--runtime={SECONDS}"));
                let fio = Command::new("taskset");
                let words = ["-c", OTHER_CPUS, "fio"].map(String::from);
                let report: Value =
                    serde_json::from_str(&run(fio, words.iter().chain(&arguments))?)?;
                let sides = ["read", "write"].map(|side| &report["jobs"][0][side]);
                let iops = |side: &Value| side["iops"].as_f64().context("fio's iops");
                let busy = match iops(sides[0])? > 0.0 {
                    true => sides[0],
                    false => sides[1],
                };
                let percentile = |key| busy["clat_ns"]["percentile"][key].as_f64();
                log.write(&Record::Clock {
                    contender: contender.name.into(),
                    job: job.name.into(),
                    round,
                    iops: iops(sides[0])? + iops(sides[1])?,
                    p50_us: percentile("50.000000").context("fio's percentiles")? / 1e3,
                    p99_us: percentile("99.000000").context("fio's percentiles")? / 1e3,
                })?;
            }
        }
    }
    Ok(())
}

type Ready = Vec<(&'static Contender, Running)>;

/// Starts everybody who is wanted. Who cannot be started is noted, with the reason.
fn make_ready(options: &Options, lane: Lane, log: &mut Log) -> Result<Ready> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|one| one == name);
    for name in &options.only {
        let known = CONTENDERS.iter().any(|contender| contender.name == name);
        ensure!(known, "{name}: no such contender");
    }
    let peers = options.out.join(PEERS);
    let mut ready = Vec::new();
    for contender in CONTENDERS {
        let here = contender.lane == Lane::Both || contender.lane == lane;
        if !here || !wanted(contender.name) {
            continue;
        }
        match contender.start(&peers) {
            Ok(running) => {
                eprintln!("{}: ready, {}", contender.name, running.version);
                log.write(&Record::Contender {
                    name: contender.name.into(),
                    what: contender.what.into(),
                    module: contender.module.into(),
                    version: running.version.clone(),
                })?;
                ready.push((contender, running));
            }
            Err(error) => {
                eprintln!("{}: missing: {error:#}", contender.name);
                log.write(&Record::Missing {
                    name: contender.name.into(),
                    reason: format!("{error:#}"),
                })?;
            }
        }
    }
    Ok(ready)
}

fn jobs(options: &Options) -> Vec<&'static Job> {
    let named = |job: &&Job| options.jobs.iter().any(|name| name == job.name);
    let usual = |job: &&Job| !options.quick || job.quick.is_some();
    match options.jobs.is_empty() {
        true => JOBS.iter().filter(usual).collect(),
        false => JOBS.iter().filter(named).collect(),
    }
}

/// Who has this job, in alternating order, so that nobody is always measured behind the same other.
fn in_turn<'a>(ready: &'a Ready, job: &Job, round: u32) -> Vec<&'a (&'static Contender, Running)> {
    let has = |(contender, _): &&(&'static Contender, Running)| {
        contender.jobs.is_empty() || contender.jobs.contains(&job.name)
    };
    let mut all: Vec<_> = ready.iter().filter(has).collect();
    if round % 2 == 1 {
        all.reverse();
    }
    all
}

fn fio(job: &Job, disk: &str, requests: u64) -> Result<()> {
    run_fio(&job.arguments(disk, requests)).map(drop)
}

fn run_fio(arguments: &[String]) -> Result<String> {
    run(Command::new("fio"), arguments.iter())
}

fn run<'a>(mut fio: Command, arguments: impl Iterator<Item = &'a String>) -> Result<String> {
    let output = fio
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("fio")?;
    let text = String::from_utf8_lossy(&output.stdout).to_string();
    ensure!(
        output.status.success(),
        "fio: {}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// Of all processors since the boot.
fn context_switches() -> Result<u64> {
    let text = fs::read_to_string(Path::new("/proc/stat"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "));
    line.context("/proc/stat: no ctxt")?
        .trim()
        .parse()
        .context("/proc/stat")
}
