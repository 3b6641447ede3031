// SPDX-License-Identifier: MIT

//! The shape and the policies of a disk.

use std::time::Duration;

use super::nanoseconds;
use crate::abi;

/// The shape and the policies of a disk. A number that is 0 means the driver's default.
///
/// ```
/// use abuse::Setup;
///
/// let setup = Setup {
///     logical_block: 512,
///     read_only: true,
///     ..Setup::new(1 << 30)
/// };
/// assert!(setup.fua && setup.requeue_on_close);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Capacity: a multiple of `logical_block`.
    pub bytes: u64,
    /// Bytes, a power of two from 512 to 64 KiB (default 4096).
    pub logical_block: u32,
    /// Bytes, a power of two, at least `logical_block`.
    pub physical_block: u32,
    /// Bytes of the smallest I/O without a penalty.
    pub io_min: u32,
    /// Bytes of the best I/O: a multiple of `physical_block`.
    pub io_opt: u32,
    /// Bytes of the largest request (default 1 MiB).
    pub max_bytes: u32,
    /// Requests per hardware queue (default 128).
    pub depth: u32,
    /// Hardware queues (default 1).
    pub queues: u32,
    /// Pieces of one request (default 256).
    pub max_segments: u32,
    /// The disk refuses writes.
    pub read_only: bool,
    /// No volatile cache: every write is durable before it is completed.
    pub write_through: bool,
    /// Durable writes come as such; otherwise as a write and a flush. On by default.
    pub fua: bool,
    /// Seeks are expensive.
    pub rotational: bool,
    /// Look for partitions once a worker waits.
    pub partscan: bool,
    /// Discard is offered.
    pub discard: bool,
    /// Write-zeroes is offered.
    pub write_zeroes: bool,
    /// Secure erase is offered.
    pub secure_erase: bool,
    /// What a worker had taken is offered again when its file is closed for good. On by default;
    /// must be off for backends whose I/O outlives the process.
    pub requeue_on_close: bool,
    /// The backend rejects old writers by itself, so that writes of the living may be re-offered.
    pub fenced_backend: bool,
    /// Deaths of owners after which a request fails; 0: no limit.
    pub max_attempts: u32,
    /// Bytes (default `physical_block`).
    pub discard_granularity: u32,
    /// Of one discard, zeroing or erase (default 1 GiB).
    pub max_discard_bytes: u32,
    /// Re-offer what was taken longer ago, within the fencing rule. Off by default.
    pub lease: Option<Duration>,
    /// Fail requests once the oldest unclaimed one is older. By default they wait for ever.
    pub no_server: Option<Duration>,
    /// What the driver changed, as `abi::ADJ_*`; [`Setup::adjusted`] has the names. Ignored when
    /// setting up.
    pub adjusted: u32,
}

impl Setup {
    /// A writable disk of `bytes` bytes with everything else as the driver likes it.
    pub fn new(bytes: u64) -> Setup {
        Setup::from_abi(&abi::Setup {
            bytes,
            ..Default::default()
        })
    }

    /// The names of the fields the driver changed.
    pub fn adjusted(&self) -> Vec<&'static str> {
        abi::ADJ_NAMES
            .iter()
            .filter(|(bit, _)| self.adjusted & bit != 0)
            .map(|&(_, name)| name)
            .collect()
    }

    pub(crate) fn from_abi(raw: &abi::Setup) -> Setup {
        let feature = |bit| raw.features & bit != 0;
        let policy = |bit| raw.policies & bit != 0;
        let duration = |ns: u64| (ns != 0).then(|| Duration::from_nanos(ns));
        Setup {
            bytes: raw.bytes,
            logical_block: raw.logical_block,
            physical_block: raw.physical_block,
            io_min: raw.io_min,
            io_opt: raw.io_opt,
            max_bytes: raw.max_bytes,
            depth: raw.depth,
            queues: raw.queues,
            max_segments: raw.max_segments,
            read_only: feature(abi::F_READ_ONLY),
            write_through: feature(abi::F_WRITE_THROUGH),
            fua: !feature(abi::F_NO_FUA),
            rotational: feature(abi::F_ROTATIONAL),
            partscan: feature(abi::F_PARTSCAN),
            discard: feature(abi::F_DISCARD),
            write_zeroes: feature(abi::F_WRITE_ZEROES),
            secure_erase: feature(abi::F_SECURE_ERASE),
            requeue_on_close: !policy(abi::P_KEEP_ON_CLOSE),
            fenced_backend: policy(abi::P_FENCED_BACKEND),
            max_attempts: raw.max_attempts,
            discard_granularity: raw.discard_granularity,
            max_discard_bytes: raw.max_discard_bytes,
            lease: duration(raw.lease_ns),
            no_server: duration(raw.no_server_ns),
            adjusted: raw.adjusted,
        }
    }

    pub(crate) fn to_abi(&self) -> abi::Setup {
        let features = bits(&[
            (self.read_only, abi::F_READ_ONLY),
            (self.write_through, abi::F_WRITE_THROUGH),
            (!self.fua, abi::F_NO_FUA),
            (self.rotational, abi::F_ROTATIONAL),
            (self.partscan, abi::F_PARTSCAN),
            (self.discard, abi::F_DISCARD),
            (self.write_zeroes, abi::F_WRITE_ZEROES),
            (self.secure_erase, abi::F_SECURE_ERASE),
        ]);
        let policies = bits(&[
            (!self.requeue_on_close, abi::P_KEEP_ON_CLOSE),
            (self.fenced_backend, abi::P_FENCED_BACKEND),
        ]);
        abi::Setup {
            bytes: self.bytes,
            logical_block: self.logical_block,
            physical_block: self.physical_block,
            io_min: self.io_min,
            io_opt: self.io_opt,
            max_bytes: self.max_bytes,
            depth: self.depth,
            queues: self.queues,
            max_segments: self.max_segments,
            features,
            policies,
            max_attempts: self.max_attempts,
            discard_granularity: self.discard_granularity,
            max_discard_bytes: self.max_discard_bytes,
            lease_ns: self.lease.map_or(0, nanoseconds),
            no_server_ns: self.no_server.map_or(0, nanoseconds),
            ..Default::default()
        }
    }
}

fn bits(choices: &[(bool, u32)]) -> u32 {
    choices
        .iter()
        .filter(|(chosen, _)| *chosen)
        .fold(0, |bits, (_, bit)| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_setup_is_the_cleared_struct_with_a_size() {
        let cleared = abi::Setup {
            bytes: 4096,
            ..Default::default()
        };
        assert_eq!(Setup::new(4096).to_abi(), cleared);
    }

    #[test]
    fn every_feature_and_policy_survives_the_way_there_and_back() {
        for bit in 0..32 {
            let raw = abi::Setup {
                bytes: 1 << 20,
                features: abi::F_ALL & (1 << bit),
                policies: abi::P_ALL & (1 << bit),
                lease_ns: 5,
                no_server_ns: 7,
                ..Default::default()
            };
            assert_eq!(Setup::from_abi(&raw).to_abi(), raw, "bit {bit}");
        }
    }

    #[test]
    fn adjusted_values_are_named() {
        let mut raw = Setup::new(4096).to_abi();
        raw.adjusted = abi::ADJ_DEPTH | abi::ADJ_FUA;
        assert_eq!(Setup::from_abi(&raw).adjusted(), ["depth", "fua"]);
    }
}
