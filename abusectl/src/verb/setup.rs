// SPDX-License-Identifier: MIT

//! `setup [DEV] key[=value][,…]`: makes the disk, or keeps it (`reconnect`).

use std::thread;
use std::time::{Duration, Instant};

use abuse::{Device, Setup, State};

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINVAL};
use crate::failure::{Code, Failure};
use crate::parse::setup::{self as keys, Plan};
use crate::parse::{keys as table, words};
use crate::verb::reconnect;
use crate::{human, out};

/// Arguments of `setup`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "abusectl setup [OPTIONS] [DEV] KEY[=VALUE][,KEY[=VALUE]…]…")]
#[command(after_help = format!("{}\n{SIZES}", table::help()))]
pub struct Args {
    /// The device, then keys, separated by commas or blanks: /dev/abctl0 size=1G,bs=4096 ro
    #[arg(value_name = "KEY", required = true)]
    words: Vec<String>,
    /// Wait until the disk is there and a worker serves it
    #[arg(long)]
    wait: bool,
    /// Give up waiting after TIME, with exit code 124
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = words::duration)]
    timeout: Option<Duration>,
}

const SIZES: &str = "\
SIZE: a bare number is bytes; K, M, G, T, P (and KiB, MiB …) are powers of 1024, KB, MB … of 1000.
TIME: 250ms, 5s, 1m30s; a bare number is seconds; off.";

/// Where the keys are explained.
pub const KEYS_HINT: &str = "'abusectl setup --help' lists the keys.";

/// How long devtmpfs may take to make the node.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
/// How often to look: nothing tells user space when a worker begins to wait.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Sets the device up.
pub fn run(args: &Args) -> Result<(), Failure> {
    let usage = |why| Failure::usage(why).hint(KEYS_HINT);
    let (target, words) = keys::split(&args.words).map_err(usage)?;
    let device = match keys::plan(words).map_err(usage)? {
        Plan::Setup(setup) => {
            let device = choose::open(target.as_ref(), Want::Empty, Access::Write)?;
            set_up(&device, &setup)?;
            device
        }
        Plan::Reconnect(how) => {
            let device = choose::open(target.as_ref(), Want::SetUp, Access::Write)?;
            reconnect::reconnect(&device, &how)?;
            device
        }
    };
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    if args.wait {
        wait_for_worker(&device, deadline)?;
    }
    out::line(&device.disk_path().display().to_string())
}

/// Sets an empty device up and says on stderr what the driver made of it.
pub fn set_up(device: &Device, setup: &Setup) -> Result<(), Failure> {
    let name = device.control_path().display().to_string();
    let made = device.setup(setup).map_err(|error| {
        let failure = Failure::from(error.clone());
        match error.errno() {
            Some(EBUSY) => failure.hint(format!(
                "It is set up already. Take it down first: abusectl reset {name}; or keep the disk: abusectl setup {name} reconnect"
            )),
            Some(EINVAL) if error.hint().is_none() => {
                failure.hint("'abusectl setup --help' lists the limits; the kernel log may say more.")
            }
            _ => failure,
        }
    })?;
    for note in notes(setup, &made) {
        out::complain(&format!("abusectl: {name}: note: {note}"));
    }
    let deadline = Instant::now() + NODE_PATIENCE;
    while !device.disk_path().exists() {
        if Instant::now() >= deadline {
            out::complain(&format!(
                "abusectl: {}: note: the node is not there yet; is devtmpfs mounted on /dev?",
                device.disk_path().display()
            ));
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn wait_for_worker(device: &Device, deadline: Option<Instant>) -> Result<(), Failure> {
    let name = device.control_path().display().to_string();
    let started = Instant::now();
    loop {
        let status = choose::set_up(device)?;
        let served = status.state == State::Live && (status.workers > 0 || status.waiting > 0);
        if served && device.disk_path().exists() {
            return Ok(());
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let time = human::age(started.elapsed());
            return Err(Failure::new(
                Code::TimedOut,
                format!("{name}: set up, but no worker came in {time}"),
            )
            .hint(format!(
                "Start one: abusectl server {name} --backend ram:disk{}",
                device.number()
            )));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What the driver changed, and to what.
fn notes(wish: &Setup, made: &Setup) -> Vec<String> {
    let number = |name: &str, wish: u32, made: u32| match wish {
        0 => format!("{name} is {made}"),
        wish => format!("{name} is {made} instead of {wish}"),
    };
    let note = |name: &'static str| match name {
        "depth" => number("depth", wish.depth, made.depth),
        "queues" => number("queues", wish.queues, made.queues),
        "max_bytes" => number("max_bytes", wish.max_bytes, made.max_bytes),
        "max_segments" => number("segments", wish.max_segments, made.max_segments),
        "physical_block" => number("physical", wish.physical_block, made.physical_block),
        "io_min" => number("io_min", wish.io_min, made.io_min),
        "io_opt" => number("io_opt", wish.io_opt, made.io_opt),
        "fua" => "no FUA: without a volatile cache every write is durable anyway".into(),
        "discard" => format!(
            "{}, {}",
            number(
                "discard_granularity",
                wish.discard_granularity,
                made.discard_granularity
            ),
            number(
                "max_discard",
                wish.max_discard_bytes,
                made.max_discard_bytes
            ),
        ),
        other => format!("the driver changed {other}"),
    };
    made.adjusted().into_iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use abuse::abi;

    #[test]
    fn what_the_driver_changed_is_said_with_both_values() {
        let wish = Setup {
            depth: 9999,
            ..Setup::new(1 << 30)
        };
        let made = Setup {
            depth: 4096,
            io_opt: 65536,
            fua: false,
            adjusted: abi::ADJ_DEPTH | abi::ADJ_IO_OPT | abi::ADJ_FUA,
            ..wish.clone()
        };
        assert_eq!(
            notes(&wish, &made),
            [
                "depth is 4096 instead of 9999",
                "io_opt is 65536",
                "no FUA: without a volatile cache every write is durable anyway"
            ]
        );
    }
}
