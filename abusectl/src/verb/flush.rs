// SPDX-License-Identifier: MIT

//! `flush DISK`, hidden: the part of a stop that may hang, as a process of its own. One that waits
//! for a disk can neither be interrupted nor end.

use std::fs::File;
use std::path::PathBuf;

use crate::failure::Failure;

/// Arguments of `flush`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    #[arg(value_name = "DISK")]
    disk: PathBuf,
}

/// Writes out what is cached, and has the worker flush.
pub fn run(args: &Args) -> Result<(), Failure> {
    File::open(&args.disk)
        .and_then(|disk| disk.sync_all())
        .map_err(|error| Failure::io(args.disk.display(), &error))
}
