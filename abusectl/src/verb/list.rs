// SPDX-License-Identifier: MIT

//! `list [DEV…]`.

use abuse::{Device, State, Status};

use crate::choose::{self, Access, Want};
use crate::failure::{Code, Failure};
use crate::out;
use crate::parse::dev::{self, Target};
use crate::table::{self, Cell, Column, Style};
use crate::users::Users;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
#[command(after_help = table::help(COLUMNS))]
pub struct Args {
    /// The devices to list; all of them when none is named
    #[arg(value_name = "DEV", value_parser = dev::dev)]
    devices: Vec<Target>,
    #[command(flatten)]
    style: Style,
}

const USUAL: &[&str] = &[
    "NAME",
    "SIZE",
    "BS",
    "RO",
    "STATE",
    "QUEUED",
    "TAKEN",
    "DEPTH",
    "OLDEST",
    "ERRORS",
    "EPOCH",
    "WORKERS",
    "MOUNTPOINTS",
];

const fn left(name: &'static str, help: &'static str) -> Column {
    Column {
        name,
        right: false,
        help,
    }
}

const fn right(name: &'static str, help: &'static str) -> Column {
    Column {
        name,
        right: true,
        help,
    }
}

const COLUMNS: &[Column] = &[
    left("NAME", "the disk"),
    left("CONTROL", "its control node"),
    right("NUMBER", "its number"),
    left("ALIAS", "the name it was added under"),
    right("SIZE", "capacity"),
    right("BS", "logical block size in bytes"),
    right("PBS", "physical block size in bytes"),
    right("RO", "whether it refuses writes"),
    left("STATE", "empty, ready (no worker yet), live, resetting"),
    right("QUEUED", "requests nobody has taken"),
    right("TAKEN", "requests a worker holds"),
    right("DRAINING", "requests in the middle of a copy"),
    right("DEPTH", "requests per hardware queue"),
    right("QUEUES", "hardware queues"),
    right("OLDEST", "age of the oldest pending request"),
    right("ERRORS", "requests that ended with an error"),
    right("EPOCH", "set-ups and reconnects so far"),
    right("SEQUENCE", "of the device; never used twice"),
    right("WORKERS", "processes that serve it"),
    right("WAITING", "threads that wait for requests"),
    right("OPENERS", "how often the disk is open"),
    right("STALE", "completions refused because they came too late"),
    right("REFUSED", "re-offers refused because a writer lives"),
    left("HOLDERS", "devices built on top of it"),
    left("MOUNTPOINTS", "where it and its partitions are mounted"),
];

/// Lists the devices.
pub fn run(args: &Args) -> Result<(), Failure> {
    let indices = table::choose(args.style.columns.as_deref(), COLUMNS, USUAL)
        .map_err(|why| Failure::usage(why).hint("'abusectl list --help' lists the columns."))?;
    let columns: Vec<&Column> = indices.iter().map(|&index| &COLUMNS[index]).collect();
    let all = args.devices.is_empty();
    let targets = match all {
        false => args.devices.clone(),
        true => Device::numbers()?.into_iter().map(Target::Number).collect(),
    };
    if targets.is_empty() && !choose::driver_is_loaded() {
        return Err(Failure::new(
            Code::NoDevice,
            "there are no devices: the driver is not loaded",
        )
        .hint(choose::LOAD_HINT));
    }
    let mut rows = Vec::new();
    let mut failed = None;
    for target in &targets {
        match look(target) {
            Ok((status, users)) => rows.push(
                columns
                    .iter()
                    .map(|c| cell(c.name, &status, &users))
                    .collect(),
            ),
            // Removed since all were counted.
            Err(failure) if all && failure.code() == Code::NoDevice => {}
            Err(failure) => {
                failure.report();
                failed = Some(failure.code());
            }
        }
    }
    out::print(&table::render("devices", &columns, &rows, &args.style))?;
    failed.map_or(Ok(()), |code| Err(Failure::silent(code)))
}

fn look(target: &Target) -> Result<(Status, Users), Failure> {
    let device = choose::open(Some(target), Want::SetUp, Access::Read)?;
    Ok((device.status()?, Users::of(device.number())))
}

fn cell(column: &str, status: &Status, users: &Users) -> Cell {
    let setup = status.setup.as_ref();
    let number = |n: u32| Cell::Number(n.into());
    let attribute = |get: fn(&abuse::Setup) -> u32| Cell::maybe(setup.map(get), number);
    // Counts of a disk that is not there would only be noise.
    let count = |n: u32| match status.state {
        State::Empty => Cell::None,
        _ => number(n),
    };
    match column {
        "NAME" => Cell::Text(format!("/dev/abuse{}", status.number)),
        "CONTROL" => Cell::Text(format!("/dev/abctl{}", status.number)),
        "NUMBER" => number(status.number),
        "ALIAS" => Cell::maybe(status.name.clone(), Cell::Text),
        "SIZE" => Cell::maybe(setup, |setup| Cell::Bytes(setup.bytes)),
        "BS" => attribute(|setup| setup.logical_block),
        "PBS" => attribute(|setup| setup.physical_block),
        "RO" => Cell::maybe(setup, |setup| Cell::Bool(setup.read_only)),
        "STATE" => Cell::Text(status.state.name().into()),
        "QUEUED" => count(status.queued),
        "TAKEN" => count(status.taken),
        "DRAINING" => count(status.draining),
        "DEPTH" => attribute(|setup| setup.depth),
        "QUEUES" => attribute(|setup| setup.queues),
        "OLDEST" => Cell::maybe(status.oldest_queued.max(status.oldest_taken), Cell::Age),
        "ERRORS" => count(status.errors),
        "EPOCH" => number(status.epoch),
        "SEQUENCE" => Cell::Number(status.sequence),
        "WORKERS" => count(status.workers),
        "WAITING" => count(status.waiting),
        "OPENERS" => count(status.openers),
        "STALE" => Cell::Number(status.stale),
        "REFUSED" => Cell::Number(status.refused),
        "HOLDERS" => Cell::Lines(users.holders.clone()),
        "MOUNTPOINTS" => Cell::Lines(users.mountpoints_and_swap()),
        _ => Cell::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_columns_are_those_of_the_manual_in_its_order() {
        let indices = table::choose(None, COLUMNS, USUAL).expect("columns");
        let names: Vec<&str> = indices.iter().map(|&index| COLUMNS[index].name).collect();
        assert_eq!(names, USUAL);
    }
}
