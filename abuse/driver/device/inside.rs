// SPDX-License-Identifier: GPL-2.0-only

//! How a device is doing, for whoever asks.

use super::{Device, Life};
use crate::abi;
use crate::abi::Setup;
use crate::ledger::Summary;
use crate::name::Name;
use crate::sys::task;
use kernel::sync::atomic::Relaxed;

impl Device {
    /// One of `abi::STATE_*`.
    pub(crate) fn state(&self) -> u32 {
        self.state_of(&self.life.lock())
    }

    pub(super) fn state_of(&self, life: &Life) -> u32 {
        match life {
            _ if self.is_gone() => abi::STATE_GONE,
            Life::Gone => abi::STATE_GONE,
            Life::Empty => abi::STATE_EMPTY,
            Life::Resetting { .. } => abi::STATE_RESETTING,
            Life::Ready { .. } if self.live.load(Relaxed) != 0 => abi::STATE_LIVE,
            Life::Ready { .. } => abi::STATE_READY,
        }
    }

    /// Everything about the device.
    pub(crate) fn status(&self) -> abi::Status {
        let life = self.life.lock();
        let state = self.state_of(&life);
        let (shape, openers) = match &*life {
            Life::Ready { disk, shape, .. } if !self.is_gone() => (*shape, disk.openers()),
            _ => (Setup::default(), 0),
        };
        drop(life);
        let ledger = self.ledger.lock();
        let summary: Summary = ledger.summary(task::now());
        let counts = *ledger.counts();
        let (stale, refused) = ledger.refusals();
        let cached = shape.bytes > 0 && shape.features & abi::F_WRITE_THROUGH == 0;
        let unflushed = if cached { ledger.unflushed() } else { 0 };
        let epoch = ledger.epoch();
        drop(ledger);
        let mut status = abi::Status {
            size: core::mem::size_of::<abi::Status>() as u32,
            abi_version: abi::ABI_VERSION,
            abi_features: abi::ABI_EXCHANGE | abi::ABI_V1 | abi::ABI_FORWARD,
            number: self.number,
            state,
            sequence: self.sequence,
            epoch,
            queued: summary.queued,
            taken: summary.taken,
            draining: summary.busy,
            forwarding: summary.forwarding,
            workers: summary.workers,
            waiting: summary.sleepers,
            openers,
            errors: 0,
            oldest_queued_ns: summary.oldest_queued,
            oldest_taken_ns: summary.oldest_taken,
            stale,
            refused,
            unflushed,
            config: shape,
            name: *self.name.bytes(),
            ..abi::Status::default()
        };
        let mut errors = 0u64;
        for (to, from) in status.ops.iter_mut().zip(counts.iter()) {
            *to = abi::OpStats {
                queued: from.queued,
                taken: from.taken,
                done: from.done,
                requeued: from.requeued,
                failed: from.failed,
                bytes: from.bytes,
                total_ns: from.total,
                service_ns: from.service,
            };
            errors = errors.saturating_add(from.failed);
        }
        status.errors = errors.min(u64::from(u32::MAX)) as u32;
        for (to, from) in status.driver.iter_mut().zip(crate::VERSION.bytes()) {
            *to = from;
        }
        status
    }

    /// N of /dev/abuseN.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Tells it from others that have or had the same number.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Its name, if it was given one.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }
}

/// The word for a state, in sysfs and in events.
pub(crate) fn state_name(state: u32) -> &'static str {
    match state {
        abi::STATE_EMPTY => "empty",
        abi::STATE_READY => "ready",
        abi::STATE_LIVE => "live",
        abi::STATE_RESETTING => "resetting",
        _ => "gone",
    }
}
