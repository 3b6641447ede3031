// SPDX-License-Identifier: MIT

//! `top [DEV…]`: what the disks do, again and again.
//!
//! Everything is of the time between two looks. LATENCY is the mean from the moment in which the
//! block layer brought a request to its completion, SERVICE the part of it in which its last owner
//! had it; both are of requests that went well. What never ends has no latency: OLDEST shows it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use abuse::{Device, OpCounts, Operation, State, Status};

use crate::choose::{self, Access, Want};
use crate::failure::{Code, Failure};
use crate::out;
use crate::parse::dev::{self, Target};
use crate::parse::words;
use crate::table::{self, Cell, Column, Style};

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
#[command(after_help = table::help(COLUMNS))]
pub struct Args {
    /// The devices to watch; all that are set up when none is named
    #[arg(value_name = "DEV", value_parser = dev::dev)]
    devices: Vec<Target>,
    /// Print one table after the other, for scripts; so it does where there is no terminal
    #[arg(short, long)]
    batch: bool,
    /// End after N tables
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,
    /// Time between two looks
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = words::duration)]
    delay: Duration,
    /// Columns to print, separated by commas; +COLS adds to the usual ones
    #[arg(short = 'o', long = "output", value_name = "COLS")]
    columns: Option<String>,
    /// Print no heading line
    #[arg(long)]
    noheadings: bool,
    /// Print sizes in bytes
    #[arg(long)]
    bytes: bool,
    /// Print one JSON object per look: sizes in bytes, times in seconds
    #[arg(short = 'J', long, conflicts_with = "raw")]
    json: bool,
    /// Print for scripts: one space between columns, special characters as \xHH
    #[arg(long)]
    raw: bool,
}

const USUAL: &[&str] = &[
    "NAME", "R/S", "W/S", "O/S", "READ/S", "WRITE/S", "LATENCY", "SERVICE", "QUEUED", "TAKEN",
    "OLDEST", "WORKERS", "WAITING", "ERRORS",
];

const COLUMNS: &[Column] = &[
    Column {
        name: "NAME",
        right: false,
        help: "the disk",
    },
    Column {
        name: "STATE",
        right: false,
        help: "empty, ready (no worker yet), live, resetting",
    },
    right("R/S", "reads that ended, per second"),
    right("W/S", "writes that ended, per second"),
    right("O/S", "others that ended, per second"),
    right("READ/S", "bytes read, per second"),
    right("WRITE/S", "bytes written, per second"),
    right("LATENCY", "mean time from arrival to completion"),
    right("R-LATENCY", "the same of reads"),
    right("W-LATENCY", "the same of writes"),
    right("SERVICE", "of that, in the hands of its last owner"),
    right("QUEUED", "requests nobody has taken"),
    right("TAKEN", "requests a worker holds"),
    right("OLDEST", "age of the oldest pending request"),
    right("WORKERS", "processes that serve it"),
    right("WAITING", "threads that wait for requests"),
    right("REQUEUED", "claims taken back, per second"),
    right(
        "STALE",
        "completions refused for coming too late, per second",
    ),
    right("ERRORS", "requests that ended with an error, per second"),
];

const fn right(name: &'static str, help: &'static str) -> Column {
    Column {
        name,
        right: true,
        help,
    }
}

/// Looks until it is told to end, or as often as was asked.
pub fn run(args: &Args) -> Result<(), Failure> {
    let indices = table::choose(args.columns.as_deref(), COLUMNS, USUAL)
        .map_err(|why| Failure::usage(why).hint("'abusectl top --help' lists the columns."))?;
    let columns: Vec<&Column> = indices.iter().map(|&index| &COLUMNS[index]).collect();
    if args.delay.is_zero() {
        return Err(Failure::usage(
            "--delay 0: between two looks there must be time",
        ));
    }
    if !choose::driver_is_loaded() {
        return Err(Failure::new(
            Code::NoDevice,
            "there are no devices: the driver is not loaded",
        )
        .hint(choose::LOAD_HINT));
    }
    let style = Style {
        noheadings: args.noheadings,
        bytes: args.bytes,
        json: args.json,
        raw: args.raw,
        ..Style::default()
    };
    let live = !args.batch && !args.json && !args.raw && std::io::stdout().is_terminal();
    let mut before = look(&args.devices)?;
    let mut count = 0;
    if live {
        out::print(CLEAR)?;
    }
    while args.iterations != Some(count) {
        std::thread::sleep(args.delay);
        let now = look(&args.devices)?;
        let rows: Vec<Vec<Cell>> = now
            .seen
            .iter()
            .map(|after| {
                let past = before.seen.iter().find(|past| past.number == after.number);
                let rates = Rates::between(past, after, now.at.duration_since(before.at));
                columns
                    .iter()
                    .map(|c| cell(c.name, after, &rates))
                    .collect()
            })
            .collect();
        let text = table::render("devices", &columns, &rows, &style);
        match live {
            true => out::print(&in_place(&text, rows.len(), args.delay))?,
            false => {
                // An empty line between tables that have headings; nothing where fields are counted.
                let gap = count > 0 && !style.json && !style.raw && !style.noheadings;
                out::print(&format!("{}{text}", if gap { "\n" } else { "" }))?;
            }
        }
        before = now;
        count += 1;
    }
    Ok(())
}

