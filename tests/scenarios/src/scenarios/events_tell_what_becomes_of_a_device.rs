// SPDX-License-Identifier: MIT

//! `udevadm monitor` hears of a device that is added, set up, served, resized, reset and removed, in
//! that order: of the states from the control node with its sequence and epoch, of the disk from the
//! disk.

use abuse::{Device, NewDevice, Registry, Setup};
use anyhow::{ensure, Result};

use crate::kit::{wait_for, wait_until, Guest, Process, PATIENCE};

/// Out of the way of what else there is.
const NUMBER: u32 = 701;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let monitor = guest
        .command("udevadm")
        .args(["monitor", "--kernel", "--property"])
        .args(["--subsystem-match=abuse", "--subsystem-match=block"])
        .spawn()?;
    wait_until("the monitor to listen", PATIENCE, || {
        monitor
            .stdout()
            .is_ok_and(|text| text.contains("KERNEL - the kernel uevent"))
    })?;

    let registry = Registry::open()?;
    let added = registry.add(&NewDevice::numbered(NUMBER))?;
    let device = Device::open(NUMBER.to_string())?;
    device.setup(&Setup::new(16 << 20))?;
    let ready = device.status()?.epoch;
    let server = guest
        .command("abusectl")
        .args([
            "server",
            &format!("/dev/abctl{NUMBER}"),
            "--backend",
            "null",
        ])
        .spawn()?;
    heard(&monitor, "change abuse701 ABUSE_STATE=live")?;
    device.resize(32 << 20, false)?;
    device.reset(true, Some(PATIENCE))?;
    drop((server, device));
    registry.remove(NUMBER, Some(added.sequence), true, Some(PATIENCE))?;
    heard(&monitor, "remove abctl701")?;

    let text = monitor.stdout()?;
    let told: Vec<String> = events(&text)
        .into_iter()
        .map(|event| event.story())
        .collect();
    let control: Vec<&str> = of(&told, "abctl701");
    ensure!(
        control
            == [
                "add abctl701",
                "change abctl701 ABUSE_STATE=ready",
                "change abctl701 ABUSE_STATE=live",
                "change abctl701 ABUSE_STATE=resetting",
                "change abctl701 ABUSE_STATE=empty",
                "remove abctl701",
            ],
        "{control:#?}"
    );
    let disk: Vec<&str> = of(&told, "abuse701");
    ensure!(
        disk == [
            "add abuse701",
            "change abuse701 ABUSE_STATE=live",
            "change abuse701 RESIZE=1",
            "remove abuse701",
        ],
        "{disk:#?}"
    );
    let at = |event: &str| told.iter().position(|told| told == event);
    for [first, second] in [
        ["add abuse701", "change abctl701 ABUSE_STATE=ready"],
        ["change abctl701 ABUSE_STATE=resetting", "remove abuse701"],
        ["remove abuse701", "change abctl701 ABUSE_STATE=empty"],
    ] {
        ensure!(at(first) < at(second), "{first} is not before {second}");
    }
    for event in events(&text) {
        if event.name() != Some("abctl701") || event.get("ABUSE_STATE").is_none() {
            continue;
        }
        let said = (
            event.get("ABUSE_DISK"),
            event.get("ABUSE_SEQUENCE"),
            event.get("ABUSE_EPOCH"),
        );
        let (sequence, epoch) = (added.sequence.to_string(), ready.to_string());
        let expected = (
            Some("abuse701"),
            Some(sequence.as_str()),
            Some(epoch.as_str()),
        );
        ensure!(said == expected, "{said:?}, not {expected:?}");
    }

    // Removed with its disk it says so before that goes.
    let added = registry.add(&NewDevice::numbered(NUMBER + 1))?;
    Device::open(added.number.to_string())?.setup(&Setup::new(16 << 20))?;
    registry.remove(added.number, Some(added.sequence), true, Some(PATIENCE))?;
    heard(&monitor, "remove abctl702")?;
    let text = monitor.stdout()?;
    let told: Vec<String> = events(&text)
        .into_iter()
        .map(|event| event.story())
        .collect();
    let control = of(&told, "abctl702");
    ensure!(
        control[2..] == ["change abctl702 ABUSE_STATE=gone", "remove abctl702"],
        "{control:#?}"
    );
    let at = |event: &str| told.iter().position(|told| told == event);
    ensure!(at("change abctl702 ABUSE_STATE=gone") < at("remove abuse702"));
    drop(quiet);
    Ok(())
}

/// Waits until an event was heard.
fn heard(monitor: &Process, what: &str) -> Result<()> {
    wait_for(what, PATIENCE, || {
        let text = monitor.stdout()?;
        let told = events(&text).iter().any(|event| event.story() == what);
        Ok(told.then_some(()))
    })
}

/// One event: its variables.
struct Event<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Event<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let mut variables = self.0.iter();
        variables
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    /// The last part of its device's path.
    fn name(&self) -> Option<&'a str> {
        self.get("DEVPATH")?.rsplit('/').next()
    }

    /// `change abctl7 ABUSE_STATE=live`
    fn story(&self) -> String {
        let mut words = vec![self.get("ACTION").unwrap_or_default().to_string()];
        words.extend(self.name().map(str::to_string));
        for key in ["ABUSE_STATE", "RESIZE"] {
            words.extend(self.get(key).map(|value| format!("{key}={value}")));
        }
        words.join(" ")
    }
}

/// What the monitor printed: blocks of KEY=value, each ended by an empty line.
fn events(text: &str) -> Vec<Event<'_>> {
    let complete = text
        .rsplit_once("\n\n")
        .map_or("", |(complete, _)| complete);
    let blocks = complete.split("\n\n").map(|block| {
        let variables = block.lines().filter_map(|line| line.split_once('='));
        Event(variables.collect())
    });
    blocks
        .filter(|event| event.get("ACTION").is_some())
        .collect()
}

fn of<'a>(told: &'a [String], name: &str) -> Vec<&'a str> {
    let about = |event: &&String| event.split(' ').nth(1) == Some(name);
    told.iter().filter(about).map(String::as_str).collect()
}
