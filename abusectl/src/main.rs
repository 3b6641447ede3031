// SPDX-License-Identifier: MIT

//! `abusectl`: set up, inspect, reset and serve ABUSE block devices.
//!
//! Parse, run, exit code. [`cli`] is the grammar, [`parse`] turns words into values without a
//! device, `verb/` has one file per verb, [`choose`] finds the device a verb is about, and
//! [`failure`] turns what went wrong into two lines and an exit code. The driver is reached
//! through the crate `abuse` only.

#![forbid(unsafe_code)]

mod choose;
mod cli;
mod errno;
mod failure;
mod human;
mod logging;
mod out;
mod parse;
mod stop;
mod table;
mod users;
mod verb;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match cli::parse().and_then(|cli| cli.verb.run()) {
        Ok(()) => failure::Code::Fine,
        Err(failure) => {
            failure.report();
            failure.code()
        }
    };
    ExitCode::from(code as u8)
}
