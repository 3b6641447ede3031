// SPDX-License-Identifier: MIT

//! `requeue [DEV]`: offers taken requests again, to whoever asks next.

use std::time::Duration;

use abuse::Selection;

use crate::choose::{self, Access, Dev, Want};
use crate::errno::EBUSY;
use crate::failure::{Code, Failure};
use crate::parse::words::{self, Owner};
use crate::verb::reconnect;
use crate::{human, out};

/// Arguments of `requeue`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct Args {
    #[command(flatten)]
    dev: Dev,
    /// What this owner took: a process id, or a token with 0x
    #[arg(long, value_name = "PID|0xTOKEN", group = "which", value_parser = words::owner)]
    owner: Option<Owner>,
    /// What was taken under this owner token, in any notation
    #[arg(long, value_name = "TOKEN", group = "which", value_parser = words::token, conflicts_with = "owner")]
    token: Option<u64>,
    /// The request with this id
    #[arg(long, value_name = "ID", group = "which", value_parser = words::number64)]
    id: Option<u64>,
    /// What has been held for longer than TIME (5s, 250ms)
    #[arg(long, value_name = "TIME", group = "which", value_parser = words::duration)]
    older_than: Option<Duration>,
    /// Everything that is taken
    #[arg(long, group = "which", conflicts_with_all = ["owner", "token", "id", "older_than"])]
    all: bool,
    /// Writes of living workers too; it is on you that they never write again
    #[arg(short, long)]
    force: bool,
}

/// Offers them again. Conditions add up.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.target.as_ref(), Want::SetUp, Access::Write)?;
    let name = device.control_path().display().to_string();
    choose::set_up(&device)?;
    let Some(which) = selection(args) else {
        return Err(Failure::usage(
            "say what to requeue: --owner, --id, --older-than or --all",
        ));
    };
    let done = device.requeue(&which).map_err(|error| {
        let busy = error.errno() == Some(EBUSY);
        let failure = Failure::from(error);
        match busy {
            true => Failure::new(
                Code::Busy,
                format!("{name}: nothing offered again: workers that live may still write what they hold"),
            )
            .hint(reconnect::LIVING_WRITER),
            false => failure,
        }
    })?;
    out::line(&format!(
        "{name}: {} offered again",
        human::count(done.requeued.into(), "request")
    ))?;
    reconnect::refused(&name, done.refused)
}

fn selection(args: &Args) -> Option<Selection> {
    let mut which = args.all.then(Selection::all);
    let mut add = |start: &dyn Fn() -> Selection, and: &dyn Fn(Selection) -> Selection| {
        which = Some(which.take().map_or_else(start, and));
    };
    match args.owner {
        Some(Owner::Pid(pid)) => add(&|| Selection::pid(pid), &|which| which.and_pid(pid)),
        Some(Owner::Token(token)) => {
            add(&|| Selection::owner(token), &|which| which.and_owner(token))
        }
        None => (),
    }
    if let Some(token) = args.token {
        add(&|| Selection::owner(token), &|which| which.and_owner(token));
    }
    if let Some(id) = args.id {
        add(&|| Selection::id(id), &|which| which.and_id(id));
    }
    if let Some(age) = args.older_than {
        add(&|| Selection::older_than(age), &|which| {
            which.and_older_than(age)
        });
    }
    which.map(|which| if args.force { which.force() } else { which })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Option<Selection> {
        let words = ["abusectl", "requeue", "0"].iter().chain(words);
        match Cli::try_parse_from(words).ok()?.verb {
            Verb::Requeue(args) => selection(&args),
            _ => None,
        }
    }

    #[test]
    fn options_become_conditions_that_add_up() {
        assert_eq!(parsed(&["--all"]), Some(Selection::all()));
        assert_eq!(parsed(&["--owner", "7"]), Some(Selection::pid(7)));
        assert_eq!(parsed(&["--owner", "0x7"]), Some(Selection::owner(7)));
        assert_eq!(parsed(&["--token", "7"]), Some(Selection::owner(7)));
        assert_eq!(
            parsed(&[
                "--owner",
                "7",
                "--id",
                "0x9",
                "--older-than",
                "5s",
                "--force"
            ]),
            Some(
                Selection::pid(7)
                    .and_id(9)
                    .and_older_than(Duration::from_secs(5))
                    .force()
            )
        );
    }

    #[test]
    fn nothing_and_all_beside_something_are_refused() {
        for words in [
            &[][..],
            &["--force"],
            &["--all", "--id", "1"],
            &["--owner", "7", "--token", "8"],
        ] {
            assert_eq!(parsed(words), None, "{words:?}");
        }
    }
}
