// SPDX-License-Identifier: MIT

//! `info [DEV]`: everything about one device.
//!
//! The first seven lines are those of the 2009 tool, in its spelling; then comes what it could not
//! know. The keys of `--json` are the keys of the text.

use abuse::{OpCounts, Operation, Setup, Status};
use serde_json::Value;

use crate::choose::{self, Access, Dev, Want};
use crate::failure::Failure;
use crate::out;
use crate::table::{pretty, Cell, Object};
use crate::users::Users;

/// Arguments of `info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
    /// Print a JSON object: sizes in bytes, times in seconds
    #[arg(short = 'J', long)]
    json: bool,
}

/// Shows the device.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Read)?;
    let status = device.status()?;
    let fields = fields(&status, &Users::of(device.number()));
    out::print(&match args.json {
        true => json(&fields, &status),
        false => text(&fields, &status),
    })
}

type Field = (&'static str, Cell);

fn fields(status: &Status, users: &Users) -> Vec<Field> {
    let mut fields = v1(status);
    fields.extend(device(status, users));
    if let Some(setup) = &status.setup {
        fields.extend(shape(setup));
    }
    fields
}

fn number(n: impl Into<u64>) -> Cell {
    Cell::Number(n.into())
}

/// What the tool of 2009 printed. On a device that is not set up all but the number are 0.
fn v1(status: &Status) -> Vec<Field> {
    let get = |value: fn(&Setup) -> u64| number(status.setup.as_ref().map_or(0, value));
    let pending = u64::from(status.queued) + u64::from(status.taken) + u64::from(status.draining);
    vec![
        ("ab_size", get(|setup| setup.bytes)),
        ("ab_number", number(status.number)),
        ("ab_flags", get(|setup| setup.read_only.into())),
        ("ab_blocksize", get(|setup| setup.logical_block.into())),
        ("ab_max_queue", get(|setup| setup.depth.into())),
        ("ab_queue_size", number(pending)),
        ("ab_errors", number(status.errors)),
    ]
}

fn device(status: &Status, users: &Users) -> Vec<Field> {
    vec![
        ("disk", Cell::Text(format!("/dev/abuse{}", status.number))),
        (
            "control",
            Cell::Text(format!("/dev/abctl{}", status.number)),
        ),
        ("name", Cell::maybe(status.name.clone(), Cell::Text)),
        ("state", Cell::Text(status.state.name().into())),
        ("sequence", number(status.sequence)),
        ("epoch", number(status.epoch)),
        ("queued", number(status.queued)),
        ("taken", number(status.taken)),
        ("draining", number(status.draining)),
        ("forwarding", number(status.forwarding)),
        (
            "oldest_queued",
            Cell::maybe(status.oldest_queued, Cell::Age),
        ),
        ("oldest_taken", Cell::maybe(status.oldest_taken, Cell::Age)),
        ("workers", number(status.workers)),
        ("waiting", number(status.waiting)),
        ("openers", number(status.openers)),
        ("stale", number(status.stale)),
        ("refused", number(status.refused)),
        ("unflushed", number(status.unflushed)),
        ("mountpoints", Cell::Lines(users.mountpoints_and_swap())),
        ("holders", Cell::Lines(users.holders.clone())),
        ("driver_version", Cell::Text(status.driver_version.clone())),
        ("abi_version", number(status.abi_version)),
        ("abi_features", Cell::Lines(abi_features(status))),
    ]
}

fn shape(setup: &Setup) -> Vec<Field> {
    vec![
        ("size", Cell::Bytes(setup.bytes)),
        ("read_only", Cell::Bool(setup.read_only)),
        ("logical_block", number(setup.logical_block)),
        ("physical_block", number(setup.physical_block)),
        ("io_min", number(setup.io_min)),
        ("io_opt", number(setup.io_opt)),
        ("max_bytes", number(setup.max_bytes)),
        ("depth", number(setup.depth)),
        ("queues", number(setup.queues)),
        ("segments", number(setup.max_segments)),
        ("write_through", Cell::Bool(setup.write_through)),
        ("fua", Cell::Bool(setup.fua)),
        ("rotational", Cell::Bool(setup.rotational)),
        ("partscan", Cell::Bool(setup.partscan)),
        ("discard", Cell::Bool(setup.discard)),
        ("write_zeroes", Cell::Bool(setup.write_zeroes)),
        ("secure_erase", Cell::Bool(setup.secure_erase)),
        ("discard_granularity", number(setup.discard_granularity)),
        ("max_discard", number(setup.max_discard_bytes)),
        ("requeue_on_close", Cell::Bool(setup.requeue_on_close)),
        ("fenced_backend", Cell::Bool(setup.fenced_backend)),
        ("max_attempts", number(setup.max_attempts)),
        ("lease", Cell::maybe(setup.lease, Cell::Age)),
        ("no_server", Cell::maybe(setup.no_server, Cell::Age)),
        (
            "adjusted",
            Cell::Lines(
                setup
                    .adjusted()
                    .iter()
                    .map(|name| name.to_string())
                    .collect(),
            ),
        ),
    ]
}

/// The parts of the ABI there are; those that this version does not know by their bits.
fn abi_features(status: &Status) -> Vec<String> {
    let known = [
        (abuse::abi::ABI_EXCHANGE, "exchange"),
        (abuse::abi::ABI_V1, "v1"),
        (abuse::abi::ABI_FORWARD, "forward"),
    ];
    let has = |bit: u64| status.abi_features & bit != 0;
    let names = known.iter().filter(|(bit, _)| has(*bit));
    let mut names: Vec<String> = names.map(|(_, name)| name.to_string()).collect();
    let others = known
        .iter()
        .fold(status.abi_features, |bits, (bit, _)| bits & !bit);
    if others != 0 {
        names.push(format!("{others:#x}"));
    }
    names
}

fn counts(counts: &OpCounts) -> [(&'static str, Cell); 8] {
    [
        ("queued", number(counts.queued)),
        ("taken", number(counts.taken)),
        ("done", number(counts.done)),
        ("requeued", number(counts.requeued)),
        ("failed", number(counts.failed)),
        ("bytes", number(counts.bytes)),
        ("total", Cell::Age(counts.total)),
        ("service", Cell::Age(counts.service)),
    ]
}

/// `write-zeroes` as a key.
fn key(operation: Operation) -> String {
    operation.name().replace('-', "_")
}

fn text(fields: &[Field], status: &Status) -> String {
    let mut text = String::new();
    for (name, cell) in fields {
        let value = match cell {
            Cell::Bool(yes) => (if *yes { "yes" } else { "no" }).to_string(),
            Cell::None if *name == "lease" || *name == "no_server" => "off".into(),
            Cell::None => "none".into(),
            Cell::Lines(lines) if lines.is_empty() => "none".into(),
            cell => cell.text(false).join(", "),
        };
        text.push_str(&format!("{name}: {value}\n"));
    }
    if status.setup.is_some() {
        for operation in Operation::ALL {
            let counts = counts(status.counts(operation));
            let counts: Vec<String> = counts
                .iter()
                .map(|(name, cell)| format!("{name}={}", cell.text(false).join(",")))
                .collect();
            text.push_str(&format!("{}: {}\n", key(operation), counts.join(" ")));
        }
    }
    text
}

fn json(fields: &[Field], status: &Status) -> String {
    let mut object: Vec<(String, Value)> = fields
        .iter()
        .map(|(name, cell)| (name.to_string(), cell.json()))
        .collect();
    let operations = Operation::ALL.map(|operation| {
        let counts = counts(status.counts(operation)).map(|(name, n)| (name.to_string(), n.json()));
        (key(operation), Value::Object(counts.into_iter().collect()))
    });
    object.push((
        "operations".into(),
        Value::Object(operations.into_iter().collect()),
    ));
    pretty(&Object(object))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use abuse::State;
    use std::time::Duration;

    pub(in crate::verb) fn status(setup: Option<Setup>) -> Status {
        Status {
            number: 3,
            name: None,
            state: State::Live,
            sequence: 9,
            epoch: 2,
            queued: 1,
            taken: 2,
            draining: 0,
            forwarding: 0,
            workers: 1,
            waiting: 0,
            openers: 1,
            errors: 4,
            oldest_queued: Some(Duration::from_millis(1500)),
            oldest_taken: None,
            stale: 0,
            refused: 0,
            unflushed: 0,
            setup,
            ops: [OpCounts {
                taken: 7,
                ..OpCounts::default()
            }; 6],
            driver_version: "0.1.0".into(),
            abi_version: 2,
            abi_features: 0x13,
        }
    }

    fn disk() -> Setup {
        Setup {
            logical_block: 4096,
            depth: 128,
            read_only: true,
            ..Setup::new(1 << 30)
        }
    }

    #[test]
    fn the_first_lines_are_those_of_2009() {
        let status = status(Some(disk()));
        let text = text(&fields(&status, &Users::default()), &status);
        let first: Vec<&str> = text.lines().take(7).collect();
        assert_eq!(
            first,
            [
                "ab_size: 1073741824",
                "ab_number: 3",
                "ab_flags: 1",
                "ab_blocksize: 4096",
                "ab_max_queue: 128",
                "ab_queue_size: 3",
                "ab_errors: 4"
            ]
        );
        assert!(
            text.contains("\noldest_queued: 1.5s\n") && text.contains("\noldest_taken: none\n")
        );
        assert!(text.contains("\nlease: off\n") && text.contains("\nrequeue_on_close: yes\n"));
        assert!(text.contains("\nwrite_zeroes: no\n"));
    }

    #[test]
    fn json_has_every_key_once_with_numbers_and_booleans() {
        let status = status(Some(disk()));
        let fields = fields(&status, &Users::default());
        let value: Value = serde_json::from_str(&json(&fields, &status)).expect("json");
        assert_eq!(value["ab_size"], 1 << 30);
        assert_eq!(value["read_only"], true);
        assert_eq!(value["oldest_queued"], 1.5);
        assert_eq!(value["oldest_taken"], Value::Null);
        assert_eq!(value["mountpoints"], serde_json::json!([]));
        assert_eq!(value["operations"]["write_zeroes"]["taken"], 7);
        assert_eq!(value["operations"]["write_zeroes"]["total"], 0.0);
        assert_eq!(
            value["abi_features"],
            serde_json::json!(["exchange", "v1", "0x10"])
        );
        let object = value.as_object().expect("an object");
        assert_eq!(object.len(), fields.len() + 1);
    }

    #[test]
    fn a_device_that_is_not_set_up_has_no_shape() {
        let status = status(None);
        let text = text(&fields(&status, &Users::default()), &status);
        assert!(text.starts_with("ab_size: 0\nab_number: 3\n"));
        assert!(!text.contains("logical_block"));
    }
}
