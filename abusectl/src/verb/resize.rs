// SPDX-License-Identifier: MIT

//! `resize [DEV] SIZE`: another size for a disk that is there, also while it is used.

use crate::choose::{self, Access, Want};
use crate::errno::{EBUSY, EINVAL, ENXIO};
use crate::failure::{Code, Failure};
use crate::parse::dev::{self, Target};
use crate::parse::size;
use crate::{human, out};

/// Arguments of `resize`.
#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
#[command(after_help = "\
The backend comes first: enlarge it, and have its workers started anew, before the disk grows; make
it smaller after the disk. A file system is told by its own tool: resize2fs, xfs_growfs.")]
pub struct Args {
    /// /dev/abctlN, /dev/abuseN, N or its name; may be left out where exactly one device makes sense
    #[arg(value_name = "DEV", value_parser = dev::dev)]
    dev: Option<Target>,
    /// The new size: 1G is 2^30
    #[arg(value_name = "SIZE", required = true, value_parser = size::size)]
    bytes: u64,
    /// Shrink although it is open or a partition ends behind the new size: what is there is lost
    #[arg(short, long)]
    force: bool,
}

/// Resizes it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = choose::open(args.dev.as_ref(), Want::SetUp, Access::Write)?;
    let disk = device.disk_path().display().to_string();
    let old = device
        .resize(args.bytes, args.force)
        .map_err(|error| match error.errno() {
            Some(ENXIO) => choose::not_set_up(&device),
            Some(EINVAL | EBUSY) => {
                let code = match error.errno() {
                    Some(EBUSY) => Code::Busy,
                    _ => Code::Failed,
                };
                Failure::new(code, &error).hint(choose::sentence(error.hint().unwrap_or_default()))
            }
            _ => error.into(),
        })?;
    let (old, new) = (human::size(old), human::size(args.bytes));
    out::line(&format!("{disk}: {new}, was {old}"))
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Verb};
    use crate::parse::dev::Target;
    use clap::Parser;

    #[test]
    fn the_device_may_be_left_out() {
        for (words, dev) in [
            (&["1G"][..], None),
            (&["3", "1G"], Some(Target::Number(3))),
            (
                &["mine", "1G", "--force"],
                Some(Target::Name("mine".into())),
            ),
        ] {
            let words = ["abusectl", "resize"].iter().chain(words);
            match Cli::try_parse_from(words).expect("parses").verb {
                Verb::Resize(args) => assert_eq!((args.dev, args.bytes), (dev, 1 << 30)),
                other => panic!("{other:?}"),
            }
        }
        for words in [&[][..], &["mine"], &["3", "1Q"]] {
            let words = ["abusectl", "resize"].iter().chain(words);
            assert!(Cli::try_parse_from(words).is_err());
        }
    }
}
