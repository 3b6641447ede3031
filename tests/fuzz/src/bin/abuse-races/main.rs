// SPDX-License-Identifier: MIT

//! `abuse-races`: see [`abuse_fuzz::races`].

use std::process::{exit, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abuse_fuzz::races::{round, Act, Figures, Opponent, ACTS, OPPONENTS};
use abuse_scenarios::kit::detectors::patience;
use abuse_scenarios::kit::kernel_log::KernelLog;
use abuse_scenarios::kit::udev;
use anyhow::{bail, Context, Result};

const USAGE: &str = "\
usage: abuse-races [--count N] [--from N] [--pair ACT OPPONENT] [--settle]

Each pair of an act (setup, reset, open, close, poll, add, remove, resize,
unload) and an opponent (io, scan, killed) for
--count (100) rounds, beginning with the round --from (0). With --settle udevd must come to rest at the end. Exit status: 0 all went well; 1 a round did
not, and which; 2 wrong usage.";

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(500);
/// What udevd may need to look at what a round told it of.
const BACKLOG: Duration = Duration::from_millis(200);
/// And for the last of it.
const LAST_EVENTS: Duration = Duration::from_secs(20);
/// What it sees so often, hangs: two minutes of a machine that runs, eight on a debug kernel. Where the
/// machine itself stood still, however long, it has looked only once.
const TOO_OFTEN: u32 = 240;

struct Plan {
    count: u64,
    from: u64,
    settle: bool,
    pairs: Vec<(Act, Opponent)>,
}

/// What goes on, and how often the watchdog has seen it.
struct Now {
    what: String,
    looks: u32,
}

static NOW: Mutex<Option<Now>> = Mutex::new(None);
/// Something else goes on.
static CHANGED: Condvar = Condvar::new();
static DONE: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let plan = match plan(&words) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("abuse-races: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (started, figures) = (Instant::now(), Figures::default());
    thread::spawn(watch);
    let ran = run(&plan, &figures);
    let findings = u32::from(ran.is_err());
    if let Err(error) = ran {
        println!("FINDING: {error:#}");
    }
    let get = |count: &AtomicU64| count.load(Relaxed);
    println!(
        "races: count={} from={} pairs={} rounds={} seconds={:.0} io={} io_failed={} scans={} taken={} \
         kills={} removes={} unloads={} in_use={} refused={} findings={findings}",
        plan.count,
        plan.from,
        plan.pairs.len(),
        get(&DONE),
        started.elapsed().as_secs_f32(),
        get(&figures.io),
        get(&figures.io_failed),
        get(&figures.scans),
        get(&figures.taken),
        get(&figures.kills),
        get(&figures.removes),
        get(&figures.unloads),
        get(&figures.in_use),
        get(&figures.refused),
    );
    ExitCode::from(findings as u8)
}

fn run(plan: &Plan, figures: &Figures) -> Result<()> {
    let mut log = KernelLog::begin("abuse-races: begin")?;
    let mut told = Instant::now();
    for index in plan.from..plan.from + plan.count {
        for &(act, opponent) in &plan.pairs {
            let name = format!("{act:?} against {opponent:?}, round {index}");
            begin(Some(name.clone()));
            round(act, opponent, index, figures).with_context(|| name.clone())?;
            DONE.fetch_add(1, Relaxed);
            begin(Some(format!("looking at the log behind {name}")));
            if let Some(line) = log.bad_lines()?.first() {
                bail!("{name}: the kernel says: {line}");
            }
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!(
                "races: {} rounds, go on with FROM={}",
                DONE.load(Relaxed),
                index + 1
            );
        }
    }
    begin(None);
    // Some of the disks it was told of are long gone.
    match plan.settle {
        true => udev::settle_within(LAST_EVENTS + BACKLOG * DONE.load(Relaxed) as u32),
        false => Ok(()),
    }
}

/// Tells the watchdog what goes on from now on.
fn begin(what: Option<String>) {
    *now() = what.map(|what| Now { what, looks: 0 });
    CHANGED.notify_all();
}

fn now() -> MutexGuard<'static, Option<Now>> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program when something hangs: its threads may never end.
fn watch() {
    let mut seen = now();
    loop {
        let (next, waited) = CHANGED
            .wait_timeout(seen, patience(LOOK))
            .unwrap_or_else(PoisonError::into_inner);
        seen = next;
        let Some(going_on) = seen.as_mut().filter(|_| waited.timed_out()) else {
            continue;
        };
        going_on.looks += 1;
        if going_on.looks >= TOO_OFTEN {
            let _ = std::fs::write("/proc/sysrq-trigger", "w");
            println!("FINDING: {}: it hangs", going_on.what);
            print!("{}", whereabouts());
            println!("races: rounds={} findings=1", DONE.load(Relaxed));
            exit(1);
        }
    }
}

/// Where each thread of this program is, in the kernel's words.
fn whereabouts() -> String {
    let mut text = String::new();
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let state = stat.rsplit_once(") ").map_or("?", |(_, rest)| &rest[..1]);
        let (id, call) = (task.file_name(), read("syscall"));
        text += &format!("thread {id:?}, state {state}, call {}", call);
        text += &read("stack");
    }
    text
}

fn plan(words: &[String]) -> Result<Plan> {
    let all = ACTS
        .iter()
        .flat_map(|&act| OPPONENTS.map(|opponent| (act, opponent)));
    let mut plan = Plan {
        count: 100,
        from: 0,
        settle: false,
        pairs: all.collect(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word}: wants a value"))
        };
        match word.as_str() {
            "--count" => plan.count = value()?.parse().context("--count")?,
            "--from" => plan.from = value()?.parse().context("--from")?,
            "--settle" => plan.settle = true,
            "--pair" => {
                let (act, opponent) = (value()?, value()?);
                let is = |name: String, word: &str| name.eq_ignore_ascii_case(word);
                plan.pairs.retain(|pair| {
                    is(format!("{:?}", pair.0), act) && is(format!("{:?}", pair.1), opponent)
                });
                if plan.pairs.is_empty() {
                    bail!("there is no pair {act} {opponent}");
                }
            }
            other => bail!("{other}: no such option"),
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_there_and_one_can_be_chosen() {
        assert_eq!(plan(&[]).unwrap().pairs.len(), ACTS.len() * OPPONENTS.len());
        let words = ["--pair", "unload", "scan", "--from", "7"].map(String::from);
        let plan = plan(&words).unwrap();
        assert_eq!(plan.pairs, [(Act::Unload, Opponent::Scan)]);
        assert_eq!((plan.from, plan.count), (7, 100));
    }

    #[test]
    fn what_is_no_pair_or_option_is_refused() {
        for words in [["--pair", "unload", "moon"], ["--counts", "1", "2"]] {
            assert!(plan(&words.map(String::from)).is_err());
        }
    }
}
