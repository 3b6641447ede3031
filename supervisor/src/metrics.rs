// SPDX-License-Identifier: MIT
//! How it stands, in the Prometheus text format: series per device and per worker.

use std::fmt::Write;

use crate::status::{DeviceStatus, SlotStatus};

/// A name, what it means, and its value of a device.
type Of<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

const DEVICE: &[Of<DeviceStatus>] = &[
    ("workers_wanted", "Workers there are to be.", |it| {
        Some(it.workers_wanted as f64)
    }),
    ("workers_ready", "Workers that serve.", |it| {
        Some(it.workers_ready as f64)
    }),
    ("standbys_wanted", "Standbys there are to be.", |it| {
        Some(it.standbys_wanted as f64)
    }),
    ("standbys_ready", "Standbys that can be promoted.", |it| {
        Some(it.standbys_ready as f64)
    }),
    ("given_up", "Slots that were given up.", |it| {
        Some(it.given_up as f64)
    }),
    (
        "io_fails",
        "1 if requests fail because nobody will serve them.",
        |it| Some(f64::from(u8::from(it.io_fails))),
    ),
    ("requests_queued", "Requests that nobody has taken.", |it| {
        Some(f64::from(it.queued))
    }),
    ("requests_taken", "Requests that workers hold.", |it| {
        Some(f64::from(it.taken))
    }),
    (
        "request_errors",
        "Requests that ended with an error since the last set-up.",
        |it| Some(f64::from(it.errors)),
    ),
    ("epoch", "Set-ups and reconnects.", |it| {
        Some(f64::from(it.epoch))
    }),
    (
        "oldest_taken_seconds",
        "For how long the oldest request has been held.",
        |it| it.oldest_taken_ms.map(seconds),
    ),
    (
        "oldest_queued_seconds",
        "For how long the oldest request has waited.",
        |it| it.oldest_queued_ms.map(seconds),
    ),
];

const WORKER: &[Of<SlotStatus>] = &[
    (
        "worker_spawns_total",
        "Workers started in this slot.",
        |it| Some(it.spawns as f64),
    ),
    ("worker_failures", "Failures in a row in this slot.", |it| {
        Some(f64::from(it.failures))
    }),
    (
        "worker_state_seconds",
        "For how long its worker has been in this state.",
        |it| it.for_ms.map(seconds),
    ),
];

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// All series of these devices.
pub fn text(all: &[DeviceStatus]) -> String {
    let mut out = String::new();
    for (name, help, value) in DEVICE {
        head(&mut out, name, help);
        for device in all {
            if let Some(value) = value(device) {
                let device = escape(&device.device);
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "abuse_supervisor_{name}{{device=\"{device}\"}} {value}"
                );
            }
        }
    }
    head(&mut out, "health", "1 for the one that it is.");
    for device in all {
        for health in HEALTHS {
            let is = u8::from(device.health == health);
            let device = escape(&device.device);
            let labels = format!("device=\"{device}\",health=\"{health}\"");
            let _ = writeln!(out, "abuse_supervisor_health{{{labels}}} {is}");
        }
    }
    for (name, help, value) in WORKER {
        head(&mut out, name, help);
        for device in all {
            for slot in &device.slots {
                if let Some(value) = value(slot) {
                    let labels = labels(device, slot);
                    let _ = writeln!(out, "abuse_supervisor_{name}{{{labels}}} {value}");
                }
            }
        }
    }
    // What changes is no label of a counter: each would be another series.
    head(
        &mut out,
        "worker_state",
        "1, and in its labels what the slot is for and what its worker does.",
    );
    for device in all {
        for slot in &device.slots {
            let labels = labels(device, slot);
            let (role, state) = (escape(&slot.role), escape(&slot.state));
            let labels = format!("{labels},role=\"{role}\",state=\"{state}\"");
            let _ = writeln!(out, "abuse_supervisor_worker_state{{{labels}}} 1");
        }
    }
    out
}

const HEALTHS: [&str; 5] = ["served", "degraded", "unserved", "failed", "ending"];

fn head(out: &mut String, name: &str, help: &str) {
    let kind = match name.ends_with("_total") {
        true => "counter",
        false => "gauge",
    };
    let name = format!("abuse_supervisor_{name}");
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn labels(device: &DeviceStatus, slot: &SlotStatus) -> String {
    let all = [
        ("device", device.device.clone()),
        ("slot", slot.slot.to_string()),
    ];
    let all = all.map(|(name, value)| format!("{name}=\"{}\"", escape(&value)));
    all.join(",")
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_series_with_labels_and_a_number() {
        let device = DeviceStatus {
            device: "a\"b".into(),
            health: "failed".into(),
            workers_wanted: 2,
            oldest_taken_ms: Some(1500),
            slots: vec![SlotStatus {
                role: "active".into(),
                state: "ready".into(),
                spawns: 3,
                ..SlotStatus::default()
            }],
            ..DeviceStatus::default()
        };
        let text = text(&[device]);
        assert!(text.contains("abuse_supervisor_workers_wanted{device=\"a\\\"b\"} 2\n"));
        assert!(text.contains("abuse_supervisor_oldest_taken_seconds{device=\"a\\\"b\"} 1.5\n"));
        assert!(!text.contains("oldest_queued_seconds{"));
        assert!(text.contains("worker_spawns_total{device=\"a\\\"b\",slot=\"0\"} 3\n"));
        assert!(text.contains("slot=\"0\",role=\"active\",state=\"ready\"} 1\n"));
        assert!(text.contains("health=\"failed\"} 1\n"));
        assert!(text.contains("health=\"served\"} 0\n"));
        // Each family: what it means, of what kind it is, and only then its series, all in one place.
        let (mut family, mut seen) = (String::new(), Vec::new());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap();
                assert!(!words.is_empty() && !seen.contains(&name), "{line}");
                family = name.to_owned();
                seen.push(name);
                let kind = lines.next().unwrap();
                let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap();
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let labels = series.strip_prefix(&family).unwrap();
            assert!(
                labels.starts_with('{') && labels.ends_with('}') && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
