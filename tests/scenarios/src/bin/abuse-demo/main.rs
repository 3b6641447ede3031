// SPDX-License-Identifier: MIT
//! `abuse-demo`: what ABUSE is for, shown as it happens.
//!
//! A disk served by two worker processes, a file system on it, a program that writes and checks
//! what it reads, and twenty workers shot in the middle of that. The last line counts; the exit
//! status is 1 if anything was wrong.

mod fio;
mod kernel_log;
mod shell;
mod shoot;
mod story;
mod supervisor;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut tally = story::Tally::default();
    if let Err(error) = story::tell(&mut tally) {
        println!();
        println!("abuse-demo: {error:#}");
        tally.errors += 1;
    }
    println!();
    println!("{tally}");
    ExitCode::from(u8::from(!tally.is_clean()))
}
