// SPDX-License-Identifier: MIT
//! How it stands: in words for the log, and in fields for who asks.

use log::Level;
use serde::{Deserialize, Serialize};

use crate::device::Look;
use crate::group::{Group, Health};
use crate::machine::Slot;
use crate::policy::Time;
use crate::report::{short, Why};
use crate::state::{Exit, Role, State};

/// How loud a change to this is.
pub fn level(health: Health) -> Level {
    match health {
        Health::Served | Health::Ending => Level::Info,
        Health::Degraded | Health::Unserved => Level::Warn,
        Health::Failed => Level::Error,
    }
}

/// What programs call it.
pub fn name(health: Health) -> &'static str {
    match health {
        Health::Served => "served",
        Health::Degraded => "degraded",
        Health::Unserved => "unserved",
        Health::Failed => "failed",
        Health::Ending => "ending",
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

/// One device, for who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// abctlN.
    pub device: String,
    /// served, degraded, unserved, failed, ending.
    pub health: String,
    /// The supervisor's process id.
    pub supervisor: u32,
    /// It has a configuration file.
    pub has_file: bool,
    /// Workers there are to be.
    pub workers_wanted: usize,
    /// Workers that serve.
    pub workers_ready: usize,
    /// Standbys there are to be.
    pub standbys_wanted: usize,
    /// Standbys that can be promoted.
    pub standbys_ready: usize,
    /// Slots that were given up.
    pub given_up: usize,
    /// Requests fail because nobody will serve them.
    pub io_fails: bool,
    /// A rolling restart is under way.
    pub restarting: bool,
    /// The last one was given up.
    pub last_restart_failed: bool,
    /// Requests that nobody has taken.
    pub queued: u32,
    /// Requests that workers hold.
    pub taken: u32,
    /// Requests that ended with an error since the last set-up.
    pub errors: u32,
    /// Set-ups and reconnects.
    pub epoch: u32,
    /// For how long the oldest request has been held.
    pub oldest_taken_ms: Option<u64>,
    /// For how long the oldest request has waited to be taken.
    pub oldest_queued_ms: Option<u64>,
    /// Every slot.
    pub slots: Vec<SlotStatus>,
}

/// One slot, for who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its number.
    pub slot: usize,
    /// active, standby, spare.
    pub role: String,
    /// The state's name, in lower case.
    pub state: String,
    /// Its worker.
    pub pid: Option<u32>,
    /// For how long its worker has been in this state, where that is known.
    pub for_ms: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Workers this supervisor started here.
    pub spawns: u64,
    /// How the last one ended.
    pub last_exit: Option<String>,
}

fn milliseconds(time: Time) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One device, for who asks; the rest its unit knows.
pub fn device(
    group: &Group,
    look: Option<Look>,
    exits: &[Option<Exit>],
    now: Time,
) -> DeviceStatus {
    let look = look.unwrap_or_default();
    let (standbys_wanted, standbys_ready) = group.standbys();
    let slots = group.slots().iter().enumerate();
    DeviceStatus {
        health: name(group.health()).into(),
        supervisor: std::process::id(),
        workers_wanted: group.wanted(),
        workers_ready: group.ready(),
        standbys_wanted,
        standbys_ready,
        given_up: group.given_up(),
        io_fails: group.io_fails(),
        restarting: group.restarting(),
        last_restart_failed: group.restart_failed(),
        queued: look.queued,
        taken: look.taken,
        errors: look.errors,
        epoch: look.epoch,
        oldest_taken_ms: look.oldest_taken.map(milliseconds),
        oldest_queued_ms: look.oldest_queued.map(milliseconds),
        slots: slots
            .map(|(number, place)| slot(number, place, exits.get(number).copied().flatten(), now))
            .collect(),
        ..DeviceStatus::default()
    }
}

fn slot(number: usize, slot: &Slot, exit: Option<Exit>, now: Time) -> SlotStatus {
    let (state, since) = match slot.state() {
        State::Off => ("off", None),
        State::Starting => ("starting", None),
        State::Spawned { since, .. } => ("spawned", Some(*since)),
        State::Ready { since, .. } => ("ready", Some(*since)),
        State::Draining { .. } => ("draining", None),
        State::Suspect { .. } => ("suspect", None),
        State::Fenced(shot) => ("fenced", Some(shot.since)),
        State::Wedged(shot) => ("wedged", Some(shot.since)),
        State::Dead(dead) => ("dead", Some(dead.seen)),
        State::Backoff { .. } => ("backoff", None),
        State::GaveUp(_) => ("gave-up", None),
    };
    let role = match slot.role() {
        Role::Active => "active",
        Role::Standby => "standby",
        Role::Spare => "spare",
    };
    SlotStatus {
        slot: number,
        role: role.into(),
        state: state.into(),
        pid: slot.owes().map(|worker| worker.pid),
        for_ms: since.map(|at| milliseconds(now.saturating_sub(at))),
        failures: slot.failures(),
        spawns: slot.spawns(),
        last_exit: exit.map(|exit| exit.to_string()),
    }
}

/// Devices and their slots as a table for people.
pub fn table(all: &[DeviceStatus]) -> String {
    let head = [
        "DEVICE",
        "SLOT",
        "ROLE",
        "STATE",
        "PID",
        "FOR",
        "SPAWNS",
        "FAILURES",
        "LAST EXIT",
    ];
    let mut rows: Vec<Vec<String>> = vec![head.map(String::from).to_vec()];
    for device in all {
        for slot in device.slots.iter().filter(|slot| slot.state != "off") {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            let time = slot.for_ms.map(|ms| short(Time::from_millis(ms)));
            rows.push(vec![
                device.device.clone(),
                slot.slot.to_string(),
                slot.role.clone(),
                slot.state.clone(),
                or_dash(slot.pid.map(|pid| pid.to_string())),
                or_dash(time),
                slot.spawns.to_string(),
                slot.failures.to_string(),
                or_dash(slot.last_exit.clone()),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let text: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.join("  ").trim_end().to_owned() + "\n"
    };
    let mut out: String = rows.iter().map(line).collect();
    out.push('\n');
    for device in all {
        let fails = if device.io_fails { ", I/O fails" } else { "" };
        let DeviceStatus {
            device,
            health,
            queued,
            taken,
            errors,
            ..
        } = device;
        out += &format!(
            "{device}: {health}{fails}; {queued} queued, {taken} taken, {errors} errors\n"
        );
    }
    out
}
