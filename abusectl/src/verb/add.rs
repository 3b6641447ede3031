// SPDX-License-Identifier: MIT

//! `add [NUMBER]`: one more device, empty.

use abuse::{NewDevice, Registry};

use crate::errno::{EBUSY, EEXIST, ENOENT, ENXIO};
use crate::failure::{Code, Failure};
use crate::parse::dev;
use crate::{choose, out};

/// Arguments of `add`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// N of /dev/abctlN; the lowest that is free when left out
    #[arg(value_name = "NUMBER", value_parser = dev::number)]
    number: Option<u32>,
    /// Another way to call it: NAME wherever DEV is asked for, and its disk as /dev/abuse/by-name/NAME
    #[arg(long, value_name = "NAME", value_parser = dev::name)]
    name: Option<String>,
}

/// Adds it, and prints its control node.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = NewDevice {
        number: args.number,
        name: args.name.clone(),
    };
    let added = registry()?
        .add(&device)
        .map_err(|error| match (error.errno(), error.hint()) {
            (Some(EEXIST | EBUSY), Some(hint)) => {
                Failure::new(Code::Busy, &error).hint(choose::sentence(hint))
            }
            _ => error.into(),
        })?;
    out::line(&format!("/dev/abctl{}", added.number))
}

/// Opens /dev/abuse-control.
pub fn registry() -> Result<Registry, Failure> {
    Registry::open().map_err(|error| match error.errno() {
        Some(ENOENT | ENXIO) => {
            Failure::new(Code::NoDevice, &error).hint(match choose::driver_is_loaded() {
                true => "The driver is loaded; is devtmpfs mounted on /dev?",
                false => choose::LOAD_HINT,
            })
        }
        _ => error.into(),
    })
}
