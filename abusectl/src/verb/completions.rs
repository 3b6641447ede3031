// SPDX-License-Identifier: MIT

//! `completions SHELL`.

use crate::failure::Failure;
use crate::{cli, out};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to complete for
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "abusectl", &mut script);
    out::bytes(&script)
}