/// Empties the screen.
const CLEAR: &str = "\x1b[2J";

/// The table over the one that was there before.
fn in_place(table: &str, devices: usize, delay: Duration) -> String {
    let mut text = format!(
        "\x1b[Habusectl top: {}, every {}; Ctrl-C ends it\x1b[K\n\x1b[K\n",
        crate::human::count(devices as u64, "device"),
        crate::human::age(delay),
    );
    for line in table.lines() {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

/// What was seen at one moment.
struct Look {
    at: Instant,
    seen: Vec<Status>,
}

/// Looks at the devices that were named, or at all that are set up.
fn look(named: &[Target]) -> Result<Look, Failure> {
    let targets = match named {
        [] => Device::numbers()?.into_iter().map(Target::Number).collect(),
        named => named.to_vec(),
    };
    let mut seen = Vec::new();
    for target in &targets {
        let status = choose::open(Some(target), Want::SetUp, Access::Read)
            .and_then(|device| Ok(device.status()?));
        match status {
            Ok(status) if named.is_empty() && status.state == State::Empty => {}
            Ok(status) => seen.push(status),
            // Removed between two looks.
            Err(failure) if named.is_empty() && failure.code() == Code::NoDevice => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(Look {
        at: Instant::now(),
        seen,
    })
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    reads: f64,
    writes: f64,
    others: f64,
    read: f64,
    written: f64,
    requeued: f64,
    stale: f64,
    errors: f64,
    latency: Option<Duration>,
    read_latency: Option<Duration>,
    write_latency: Option<Duration>,
    service: Option<Duration>,
}

impl Rates {
    /// Without `before`, of a device that is new: since it was set up.
    fn between(before: Option<&Status>, after: &Status, elapsed: Duration) -> Rates {
        // Counts begin anew with a set-up: then they are of less time than this.
        let past = before.filter(|before| {
            let counts = before.ops.iter().zip(&after.ops);
            before.sequence == after.sequence
                && before.stale <= after.stale
                && counts
                    .into_iter()
                    .all(|(b, a)| b.queued <= a.queued && ended(b) <= ended(a))
        });
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let per_second = |count: u64| count as f64 / seconds;
        let delta = |op: Operation| {
            let now = after.counts(op);
            match past.map(|past| past.counts(op)) {
                Some(past) => minus(now, past),
                None => *now,
            }
        };
        let (reads, writes) = (delta(Operation::Read), delta(Operation::Write));
        let all = Operation::ALL.map(delta);
        let sum = |get: fn(&OpCounts) -> u64| all.iter().map(get).sum::<u64>();
        let done = sum(|op| op.done);
        let total: Duration = all.iter().map(|op| op.total).sum();
        let service: Duration = all.iter().map(|op| op.service).sum();
        let stale = after.stale - past.map_or(0, |past| past.stale);
        Rates {
            reads: per_second(ended(&reads)),
            writes: per_second(ended(&writes)),
            others: per_second(sum(ended) - ended(&reads) - ended(&writes)),
            read: per_second(reads.bytes),
            written: per_second(writes.bytes),
            requeued: per_second(sum(|op| op.requeued)),
            stale: per_second(stale),
            errors: per_second(sum(|op| op.failed)),
            latency: mean(total, done),
            read_latency: mean(reads.total, reads.done),
            write_latency: mean(writes.total, writes.done),
            service: mean(service, done),
        }
    }
}

fn ended(counts: &OpCounts) -> u64 {
    counts.done + counts.failed
}

fn minus(now: &OpCounts, past: &OpCounts) -> OpCounts {
    OpCounts {
        queued: now.queued.saturating_sub(past.queued),
        taken: now.taken.saturating_sub(past.taken),
        done: now.done.saturating_sub(past.done),
        requeued: now.requeued.saturating_sub(past.requeued),
        failed: now.failed.saturating_sub(past.failed),
        bytes: now.bytes.saturating_sub(past.bytes),
        total: now.total.saturating_sub(past.total),
        service: now.service.saturating_sub(past.service),
    }
}

fn mean(total: Duration, count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_nanos((total.as_nanos() / u128::from(count)) as u64))
}

fn cell(column: &str, status: &Status, rates: &Rates) -> Cell {
    let number = |n: u32| Cell::Number(n.into());
    let bytes = |rate: f64| Cell::Bytes(rate.round() as u64);
    match column {
        "NAME" => Cell::Text(format!("/dev/abuse{}", status.number)),
        "STATE" => Cell::Text(status.state.name().into()),
        "R/S" => Cell::Rate(rates.reads),
        "W/S" => Cell::Rate(rates.writes),
        "O/S" => Cell::Rate(rates.others),
        "READ/S" => bytes(rates.read),
        "WRITE/S" => bytes(rates.written),
        "LATENCY" => Cell::maybe(rates.latency, Cell::Age),
        "R-LATENCY" => Cell::maybe(rates.read_latency, Cell::Age),
        "W-LATENCY" => Cell::maybe(rates.write_latency, Cell::Age),
        "SERVICE" => Cell::maybe(rates.service, Cell::Age),
        "QUEUED" => number(status.queued),
        "TAKEN" => number(status.taken),
        "OLDEST" => Cell::maybe(status.oldest_queued.max(status.oldest_taken), Cell::Age),
        "WORKERS" => number(status.workers),
        "WAITING" => number(status.waiting),
        "REQUEUED" => Cell::Rate(rates.requeued),
        "STALE" => Cell::Rate(rates.stale),
        "ERRORS" => Cell::Rate(rates.errors),
        _ => Cell::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sequence: u64, reads: OpCounts, flushes: OpCounts) -> Status {
        let mut ops = [OpCounts::default(); 6];
        ops[Operation::Read as usize] = reads;
        ops[Operation::Flush as usize] = flushes;
        Status {
            sequence,
            ops,
            ..crate::verb::info::tests::status(None)
        }
    }

    fn counts(done: u64, bytes: u64, total: u64, service: u64) -> OpCounts {
        OpCounts {
            queued: done,
            done,
            bytes,
            total: Duration::from_micros(total),
            service: Duration::from_micros(service),
            ..OpCounts::default()
        }
    }

    #[test]
    fn rates_and_means_are_of_the_time_between_two_looks() {
        let none = OpCounts::default();
        let before = status(1, counts(100, 409_600, 5_000, 1_000), none);
        let after = status(
            1,
            counts(120, 491_520, 7_000, 1_500),
            counts(5, 0, 500, 500),
        );
        let rates = Rates::between(Some(&before), &after, Duration::from_secs(2));
        assert_eq!(
            (rates.reads, rates.others, rates.read),
            (10.0, 2.5, 40_960.0)
        );
        assert_eq!(rates.latency, Some(Duration::from_micros(100)));
        assert_eq!(rates.read_latency, Some(Duration::from_micros(100)));
        assert_eq!(rates.service, Some(Duration::from_micros(40)));
        assert_eq!((rates.writes, rates.write_latency), (0.0, None));
    }

    #[test]
    fn what_counts_anew_is_not_subtracted_from() {
        let old = status(1, counts(1000, 0, 0, 0), OpCounts::default());
        for new in [
            status(1, counts(30, 0, 0, 0), OpCounts::default()),
            status(2, counts(30, 0, 0, 0), OpCounts::default()),
        ] {
            let rates = Rates::between(Some(&old), &new, Duration::from_secs(1));
            assert_eq!(rates.reads, 30.0);
            assert_eq!(Rates::between(None, &new, Duration::from_secs(1)), rates);
        }
    }

    #[test]
    fn a_screen_is_written_over_and_its_rest_wiped() {
        let text = in_place("NAME\nx\n", 1, Duration::from_secs(2));
        assert!(
            text.starts_with("\x1b[Habusectl top: 1 device, every 2.0s"),
            "{text:?}"
        );
        assert!(text.ends_with("NAME\x1b[K\nx\x1b[K\n\x1b[J"), "{text:?}");
    }

    #[test]
    fn the_usual_columns_are_columns() {
        let indices = table::choose(None, COLUMNS, USUAL).expect("columns");
        assert_eq!(indices.len(), USUAL.len());
    }
}
