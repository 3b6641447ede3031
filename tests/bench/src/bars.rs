// SPDX-License-Identifier: MIT

//! What was promised of the figures.

/// A ratio that was promised, and one that would be better.
pub(crate) struct Bar {
    pub(crate) key: &'static str,
    pub(crate) bar: f64,
    pub(crate) beyond: f64,
    /// It is to be at least that, and not at most.
    pub(crate) least: bool,
}

impl Bar {
    /// Whether a figure is within `by`.
    pub(crate) fn is_met(&self, value: f64, by: f64) -> bool {
        match self.least {
            true => value >= by,
            false => value <= by,
        }
    }
}

const fn least(key: &'static str, bar: f64, beyond: f64) -> Bar {
    Bar {
        key,
        bar,
        beyond,
        least: true,
    }
}

const fn bar(key: &'static str, bar: f64, beyond: f64) -> Bar {
    Bar {
        key,
        bar,
        beyond,
        least: false,
    }
}

/// All of them.
pub(crate) const BARS: &[Bar] = &[
    bar("instructions copy randread-4k-qd64 / kublk", 0.85, 0.82),
    bar(
        "instructions copy randread-4k-qd64 / kublk-batch",
        0.96,
        0.93,
    ),
    bar("instructions copy randread-4k-qd64 / null_blk", 1.06, 1.03),
    bar(
        "instructions copy randread-4k-qd64-batch16 / kublk",
        0.86,
        0.83,
    ),
    bar(
        "instructions copy randread-4k-qd64-batch16 / kublk-batch",
        0.93,
        0.90,
    ),
    bar(
        "instructions copy randread-4k-qd64-batch16 / null_blk",
        1.13,
        1.10,
    ),
    bar("instructions copy randwrite-4k-qd64 / kublk", 0.90, 0.85),
    bar(
        "instructions copy randwrite-4k-qd64 / kublk-batch",
        0.97,
        0.92,
    ),
    bar("instructions copy randread-4k-qd1 / kublk", 0.90, 0.85),
    bar("instructions copy randread-4k-qd1 / loop", 0.93, 0.90),
    bar("instructions copy read-128k-qd16 / kublk", 0.95, 0.92),
    bar("instructions copy read-128k-qd16 / null_blk", 0.87, 0.85),
    bar(
        "instructions file randread-4k-qd64 / kublk-loop",
        0.90,
        0.85,
    ),
    bar("instructions forward randread-4k-qd64 / loop", 0.78, 0.72),
    bar("instructions forward randread-4k-qd1 / loop", 1.05, 1.00),
    bar("instructions forward read-128k-qd16 / loop", 1.00, 0.97),
    bar("instructions ram randread-4k-qd64 / nbd", 0.25, 0.20),
    bar("instructions copy-4w4q randread-4k-qd64 / copy", 1.10, 1.05),
    bar("instructions copy-2w randread-4k-qd64 / copy", 1.05, 1.02),
    bar("driver copy randread-4k-qd64", 250.0, 200.0),
    bar("driver null randread-4k-qd64", 150.0, 110.0),
    bar("exchanges copy randread-4k-qd64", 0.04, 0.02),
    bar("switches copy randread-4k-qd64", 0.06, 0.02),
    least("iops spin randread-4k-qd1 / kublk", 3.0, 5.0),
    least("iops spin randread-4k-qd64 / kublk", 1.2, 1.5),
    least("iops slow-4w randread-4k-qd64 / slow-1w", 3.5, 3.9),
    bar("abuse-idle-device-bytes", 65536.0, 16384.0),
    bar("abuse-live-device-bytes", 1048576.0, 262144.0),
    bar("abuse-add-and-setup-ns / null_blk-setup-ns", 1.5, 1.0),
    bar("requeue-instructions", 1000.0, 300.0),
];
