// SPDX-License-Identifier: MIT

//! `abuse-scenarios list`, `abuse-scenarios run [NAME]...` and `abuse-scenarios torture`; `puppet` and
//! `hog` are for its own use.

use std::process::ExitCode;

use abuse_scenarios::{detectors, kit::puppet, runner, scenarios, torture};

const USAGE: &str = "\
usage: abuse-scenarios list
       abuse-scenarios run [NAME]...
       abuse-scenarios torture [--duration TIME] [--seed N] [--round N] [--length TIME]
       abuse-scenarios detectors

Lists scenarios, each with what it wants on the kernel's command line. Runs them in the guest, all of
them without names; see tests/vm/README.md. 'detectors' commits crimes in a debug kernel, with the module
of tests/vm/detectors, and sees them noticed. Exit status: 0 all
passed; 1 some failed; 2 wrong usage; 75 one left the machine in a state that is no start for the
next, so that the rest was not run.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            for scenario in scenarios::ALL {
                println!("{} {}", scenario.name, scenario.boot);
            }
            ExitCode::SUCCESS
        }
        ["run", names @ ..] => runner::run(names),
        ["torture", options @ ..] => torture::verb::run(options),
        ["detectors"] => detectors::run(),
        ["puppet", device] => puppet::play(device),
        ["hog", words @ ..] => torture::hog::play(words),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
