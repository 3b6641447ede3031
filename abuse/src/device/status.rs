// SPDX-License-Identifier: MIT

//! Everything about one device, as the driver reports it.

use std::fmt;
use std::time::Duration;

use super::Setup;
use crate::abi;

/// What a device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not set up; there is no disk.
    Empty,
    /// Set up; no worker has waited for requests yet.
    Ready,
    /// Set up, and a worker has waited since.
    Live,
    /// A reset is being finished.
    Resetting,
    /// The device was removed.
    Gone,
    /// A state this version does not know.
    Unknown(u32),
}

impl State {
    fn from_abi(raw: u32) -> State {
        match raw {
            abi::STATE_EMPTY => State::Empty,
            abi::STATE_READY => State::Ready,
            abi::STATE_LIVE => State::Live,
            abi::STATE_RESETTING => State::Resetting,
            abi::STATE_GONE => State::Gone,
            other => State::Unknown(other),
        }
    }

    /// Its name in one lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "empty",
            State::Ready => "ready",
            State::Live => "live",
            State::Resetting => "resetting",
            State::Gone => "gone",
            State::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Fill the buffer.
    Read,
    /// Store the buffer.
    Write,
    /// Make every write completed before durable.
    Flush,
    /// The contents may be forgotten.
    Discard,
    /// The contents become zero.
    WriteZeroes,
    /// The contents become unrecoverable.
    SecureErase,
}

impl Operation {
    /// All of them, in the order of the ABI.
    pub const ALL: [Operation; abi::OP_COUNT] = [
        Operation::Read,
        Operation::Write,
        Operation::Flush,
        Operation::Discard,
        Operation::WriteZeroes,
        Operation::SecureErase,
    ];

    /// The operation of a number of the ABI.
    pub(crate) fn from_abi(raw: u16) -> Option<Operation> {
        Operation::ALL.get(usize::from(raw)).copied()
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Flush => "flush",
            Operation::Discard => "discard",
            Operation::WriteZeroes => "write-zeroes",
            Operation::SecureErase => "secure-erase",
        }
    }

    /// Whether it changes what later reads or a power cut would find. Such a request is never
    /// offered again while its owner lives.
    pub fn modifies(self) -> bool {
        self != Operation::Read
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Counts of one operation since the last set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Requests that came.
    pub queued: u64,
    /// Claims handed out, redeliveries included.
    pub taken: u64,
    /// Requests completed well.
    pub done: u64,
    /// Claims taken back.
    pub requeued: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Bytes of the requests in `done`.
    pub bytes: u64,
    /// From arrival to completion of the requests in `done`, added up.
    pub total: Duration,
    /// Of that, in the hands of the worker that held the request last.
    pub service: Duration,
}

/// Everything about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// N of `/dev/abuseN`.
    pub number: u32,
    /// The name it was added under.
    pub name: Option<String>,
    /// What the device is doing.
    pub state: State,
    /// Of the device: not used again until the module is reloaded.
    pub sequence: u64,
    /// Counts set-ups and reconnects.
    pub epoch: u32,
    /// Requests nobody has taken.
    pub queued: u32,
    /// Requests a worker holds.
    pub taken: u32,
    /// Requests in the middle of a copy, or forwarded.
    pub draining: u32,
    /// Of these, requests whose data the kernel moves between the disk and a file.
    pub forwarding: u32,
    /// Processes that have taken requests and still have the node open.
    pub workers: u32,
    /// Threads asleep, waiting for requests.
    pub waiting: u32,
    /// Openers of the disk.
    pub openers: u32,
    /// Requests that ended with an error.
    pub errors: u32,
    /// Age of the oldest request nobody has taken.
    pub oldest_queued: Option<Duration>,
    /// Longest time a worker has held one.
    pub oldest_taken: Option<Duration>,
    /// Completions refused because the id was old.
    pub stale: u64,
    /// Re-offers refused because a writer lives.
    pub refused: u64,
    /// Completed changes that are durable only once a flush has followed, which it has not. 0 on a disk
    /// without a volatile cache.
    pub unflushed: u64,
    /// The shape of the disk, as the driver adjusted it; `None` when not set up.
    pub setup: Option<Setup>,
    /// Counts, in the order of [`Operation::ALL`]; [`Status::counts`] picks one.
    pub ops: [OpCounts; abi::OP_COUNT],
    /// Version of the driver.
    pub driver_version: String,
    /// Version of the ABI it speaks.
    pub abi_version: u32,
    /// What of it there is: `ABI_*` of [`crate::abi`].
    pub abi_features: u64,
}

impl Status {
    /// The counts of one operation.
    pub fn counts(&self, operation: Operation) -> &OpCounts {
        &self.ops[operation as usize]
    }

    /// Whether anything is pending: queued, taken or draining.
    pub fn is_idle(&self) -> bool {
        self.queued == 0 && self.taken == 0 && self.draining == 0
    }

    pub(crate) fn from_abi(raw: &abi::Status) -> Status {
        let age = |ns: u64| (ns != 0).then(|| Duration::from_nanos(ns));
        let text = |bytes: &[u8]| {
            let text = bytes.split(|&byte| byte == 0).next().unwrap_or(&[]);
            String::from_utf8_lossy(text).into_owned()
        };
        Status {
            number: raw.number,
            name: Some(text(&raw.name)).filter(|name| !name.is_empty()),
            state: State::from_abi(raw.state),
            sequence: raw.sequence,
            epoch: raw.epoch,
            queued: raw.queued,
            taken: raw.taken,
            draining: raw.draining,
            forwarding: raw.forwarding,
            workers: raw.workers,
            waiting: raw.waiting,
            openers: raw.openers,
            errors: raw.errors,
            oldest_queued: age(raw.oldest_queued_ns),
            oldest_taken: age(raw.oldest_taken_ns),
            stale: raw.stale,
            refused: raw.refused,
            unflushed: raw.unflushed,
            setup: (raw.config.bytes != 0).then(|| Setup::from_abi(&raw.config)),
            ops: raw.ops.map(|op| OpCounts {
                queued: op.queued,
                taken: op.taken,
                done: op.done,
                requeued: op.requeued,
                failed: op.failed,
                bytes: op.bytes,
                total: Duration::from_nanos(op.total_ns),
                service: Duration::from_nanos(op.service_ns),
            }),
            driver_version: text(&raw.driver),
            abi_version: raw.abi_version,
            abi_features: raw.abi_features,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_device_has_no_setup_and_no_ages() {
        let status = Status::from_abi(&abi::Status::default());
        assert_eq!(status.state, State::Empty);
        assert_eq!(status.setup, None);
        assert_eq!(status.name, None);
        assert_eq!(status.oldest_queued, None);
        assert!(status.is_idle());
    }

    #[test]
    fn counts_are_found_by_operation() {
        let mut raw = abi::Status::default();
        raw.ops[usize::from(abi::OP_FLUSH)].taken = 3;
        raw.driver[..5].copy_from_slice(b"0.1.0");
        let status = Status::from_abi(&raw);
        assert_eq!(status.counts(Operation::Flush).taken, 3);
        assert_eq!(status.counts(Operation::Read).taken, 0);
        assert_eq!(status.driver_version, "0.1.0");
    }

    #[test]
    fn operations_have_the_numbers_of_the_abi() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index);
            assert_eq!(Operation::from_abi(index as u16), Some(operation));
        }
        assert_eq!(Operation::from_abi(6), None);
        assert_eq!(Operation::SecureErase as u16, abi::OP_SECURE_ERASE);
    }
}
