// SPDX-License-Identifier: MIT
//! `abuse-supervisor`: parse, run, exit status.

use std::process::ExitCode;

use abuse_supervisor::cli::{Cli, Run, Verb};
use abuse_supervisor::exit::{Failure, USAGE};
use abuse_supervisor::slots::Slots;
use abuse_supervisor::supervise::Supervisor;
use abuse_supervisor::unit::Plan;
use abuse_supervisor::{harden, logging, prepare, spawn};
use clap::Parser;

fn main() -> ExitCode {
    let Verb::Run(options) = Cli::parse().verb;
    match run(&options) {
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

fn run(options: &Run) -> Result<u8, Failure> {
    let policy = options.policy()?;
    let setup = prepare::parse(&options.setup)?;
    let program = options.command.first().cloned().unwrap_or_default();
    if !spawn::program_exists(&program) {
        return Err(Failure::new(
            USAGE,
            anyhow::anyhow!("{}: there is no such program", program.to_string_lossy()),
        ));
    }
    let device = prepare::open(&options.device)?;
    let node = device.control_path();
    let name = format!("abctl{}", device.number());
    let slots = Slots::open(&options.runtime_dir, &name)?;
    logging::start(logging::Target::choose(options.syslog))?;
    harden::all();
    prepare::set_up(&device, setup.as_ref())?;
    let plan = Plan {
        name,
        command: spawn::with_control_node(&options.command, &node),
        workers: options.workers.into(),
        standby: options.standby.into(),
        policy,
    };
    let mut supervisor = Supervisor::new()?;
    supervisor.add(plan, slots, device)?;
    Ok(supervisor.run()?)
}
