// SPDX-License-Identifier: MIT

//! `poll [DEV]`: waits until requests wait for somebody to take them.

use std::time::Duration;

use crate::choose::{self, Access, Dev, Want};
use crate::failure::{Code, Failure};
use crate::parse::words;
use crate::{human, out};

/// Arguments of `poll`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
    /// Give up after TIME (5s, 250ms), with exit code 124
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    timeout: Option<Duration>,
}

/// Waits.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Read)?;
    let name = device.control_path().display().to_string();
    choose::set_up(&device)?;
    if !device.poll(args.timeout)? {
        let time = human::age(args.timeout.unwrap_or_default());
        return Err(
            Failure::new(Code::TimedOut, format!("{name}: no request came in {time}"))
                .hint("Nobody uses the disk, or its workers take everything at once."),
        );
    }
    let queued = u64::from(choose::set_up(&device)?.queued);
    out::line(&format!(
        "{name}: {} waiting",
        human::count(queued, "request")
    ))
}
