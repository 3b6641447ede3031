// SPDX-License-Identifier: MIT
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::terms::Terms;

/// Keeps the workers of an ABUSE device alive.
#[derive(Debug, Parser)]
#[command(name = "abuse-supervisor", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Supervise one device, or those of a configuration file
    #[command(after_help = AFTER)]
    Run(Box<Run>),
    /// Say what is wrong with a configuration file, and start nothing
    Check(Check),
    /// Show how it stands
    Status(Status),
    /// Replace the workers of a device, a new one ready before each old one ends
    Restart(Ask),
    /// Have the workers of a device finish what they have and leave
    Drain(Ask),
    /// Have supervisors read their configuration files again
    Reload(Runtime),
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// Where to; it must exist
        dir: PathBuf,
    },
    /// Print what a shell completes command lines with
    #[command(hide = true)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

const AFTER: &str = "\
A worker that dies is replaced: the device first offers again what it had taken, then a new one \
starts, at once if the old one had been stable, else after a pause that doubles. \
A worker says that it is ready with READY=1 on NOTIFY_SOCKET.

Signals: TERM and INT end in peace, the second time at once; USR1 writes the status to the log; \
USR2 replaces every worker, a new one ready first, then the old one ends. \
Killed with SIGKILL, the supervisor leaves its workers running; the next one adopts them.

Workers' exit statuses: 2 wrong usage (given up at once); 3 device not set up, 4 device gone \
(everything ends, with that status); all else is a death like any other.

Exit status: 0 ended as asked; 1 failed, or ended with workers given up or left behind; 2 wrong \
usage; 3 the device is not set up or was reset; 4 no such device, or it was removed; 5 another \
supervisor has this device.";

/// Supervise one device, or those of a configuration file.
#[derive(Debug, Args)]
pub struct Run {
    /// A configuration file, instead of a device
    #[arg(long, value_name = "FILE", conflicts_with_all = ["device", "setup", "command"])]
    pub config: Option<PathBuf>,

    /// The device: /dev/abctlN, /dev/abuseN or N
    #[arg(
        long,
        value_name = "DEV",
        required_unless_present = "config",
        requires = "command"
    )]
    pub device: Option<String>,

    /// Set the device up first, unless it is: the keys of abusectl setup, as in size=1G,bs=4096
    #[arg(long, value_name = "KEYS")]
    pub setup: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub terms: Terms,

    /// Log to syslog instead of stderr
    #[arg(long)]
    pub syslog: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: Runtime,

    /// The worker; {ctl} in it stands for the control node
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Where supervisors and those who ask them meet.
#[derive(Debug, Args)]
pub struct Runtime {
    /// Where locks, records and sockets are
    #[arg(long, value_name = "DIR", default_value = "/run/abuse")]
    pub runtime_dir: PathBuf,
}

/// Look at a configuration file.
#[derive(Debug, Args)]
pub struct Check {
    /// The file
    #[arg(value_name = "FILE", default_value = "/etc/abuse/supervisor.toml")]
    pub file: PathBuf,
}

/// Show how it stands.
#[derive(Debug, Args)]
pub struct Status {
    /// One line of JSON for each device
    #[arg(long)]
    pub json: bool,

    /// Prometheus' text format
    #[arg(long, conflicts_with = "json")]
    pub prometheus: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: Runtime,

    /// The device: /dev/abctlN, /dev/abuseN or N; all without it
    #[arg(value_name = "DEV")]
    pub device: Option<String>,
}

/// Ask the supervisor of a device for something.
#[derive(Debug, Args)]
pub struct Ask {
    /// Return at once, not when it is done
    #[arg(long)]
    pub no_wait: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub runtime: Runtime,

    /// The device: /dev/abctlN, /dev/abuseN or N
    #[arg(value_name = "DEV")]
    pub device: String,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::GiveUp;
    use clap::CommandFactory;
    use proptest::prelude::*;

    fn run(words: &str) -> Result<Run, clap::Error> {
        let words = format!("abuse-supervisor run {words}");
        Cli::try_parse_from(words.split_whitespace()).map(|cli| match cli.verb {
            Verb::Run(run) => *run,
            _ => unreachable!(),
        })
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_of_the_design_page_is_understood() {
        let run = run(
            "--device /dev/abctl0 --setup size=1G --workers 2 --back-off 100ms..5s \
                       --intensity 5 --period 10s -- abusectl server {ctl} --backend file:/a",
        );
        let run = run.unwrap();
        let policy = run.terms.policy().unwrap();
        assert_eq!(policy.back_off_max, Duration::from_secs(5));
        let period = Duration::from_secs(10);
        assert_eq!(
            policy.give_up,
            Some(GiveUp {
                intensity: 5,
                period
            })
        );
        assert_eq!(run.command.len(), 5);
    }

    #[test]
    fn what_would_be_a_respawn_storm_is_refused() {
        for words in ["--back-off 0s..1s", "--back-off 2s..1s", "--back-off 1s"] {
            assert!(run(&format!("--device 0 {words} -- x")).is_err(), "{words}");
        }
        let run = run("--device 0 --stable-after 1ms -- x").unwrap();
        assert_eq!(run.terms.policy().unwrap_err().status, 2);
    }

    proptest! {
        #[test]
        fn fuzzed_command_lines_make_a_sound_policy_or_are_refused(
            words in proptest::collection::vec(
                "--(device|setup|workers|back-off|stable-after|intensity|period|drain-timeout|syslog|runtime-dir|[a-z]{1,6})(=([0-9]{0,6}(ms|s|min)?(\\.\\.[0-9]{1,5}(ms|s))?|[a-z=0-9]{0,6}))?|--|[0-9]{1,3}|\\PC{0,5}",
                0..9,
            )
        ) {
            if let Ok(run) = run(&words.join(" ")) {
                if let Ok(policy) = run.terms.policy() {
                    prop_assert!(policy.back_off_min <= policy.back_off_max);
                    prop_assert!(policy.stable_after >= policy.back_off_min);
                }
            }
        }
    }
}
