// SPDX-License-Identifier: MIT
//! How it stands, in words: one line for the device, one for each slot.

use log::Level;

use crate::group::{Group, Health};
use crate::policy::Time;
use crate::report::{short, Why};
use crate::state::State;

/// How loud a change to this is.
pub fn level(health: Health) -> Level {
    match health {
        Health::Served | Health::Ending => Level::Info,
        Health::Degraded | Health::Unserved => Level::Warn,
        Health::Failed => Level::Error,
    }
}

/// The device in one line.
pub fn summary(name: &str, group: &Group) -> String {
    let (ready, wanted) = (group.ready(), group.wanted());
    let given_up = match group.given_up() {
        0 => String::new(),
        count => format!(", {count} given up"),
    };
    match group.health() {
        Health::Served => match group.standbys() {
            (0, _) => format!("{name}: served by {ready} of {wanted} workers"),
            (all, there) => format!(
                "{name}: served by {ready} of {wanted} workers, {there} of {all} standbys ready"
            ),
        },
        Health::Degraded => {
            format!("{name}: served by only {ready} of {wanted} workers{given_up}")
        }
        Health::Unserved => format!(
            "{name}: served by none of {wanted} workers{given_up}; requests wait in the kernel"
        ),
        Health::Failed => format!(
            "{name}: FAILED: all {wanted} workers were given up or are stuck; requests {}",
            match group.io_fails() {
                true => "fail",
                false => "wait in the kernel until the workers are restarted",
            }
        ),
        Health::Ending => format!("{name}: ending"),
    }
}

/// Everything, a line each.
pub fn lines(name: &str, group: &Group, now: Time) -> Vec<String> {
    let mut lines = vec![summary(name, group)];
    for (number, slot) in group.slots().iter().enumerate() {
        let since = |at: Time| short(now.saturating_sub(at));
        let state = match slot.state() {
            State::Off => "off".to_owned(),
            State::Starting => "starting".to_owned(),
            State::Spawned {
                worker, since: at, ..
            } => {
                format!("worker {} not ready yet, for {}", worker.pid, since(*at))
            }
            State::Ready {
                worker,
                since: at,
                parked,
                ..
            } => {
                let stable = match slot.is_stable(now, group.policy()) {
                    true => ", stable",
                    false => "",
                };
                let what = if *parked { "standby" } else { "worker" };
                format!("{what} {} ready for {}{stable}", worker.pid, since(*at))
            }
            State::Draining { worker, kill_at } => format!(
                "worker {} finishing, SIGKILL in {}",
                worker.pid,
                short(kill_at.saturating_sub(now))
            ),
            State::Suspect {
                worker,
                hang,
                kill_at,
                ..
            } => format!(
                "worker {} hangs ({hang}), SIGKILL in {}",
                worker.pid,
                short(kill_at.saturating_sub(now))
            ),
            State::Fenced(shot) => format!(
                "worker {} killed {} ago, not dead yet",
                shot.worker.pid,
                since(shot.since)
            ),
            State::Wedged(shot) => format!(
                "worker {} STUCK in the kernel, killed {} ago",
                shot.worker.pid,
                since(shot.since)
            ),
            State::Dead(dead) => format!(
                "worker {} dead for {}, its requests not yet re-offered",
                dead.worker.pid,
                since(dead.seen)
            ),
            State::Backoff { until } => {
                format!(
                    "a new worker starts in {}",
                    short(until.saturating_sub(now))
                )
            }
            State::GaveUp(Why::Usage) => "given up: wrong usage".to_owned(),
            State::GaveUp(Why::TooOften) => "given up: died too often".to_owned(),
        };
        let failures = match slot.failures() {
            0 => String::new(),
            count => format!("; failures in a row: {count}"),
        };
        lines.push(format!("{name}/{number}: {state}{failures}"));
    }
    lines
}
