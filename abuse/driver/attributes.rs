// SPDX-License-Identifier: GPL-2.0-only

//! What /sys/class/abuse/abctlN says; docs/uapi.md has the table.
//!
//! Everybody may know what a device is and how it was set up. What is asked of it, by whom and how
//! often is for those who may open it; here, for root.

use crate::abi::{self, OpStats, Setup, Status};
use crate::device::{state_name, Device};
use crate::sys::attributes::{Attribute, Group, Text};
use core::fmt::{self, Write};

/// All of it.
pub(crate) static GROUPS: [Group<Device>; 4] = [
    Group {
        name: None,
        attributes: &NODE,
    },
    Group {
        name: Some(c"config"),
        attributes: &CONFIG,
    },
    Group {
        name: Some(c"load"),
        attributes: &LOAD,
    },
    Group {
        name: Some(c"ops"),
        attributes: &OPS,
    },
];

static NODE: [Attribute<Device>; 4] = [
    Attribute::open(c"name", |device, to| {
        writeln!(to, "{}", device.name().as_str())
    }),
    Attribute::open(c"state", |device, to| {
        writeln!(to, "{}", state_name(device.state()))
    }),
    Attribute::open(c"sequence", |device, to| {
        writeln!(to, "{}", device.sequence())
    }),
    Attribute::open(c"epoch", |device, to| {
        let epoch = device.ledger.lock().epoch();
        writeln!(to, "{epoch}")
    }),
];

macro_rules! config {
    ($name:literal, $field:ident) => {
        Attribute::open($name, |device, to| writeln!(to, "{}", shape(device).$field))
    };
}

static CONFIG: [Attribute<Device>; 17] = [
    config!(c"size", bytes),
    config!(c"logical_block", logical_block),
    config!(c"physical_block", physical_block),
    config!(c"io_min", io_min),
    config!(c"io_opt", io_opt),
    config!(c"max_bytes", max_bytes),
    config!(c"max_segments", max_segments),
    config!(c"depth", depth),
    config!(c"queues", queues),
    config!(c"discard_granularity", discard_granularity),
    config!(c"max_discard_bytes", max_discard_bytes),
    config!(c"max_attempts", max_attempts),
    config!(c"lease_ns", lease_ns),
    config!(c"no_server_ns", no_server_ns),
    Attribute::open(c"features", |device, to| {
        words(to, shape(device).features, &FEATURES)
    }),
    Attribute::open(c"policies", |device, to| {
        words(to, shape(device).policies, &POLICIES)
    }),
    Attribute::open(c"adjusted", |device, to| {
        words(to, shape(device).adjusted, &abi::ADJ_NAMES)
    }),
];

macro_rules! load {
    ($name:literal, $field:ident) => {
        Attribute::secret($name, |device, to| {
            let status: Status = device.status();
            writeln!(to, "{}", status.$field)
        })
    };
}

static LOAD: [Attribute<Device>; 13] = [
    load!(c"queued", queued),
    load!(c"taken", taken),
    load!(c"draining", draining),
    load!(c"forwarding", forwarding),
    load!(c"oldest_queued_ns", oldest_queued_ns),
    load!(c"oldest_taken_ns", oldest_taken_ns),
    load!(c"workers", workers),
    load!(c"waiting", waiting),
    load!(c"openers", openers),
    load!(c"errors", errors),
    load!(c"stale", stale),
    load!(c"refused", refused),
    load!(c"unflushed", unflushed),
];

macro_rules! operation {
    ($name:literal, $op:expr) => {
        Attribute::secret($name, |device, to| {
            let ops = device.status().ops;
            let counts: OpStats = ops.get($op as usize).copied().unwrap_or_default();
            writeln!(
                to,
                "{} {} {} {} {} {} {} {}",
                counts.queued,
                counts.taken,
                counts.done,
                counts.requeued,
                counts.failed,
                counts.bytes,
                counts.total_ns,
                counts.service_ns,
            )
        })
    };
}

static OPS: [Attribute<Device>; abi::OP_COUNT] = [
    operation!(c"read", abi::OP_READ),
    operation!(c"write", abi::OP_WRITE),
    operation!(c"flush", abi::OP_FLUSH),
    operation!(c"discard", abi::OP_DISCARD),
    operation!(c"write_zeroes", abi::OP_WRITE_ZEROES),
    operation!(c"secure_erase", abi::OP_SECURE_ERASE),
];

const FEATURES: [(u32, &str); 8] = [
    (abi::F_READ_ONLY, "read_only"),
    (abi::F_WRITE_THROUGH, "write_through"),
    (abi::F_NO_FUA, "no_fua"),
    (abi::F_ROTATIONAL, "rotational"),
    (abi::F_PARTSCAN, "partscan"),
    (abi::F_DISCARD, "discard"),
    (abi::F_WRITE_ZEROES, "write_zeroes"),
    (abi::F_SECURE_ERASE, "secure_erase"),
];

const POLICIES: [(u32, &str); 2] = [
    (abi::P_KEEP_ON_CLOSE, "keep_on_close"),
    (abi::P_FENCED_BACKEND, "fenced_backend"),
];

/// The shape of the disk; all zero if there is none.
fn shape(device: &Device) -> Setup {
    device
        .shape()
        .map_or_else(Setup::default, |(shape, _)| shape)
}

/// The names of the bits that are set, in a line.
fn words(to: &mut Text<'_>, bits: u32, names: &[(u32, &str)]) -> fmt::Result {
    let mut first = true;
    for (_, name) in names.iter().filter(|(bit, _)| bits & bit != 0) {
        if !first {
            to.write_str(" ")?;
        }
        to.write_str(name)?;
        first = false;
    }
    to.write_str("\n")
}
