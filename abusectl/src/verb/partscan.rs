// SPDX-License-Identifier: MIT

//! `partscan [DEV]`: looks for partitions now, as `blockdev --rereadpt` does.

use abuse::State;

use crate::choose::{self, Access, Dev, Want};
use crate::errno::EINVAL;
use crate::failure::{Code, Failure};
use crate::{out, users};

/// Arguments of `partscan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The disk's workers have to answer: without one the scan waits for one, and cannot be interrupted.")]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
}

/// Looks, and prints the partitions there are.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Read)?;
    let disk = device.disk_path().display().to_string();
    let status = choose::set_up(&device)?;
    if status.state == State::Ready {
        return Err(unserved(&disk, status.number));
    }
    device.partscan().map_err(|error| match error.errno() {
        Some(EINVAL) => unserved(&disk, status.number),
        _ => error.into(),
    })?;
    let partitions = users::partitions(status.number);
    if partitions.is_empty() {
        return out::line(&format!("{disk}: no partitions"));
    }
    for node in partitions {
        out::line(&node)?;
    }
    Ok(())
}

fn unserved(disk: &str, number: u32) -> Failure {
    Failure::new(
        Code::Failed,
        format!("{disk}: no worker has come yet that could say what is on it"),
    )
    .hint(format!(
        "Start one: abusectl server /dev/abctl{number} --backend …"
    ))
}
