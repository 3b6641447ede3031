// SPDX-License-Identifier: MIT
//! `abuse-supervisor`: parse, run, exit status.

use std::io::Write;
use std::process::ExitCode;

use abuse::signals::Held;
use abuse_supervisor::cli::{Cli, Run, Verb};
use abuse_supervisor::config::{self, Wanted};
use abuse_supervisor::exit::{Failure, OK};
use abuse_supervisor::source::{self, Machine};
use abuse_supervisor::supervise::Supervisor;
use abuse_supervisor::{client, harden, logging, manual};
use clap::Parser;

fn main() -> ExitCode {
    let done = match &Cli::parse().verb {
        Verb::Run(options) => run(options),
        Verb::Check(options) => config::read(&options.file).map(|_| OK),
        Verb::Status(options) => client::status(options).and_then(|text| print(text.as_bytes())),
        Verb::Restart(options) => client::restart(options).map(|()| OK),
        Verb::Drain(options) => client::drain(options).map(|()| OK),
        Verb::Reload(options) => client::reload(options).map(|()| OK),
        Verb::Man { dir } => manual::write(dir).map(|()| OK),
        Verb::Completions { shell } => print(&manual::completions(*shell)),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            let text = failure.error.chain().map(ToString::to_string);
            let text = text.collect::<Vec<_>>().join(": ");
            if logging::started() {
                log::error!("{}", text.replace('\n', "; "));
                log::logger().flush();
            } else {
                eprintln!("abuse-supervisor: {text}");
            }
            ExitCode::from(failure.status)
        }
    }
}

fn print(text: &[u8]) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    let done = out.write_all(text).and_then(|()| out.flush());
    done.map_err(anyhow::Error::from)?;
    Ok(OK)
}

fn run(options: &Run) -> Result<u8, Failure> {
    let wanted = match &options.config {
        Some(file) => config::read(file)?,
        None => vec![Wanted::of(options)?],
    };
    let source = Machine {
        runtime_dir: options.runtime.runtime_dir.clone(),
    };
    let opened = source::open(&source, wanted)?;
    // The log's thread must not be the one to get a signal that is not handled yet.
    let held = Held::all();
    logging::start(logging::Target::choose(options.syslog))?;
    drop(held);
    harden::all();
    Ok(Supervisor::start(source, opened, options.config.clone())?.run()?)
}
