// SPDX-License-Identifier: MIT

//! `reconnect [DEV]`: a new epoch; everything that was taken is offered again.

use abuse::{Device, Reconnect};

use crate::choose::{self, Access, Dev, Want};
use crate::failure::{Code, Failure};
use crate::{human, out};

/// Arguments of `reconnect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
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
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Write)?;
    let read_only = match (args.read_only, args.read_write) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    reconnect(&device, args.force, read_only)
}

/// What `reconnect` and `setup DEV reconnect` share.
pub fn reconnect(device: &Device, force: bool, read_only: Option<bool>) -> Result<(), Failure> {
    choose::set_up(device)?;
    let done = device.reconnect(&Reconnect { force, read_only })?;
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
