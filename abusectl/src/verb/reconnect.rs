// SPDX-License-Identifier: MIT

//! `reconnect [DEV] [key[=value][,…]…]`: a new epoch; everything that was taken is offered again, and
//! the policies change that are named.

use abuse::setup_keys::CHANGEABLE;
use abuse::{Device, Reconnect};

use crate::choose::{self, Access, Want};
use crate::failure::{Code, Failure};
use crate::parse::setup::{self as keys, Plan};
use crate::verb::setup::KEYS_HINT;
use crate::{human, out};

/// Arguments of `reconnect`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "abusectl reconnect [OPTIONS] [DEV] [KEY[=VALUE][,KEY[=VALUE]…]…]")]
#[command(after_help = format!(
    "Keys that change a disk which is there: {}.\n{KEYS_HINT}", CHANGEABLE.join(", ")
))]
pub struct Args {
    /// The device, which may be left out where exactly one is set up; then the policies to change,
    /// as for setup: /dev/abctl0 lease=5s,max_attempts=3
    #[arg(value_name = "KEY")]
    words: Vec<String>,
    /// Offer writes of living workers again too; it is on you that they never write again
    #[arg(long)]
    force: bool,
    /// Make the disk read-only
    #[arg(long, conflicts_with = "read_write")]
    read_only: bool,
    /// Make the disk writable again
    #[arg(long)]
    read_write: bool,
}

/// Reconnects.
pub fn run(args: &Args) -> Result<(), Failure> {
    let usage = |why| Failure::usage(why).hint(KEYS_HINT);
    let (target, words) = keys::split(&args.words).map_err(usage)?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.push("reconnect");
    if args.read_only {
        words.push("ro");
    }
    if args.read_write {
        words.push("rw");
    }
    let Plan::Reconnect(mut how) = keys::plan(&words).map_err(usage)? else {
        return Err(usage("only policies can be changed".into()));
    };
    how.force = args.force;
    let device = choose::open(target.as_ref(), Want::SetUp, Access::Write)?;
    reconnect(&device, &how)
}

/// What `reconnect` and `setup DEV reconnect` share.
pub fn reconnect(device: &Device, how: &Reconnect) -> Result<(), Failure> {
    choose::set_up(device)?;
    let done = device.reconnect(how)?;
    let name = device.control_path().display().to_string();
    out::line(&format!(
        "{name}: epoch {} -> {}, {} offered again",
        done.old_epoch,
        done.new_epoch,
        human::count(done.requeued.into(), "request"),
    ))?;
    refused(&name, done.refused)
}

/// Exit code 5 when living workers kept something they might still write.
pub fn refused(name: &str, refused: u32) -> Result<(), Failure> {
    if refused == 0 {
        return Ok(());
    }
    let requests = human::count(refused.into(), "request");
    Err(Failure::new(
        Code::Busy,
        format!("{name}: {requests} not offered again: a worker that lives may still write them"),
    )
    .hint(LIVING_WRITER))
}

/// What to do about a worker that lives and holds writes.
pub const LIVING_WRITER: &str =
    "Kill the worker (SIGKILL) and wait until it is gone, then try again; \
     --force offers them again at once, and risks that both write.";
