// SPDX-License-Identifier: MIT

//! `put [DEV] ID`: completes a request, whoever took it.

use std::io::Read;
use std::path::{Path, PathBuf};

use abuse::Outcome;

use crate::choose::{self, Access, Want};
use crate::errno::EINVAL;
use crate::failure::{Code, Failure};
use crate::out;
use crate::parse::dev::{self, Target};
use crate::parse::words;

/// Arguments of `put`.
#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
#[command(
    after_help = "A read needs its data, exactly as many bytes as its length, or --zero; everything else needs none."
)]
pub struct Args {
    /// /dev/abctlN, /dev/abuseN, N or its name; may be left out where exactly one device makes sense
    #[arg(value_name = "DEV", value_parser = dev::dev)]
    dev: Option<Target>,
    /// The request, as 'get' showed it
    #[arg(value_name = "ID", required = true, value_parser = words::number64)]
    id: u64,
    /// How it ended
    #[arg(long, value_name = "RESULT", default_value = "ok", value_parser = result_parser())]
    result: String,
    /// The data of a read: a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The data of a read are all zero
    #[arg(long, conflicts_with = "data")]
    zero: bool,
}

const OK: &str = "ok";

fn result_parser() -> clap::builder::PossibleValuesParser {
    let failures = abuse::Failure::ALL.map(abuse::Failure::name);
    std::iter::once(OK)
        .chain(failures)
        .collect::<Vec<_>>()
        .into()
}

/// Completes the request.
pub fn run(args: &Args) -> Result<(), Failure> {
    let failed = abuse::Failure::ALL
        .into_iter()
        .find(|failure| failure.name() == args.result);
    if failed.is_some() && (args.zero || args.data.is_some()) {
        let what = format!("a request that ends with {} has no data", args.result);
        return Err(Failure::usage(what).hint("Leave --data and --zero out."));
    }
    let device = choose::open(args.dev.as_ref(), Want::SetUp, Access::Write)?;
    choose::set_up(&device)?;
    let data = args.data.as_deref().map(read).transpose()?;
    let outcome = match (failed, &data) {
        (Some(failure), _) => Outcome::Failed(failure),
        (None, Some(data)) => Outcome::Data(data),
        (None, None) if args.zero => Outcome::Zeroes,
        (None, None) => Outcome::Done,
    };
    let name = device.control_path().display().to_string();
    device
        .put(args.id, outcome)
        .map_err(|error| match error.errno() {
            Some(EINVAL) => Failure::new(Code::Failed, &error).hint(
                "A read needs exactly its length: --data FILE, or --zero. The request stays taken.",
            ),
            _ => error.into(),
        })?;
    out::line(&format!(
        "{name}: {:#x} completed, {}",
        args.id, args.result
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = match path.to_str() {
        Some("-") => {
            let mut data = Vec::new();
            std::io::stdin().read_to_end(&mut data).map(|_| data)
        }
        _ => std::fs::read(path),
    };
    read.map_err(|error| Failure::io(path.display(), &error))
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Verb};
    use crate::parse::dev::Target;
    use clap::Parser;

    #[test]
    fn the_device_may_be_left_out() {
        for (words, dev, id) in [
            (&["0x10"][..], None, 16),
            (&["3", "0x10"], Some(Target::Number(3)), 16),
            (&["mine", "16"], Some(Target::Name("mine".into())), 16),
            (
                &["/dev/abctl3", "16", "--result", "no-space"],
                Some(Target::Number(3)),
                16,
            ),
        ] {
            let words = ["abusectl", "put"].iter().chain(words);
            match Cli::try_parse_from(words).expect("parses").verb {
                Verb::Put(args) => assert_eq!((args.dev, args.id), (dev, id)),
                other => panic!("{other:?}"),
            }
        }
    }
}
