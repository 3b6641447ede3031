// SPDX-License-Identifier: MIT

//! The grammar: one definition for parsing, `--help`, completions and man pages.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::failure::{Code, Failure, EXIT_CODES};
use crate::out;
use crate::verb;

const DEVICES: &str = "\
DEV is /dev/abctlN, /dev/abuseN, N, or the name the device was added under. It may be left out
where exactly one device makes sense: when there is only one, or when exactly one is set up (for
setup: exactly one is not).";

/// Set up, inspect, reset and serve block devices whose requests any process can serve
#[derive(Debug, Parser)]
#[command(name = "abusectl", version, arg_required_else_help = true)]
#[command(after_help = format!("{DEVICES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs, in the order of `--help`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the devices
    List(verb::list::Args),
    /// Show everything about a device
    Info(verb::info::Args),
    /// Show what the disks do, again and again
    Top(verb::top::Args),
    /// Give a device its size and its policies: make the disk
    Setup(verb::setup::Args),
    /// Offer everything taken again, as after a crash of all workers
    Reconnect(verb::reconnect::Args),
    /// Offer taken requests again: of an owner, an id, or an age
    Requeue(verb::requeue::Args),
    /// End everything pending with an error and remove the disk
    Reset(verb::reset::Args),
    /// Wait until nothing is pending
    Drain(verb::drain::Args),
    /// Look for partitions
    Partscan(verb::partscan::Args),
    /// Make the disk larger or smaller
    Resize(verb::resize::Args),
    /// Add a device
    Add(verb::add::Args),
    /// Remove devices, with their disks
    Remove(verb::remove::Args),
    /// Take a request by hand
    Get(verb::get::Args),
    /// Complete a request by hand, whoever took it
    Put(verb::put::Args),
    /// Wait until requests wait
    Poll(verb::poll::Args),
    /// Serve a device from memory or from a file
    Server(verb::server::Args),
    /// Show the versions of the tool, the driver and the interface
    Version(verb::version::Args),
    /// Print a completion script for a shell
    Completions(verb::completions::Args),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(verb::man::Args),
    /// Make what was written to a disk durable
    #[command(hide = true)]
    Flush(verb::flush::Args),
}

impl Verb {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Verb::List(args) => verb::list::run(&args),
            Verb::Info(args) => verb::info::run(&args),
            Verb::Top(args) => verb::top::run(&args),
            Verb::Setup(args) => verb::setup::run(&args),
            Verb::Reconnect(args) => verb::reconnect::run(&args),
            Verb::Requeue(args) => verb::requeue::run(&args),
            Verb::Reset(args) => verb::reset::run(&args),
            Verb::Drain(args) => verb::drain::run(&args),
            Verb::Partscan(args) => verb::partscan::run(&args),
            Verb::Resize(args) => verb::resize::run(&args),
            Verb::Add(args) => verb::add::run(&args),
            Verb::Remove(args) => verb::remove::run(&args),
            Verb::Get(args) => verb::get::run(&args),
            Verb::Put(args) => verb::put::run(&args),
            Verb::Poll(args) => verb::poll::run(&args),
            Verb::Server(args) => verb::server::run(&args),
            Verb::Version(args) => verb::version::run(&args),
            Verb::Completions(args) => verb::completions::run(&args),
            Verb::Man(args) => verb::man::run(&args),
            Verb::Flush(args) => verb::flush::run(&args),
        }
    }
}

/// The definitions themselves, for what is generated from them.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line. `--help` and `--version` are printed here and end as a silent success.
pub fn parse() -> Result<Cli, Failure> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            out::print(&text)?;
            Err(Failure::silent(Code::Fine))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            out::complain(text.trim_end());
            Err(Failure::silent(Code::Usage))
        }
        _ => Err(Failure::usage(
            text.strip_prefix("error: ").unwrap_or(&text).trim_end(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_definitions_are_sound() {
        command().debug_assert();
    }

    proptest! {
        #[test]
        fn fuzzed_command_lines_are_understood_or_refused(
            words in proptest::collection::vec(
                "list|info|setup|reconnect|requeue|reset|get|put|poll|server|version|completions|help|--?(json|force|all|owner|pid|id|older|backend|threads|timeout|detach|help|[a-z]{1,9})(=[-0-9a-z:,/.]{0,10})?|(/dev/)?(abctl|abuse)?[0-9]{1,4}|[a-z]{1,6}=[0-9]{1,6}[KMG]?|ok|zero|null|ram:[a-z]{0,3}|\\PC{0,6}",
                0..7,
            )
        ) {
            let words = std::iter::once("abusectl".to_string()).chain(words);
            if let Err(error) = Cli::try_parse_from(words) {
                prop_assert!(!error.render().to_string().is_empty());
            }
        }
    }
}
