// SPDX-License-Identifier: MIT
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::exit::Failure;
use crate::policy::{GiveUp, Policy, Verdict};

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
    /// Supervise one device
    #[command(after_help = AFTER)]
    Run(Box<Run>),
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

/// Supervise one device.
#[derive(Debug, Args)]
pub struct Run {
    /// The device: /dev/abctlN, /dev/abuseN or N
    #[arg(long, value_name = "DEV")]
    pub device: String,

    /// Set the device up first, unless it is: the keys of abusectl setup, as in size=1G,bs=4096
    #[arg(long, value_name = "KEYS")]
    pub setup: Vec<String>,

    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,

    /// How many more stand by: started, ready, and promoted in the place of one that dies
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub standby: u16,

    /// The pause after a first failure, and the longest one
    #[arg(long, value_name = "MIN..MAX", default_value = "50ms..10s")]
    pub back_off: Range,

    /// So long ready, and a worker counts as healthy: its successor starts at once
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub stable_after: humantime::Duration,

    /// Give a worker up after more than N deaths within --period [default: never]
    #[arg(long, value_name = "N")]
    pub intensity: Option<u32>,

    /// The time --intensity speaks of
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1min",
        requires = "intensity"
    )]
    pub period: humantime::Duration,

    /// How long a worker may take to say that it is ready
    #[arg(long, value_name = "TIME", default_value = "90s")]
    pub start_timeout: humantime::Duration,

    /// A worker hangs that does not say WATCHDOG=1 within this time [default: it need not]
    #[arg(long, value_name = "TIME")]
    pub heartbeat: Option<humantime::Duration>,

    /// A worker hangs that has held a request for longer, or let one lie [default: never]
    #[arg(long, value_name = "TIME")]
    pub request_timeout: Option<humantime::Duration>,

    /// A worker that hangs gets SIGTERM, and so much later SIGKILL
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub fence_after: humantime::Duration,

    /// A worker that has not died of SIGKILL within this time is stuck in the kernel
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub stuck_after: humantime::Duration,

    /// I/O when all workers were given up or are stuck: hold, fail, or hold:TIME and then fail
    #[arg(long, value_name = "WHAT", default_value = "hold", value_parser = verdict)]
    pub give_up: Verdict,

    /// How long a worker may take to finish at the end, before SIGKILL
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub drain_timeout: humantime::Duration,

    /// Log to syslog instead of stderr
    #[arg(long)]
    pub syslog: bool,

    /// Where locks, records and the workers' socket are
    #[arg(long, value_name = "DIR", default_value = "/run/abuse")]
    pub runtime_dir: PathBuf,

    /// The worker; {ctl} in it stands for the control node
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Run {
    /// What the options say about restarts, checked.
    pub fn policy(&self) -> Result<Policy, Failure> {
        let stable_after = *self.stable_after;
        if stable_after < self.back_off.min {
            return Err(Failure::usage(format!(
                "--stable-after {} is shorter than the shortest pause of --back-off {}\n\
                 a worker that dies again and again would be started without any pause",
                self.stable_after,
                humantime::format_duration(self.back_off.min)
            )));
        }
        let period = *self.period;
        if period.is_zero() {
            return Err(Failure::usage("--period: must be longer than 0".into()));
        }
        for (name, time) in [
            ("--heartbeat", self.heartbeat),
            ("--request-timeout", self.request_timeout),
        ] {
            if time.is_some_and(|time| *time < SHORTEST) {
                return Err(Failure::usage(format!(
                    "{name}: must be 100ms or more: a worker that is only slow would be killed"
                )));
            }
        }
        Ok(Policy {
            back_off_min: self.back_off.min,
            back_off_max: self.back_off.max,
            stable_after,
            give_up: self.intensity.map(|intensity| GiveUp { intensity, period }),
            drain_timeout: *self.drain_timeout,
            start_timeout: *self.start_timeout,
            heartbeat: self.heartbeat.map(|time| *time),
            request_timeout: self.request_timeout.map(|time| *time),
            fence_after: *self.fence_after,
            kill_patience: *self.stuck_after,
            verdict: self.give_up,
        })
    }
}

/// No worker is asked to be quicker than this.
const SHORTEST: Duration = Duration::from_millis(100);

fn verdict(text: &str) -> Result<Verdict, String> {
    match text.split_once(':') {
        None if text == "hold" => Ok(Verdict::Hold),
        None if text == "fail" => Ok(Verdict::FailAfter(Duration::ZERO)),
        Some(("hold", time)) => humantime::parse_duration(time)
            .map(Verdict::FailAfter)
            .map_err(|error| format!("'{time}': {error}")),
        _ => Err("needs hold, fail, or hold:TIME, as in hold:5min".into()),
    }
}

/// MIN..MAX, both durations: `0 < min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    min: Duration,
    max: Duration,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let (min, max) = text
            .split_once("..")
            .ok_or("needs two durations, as in 50ms..10s")?;
        let time = |text: &str| {
            humantime::parse_duration(text.trim()).map_err(|error| format!("'{text}': {error}"))
        };
        let (min, max) = (time(min)?, time(max)?);
        if min < Duration::from_millis(1) {
            return Err("the shortest pause must be 1ms or more".into());
        }
        if max < min {
            return Err("the longest pause is shorter than the shortest".into());
        }
        Ok(Range { min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use proptest::prelude::*;

    fn run(words: &str) -> Result<Run, clap::Error> {
        let words = format!("abuse-supervisor run {words}");
        Cli::try_parse_from(words.split_whitespace()).map(|cli| {
            let Verb::Run(run) = cli.verb;
            *run
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
        let policy = run.policy().unwrap();
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
        assert_eq!(run.policy().unwrap_err().status, 2);
    }

    proptest! {
        #[test]
        fn fuzzed_ranges_are_in_order_or_refused(text in "[-+]?[0-9]{0,21}(ms|s|m|h|y)?( |\\.){0,3}[0-9]{0,21}(ms|s|min)?|\\PC{0,12}") {
            if let Ok(range) = text.parse::<Range>() {
                prop_assert!(range.min <= range.max && !range.min.is_zero());
            }
        }

        #[test]
        fn fuzzed_command_lines_make_a_sound_policy_or_are_refused(
            words in proptest::collection::vec(
                "--(device|setup|workers|back-off|stable-after|intensity|period|drain-timeout|syslog|runtime-dir|[a-z]{1,6})(=([0-9]{0,6}(ms|s|min)?(\\.\\.[0-9]{1,5}(ms|s))?|[a-z=0-9]{0,6}))?|--|[0-9]{1,3}|\\PC{0,5}",
                0..9,
            )
        ) {
            if let Ok(run) = run(&words.join(" ")) {
                if let Ok(policy) = run.policy() {
                    prop_assert!(policy.back_off_min <= policy.back_off_max);
                    prop_assert!(policy.stable_after >= policy.back_off_min);
                }
            }
        }
    }
}
