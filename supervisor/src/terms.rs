// SPDX-License-Identifier: MIT
//! What an operator says about the workers of one device, on the command line or in
//! the configuration file: the same words, the same defaults, the same refusals.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::de::{Deserializer, Error as _};
use serde::Deserialize;

use crate::exit::Failure;
use crate::policy::{GiveUp, Policy, Verdict};

/// How the workers of one device are started, watched, given up and stopped.
#[derive(Clone, Debug, Args, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Terms {
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    #[serde(deserialize_with = "some")]
    pub workers: u16,

    /// How many more stand by: started, ready, and promoted in the place of one that dies
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=1024))]
    #[serde(deserialize_with = "any_number")]
    pub standby: u16,

    /// The pause after a first failure, and the longest one
    #[arg(long, value_name = "MIN..MAX", default_value = "50ms..10s")]
    #[serde(deserialize_with = "text")]
    pub back_off: Range,

    /// So long ready, and a worker counts as healthy: its successor starts at once
    #[arg(long, value_name = "TIME", default_value = "10s")]
    #[serde(deserialize_with = "text")]
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
    #[serde(deserialize_with = "text")]
    pub period: humantime::Duration,

    /// How long a worker may take to say that it is ready
    #[arg(long, value_name = "TIME", default_value = "90s")]
    #[serde(deserialize_with = "text")]
    pub start_timeout: humantime::Duration,

    /// A worker hangs that does not say WATCHDOG=1 within this time [default: it need not]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text_or_none")]
    pub heartbeat: Option<humantime::Duration>,

    /// A worker hangs that has held a request for longer, or let one lie [default: never]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "text_or_none")]
    pub request_timeout: Option<humantime::Duration>,

    /// A worker that hangs gets SIGTERM, and so much later SIGKILL
    #[arg(long, value_name = "TIME", default_value = "2s")]
    #[serde(deserialize_with = "text")]
    pub fence_after: humantime::Duration,

    /// A worker that has not died of SIGKILL within this time is stuck in the kernel
    #[arg(long, value_name = "TIME", default_value = "10s")]
    #[serde(deserialize_with = "text")]
    pub stuck_after: humantime::Duration,

    /// I/O when all workers were given up or are stuck: hold, fail, or hold:TIME and then fail
    #[arg(long, value_name = "WHAT", default_value = "hold", value_parser = Verdict::from_str)]
    #[serde(deserialize_with = "text")]
    pub give_up: Verdict,

    /// How long a worker may take to finish at the end, before SIGKILL
    #[arg(long, value_name = "TIME", default_value = "30s")]
    #[serde(deserialize_with = "text")]
    pub drain_timeout: humantime::Duration,

    /// The disk at the end, if --setup can make it again and nobody uses it: reset, or keep
    #[arg(long, value_name = "WHAT", default_value = "reset", value_parser = AtEnd::from_str)]
    #[serde(deserialize_with = "text")]
    pub at_end: AtEnd,
}

/// What becomes of a disk that nobody will serve and nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It goes: whoever looked at it would wait.
    Reset,
    /// It stays, as one that is used does.
    Keep,
}

impl FromStr for AtEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<AtEnd, String> {
        match text {
            "reset" => Ok(AtEnd::Reset),
            "keep" => Ok(AtEnd::Keep),
            _ => Err("needs reset or keep".into()),
        }
    }
}

impl Default for Terms {
    /// As on a command line that says nothing.
    fn default() -> Terms {
        #[derive(clap::Parser)]
        struct Nothing {
            #[command(flatten)]
            terms: Terms,
        }
        <Nothing as clap::Parser>::parse_from([""]).terms
    }
}

/// A value that is written as text.
fn text<'de, D: Deserializer<'de>, T: FromStr>(from: D) -> Result<T, D::Error>
where
    T::Err: std::fmt::Display,
{
    let text = String::deserialize(from)?;
    text.parse()
        .map_err(|error| D::Error::custom(format!("'{text}': {error}")))
}

fn text_or_none<'de, D: Deserializer<'de>, T: FromStr>(from: D) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    text(from).map(Some)
}

fn any_number<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let number = u16::deserialize(from)?;
    match number {
        0..=1024 => Ok(number),
        _ => Err(D::Error::custom(format!("{number}: at most 1024"))),
    }
}

fn some<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    match any_number(from)? {
        0 => Err(D::Error::custom("0: at least 1")),
        number => Ok(number),
    }
}

impl Terms {
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

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Verdict, String> {
        match text.split_once(':') {
            None if text == "hold" => Ok(Verdict::Hold),
            None if text == "fail" => Ok(Verdict::FailAfter(Duration::ZERO)),
            Some(("hold", time)) => humantime::parse_duration(time)
                .map(Verdict::FailAfter)
                .map_err(|error| format!("'{time}': {error}")),
            _ => Err("needs hold, fail, or hold:TIME, as in hold:5min".into()),
        }
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
    use proptest::prelude::*;

    #[test]
    fn the_defaults_are_sound_and_those_of_the_command_line() {
        let terms = Terms::default();
        assert_eq!((terms.workers, terms.standby), (1, 0));
        assert_eq!(terms.policy().unwrap(), Policy::default());
    }

    #[test]
    fn what_becomes_of_io_is_said_in_three_ways() {
        let minute = Duration::from_secs(60);
        assert_eq!("hold".parse(), Ok(Verdict::Hold));
        assert_eq!("fail".parse(), Ok(Verdict::FailAfter(Duration::ZERO)));
        assert_eq!("hold:1min".parse(), Ok(Verdict::FailAfter(minute)));
        for wrong in ["", "hold:", "hold:soon", "fail:1s", "drop"] {
            assert!(wrong.parse::<Verdict>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn fuzzed_ranges_are_in_order_or_refused(text in "[-+]?[0-9]{0,21}(ms|s|m|h|y)?( |\\.){0,3}[0-9]{0,21}(ms|s|min)?|\\PC{0,12}") {
            if let Ok(range) = text.parse::<Range>() {
                prop_assert!(range.min <= range.max && !range.min.is_zero());
            }
        }
    }
}
