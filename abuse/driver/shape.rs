// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a set-up asks for, checked and completed: pure, like the ledger.
//!
//! What cannot be meant is refused; what is merely too large or too small is clamped, and the
//! adjusted value is reported back.

use crate::abi::{self, Reconnect, Setup};

/// Smallest logical block, and the unit of sectors.
const SECTOR: u32 = 512;
/// Largest logical block the block layer takes.
const MAX_BLOCK: u32 = 64 << 10;
const DEFAULT_BLOCK: u32 = 4096;
const DEFAULT_DEPTH: u32 = 128;
const DEFAULT_MAX_BYTES: u32 = 1 << 20;
const DEFAULT_MAX_DISCARD: u32 = 1 << 30;

/// Why a set-up is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// EINVAL.
    Invalid,
    /// EFBIG: more bytes than a file may have.
    TooBig,
}

/// Checks and completes what `asked` leaves open, for a machine with `cpus` processors and pages of
/// `page` bytes.
pub(crate) fn settle(asked: &Setup, cpus: u32, page: u32) -> Result<Setup, Bad> {
    let mut shape = *asked;
    shape.adjusted = 0;
    let unknown = asked.features & !abi::F_ALL | asked.policies & !abi::P_ALL;
    if unknown != 0 || asked.reserved0 != 0 || asked.reserved != [0; 5] {
        return Err(Bad::Invalid);
    }

    shape.logical_block = or_default(asked.logical_block, DEFAULT_BLOCK);
    let block = shape.logical_block;
    if !block.is_power_of_two() || !(SECTOR..=MAX_BLOCK).contains(&block) {
        return Err(Bad::Invalid);
    }
    if asked.bytes == 0 || asked.bytes & u64::from(block - 1) != 0 {
        return Err(Bad::Invalid);
    }
    if asked.bytes > i64::MAX as u64 {
        return Err(Bad::TooBig);
    }

    shape.physical_block = or_default(asked.physical_block, block);
    if !shape.physical_block.is_power_of_two() {
        return Err(Bad::Invalid);
    }
    clamp(
        &mut shape.physical_block,
        block,
        1 << 30,
        &mut shape.adjusted,
        abi::ADJ_PHYSICAL,
    );
    shape.io_min = or_default(asked.io_min, shape.physical_block);
    multiple(
        &mut shape.io_min,
        block,
        &mut shape.adjusted,
        abi::ADJ_IO_MIN,
    );
    clamp(
        &mut shape.io_min,
        shape.physical_block,
        1 << 30,
        &mut shape.adjusted,
        abi::ADJ_IO_MIN,
    );
    // The block layer would round it by itself, and tell nobody.
    multiple(
        &mut shape.io_opt,
        shape.physical_block,
        &mut shape.adjusted,
        abi::ADJ_IO_OPT,
    );

    shape.max_bytes = or_default(asked.max_bytes, DEFAULT_MAX_BYTES);
    let least = block.max(page);
    clamp(
        &mut shape.max_bytes,
        least,
        abi::MAX_BYTES,
        &mut shape.adjusted,
        abi::ADJ_MAX_BYTES,
    );
    multiple(
        &mut shape.max_bytes,
        block,
        &mut shape.adjusted,
        abi::ADJ_MAX_BYTES,
    );
    shape.max_segments = or_default(asked.max_segments, abi::MAX_SEGMENTS);
    // A block may be scattered over as many pages as it is long, and one more if it begins amid one.
    let least = (block / page.max(1)).saturating_add(1).max(2);
    let most = abi::MAX_SEGMENTS;
    clamp(
        &mut shape.max_segments,
        least,
        most,
        &mut shape.adjusted,
        abi::ADJ_SEGMENTS,
    );

    shape.depth = or_default(asked.depth, DEFAULT_DEPTH);
    clamp(
        &mut shape.depth,
        1,
        abi::MAX_DEPTH,
        &mut shape.adjusted,
        abi::ADJ_DEPTH,
    );
    shape.queues = or_default(asked.queues, 1);
    let most = cpus.max(1).min(abi::MAX_TAGS / shape.depth.max(1));
    clamp(
        &mut shape.queues,
        1,
        most,
        &mut shape.adjusted,
        abi::ADJ_QUEUES,
    );

    if shape.features & abi::F_WRITE_THROUGH != 0 && shape.features & abi::F_NO_FUA == 0 {
        shape.features |= abi::F_NO_FUA;
        shape.adjusted |= abi::ADJ_FUA;
    }
    shape.max_discard_bytes = or_default(asked.max_discard_bytes, DEFAULT_MAX_DISCARD);
    multiple(
        &mut shape.max_discard_bytes,
        block,
        &mut shape.adjusted,
        abi::ADJ_DISCARD,
    );
    shape.discard_granularity = or_default(asked.discard_granularity, shape.physical_block);
    if !shape.discard_granularity.is_power_of_two() {
        return Err(Bad::Invalid);
    }
    let most = 1 << 30;
    clamp(
        &mut shape.discard_granularity,
        shape.physical_block,
        most,
        &mut shape.adjusted,
        abi::ADJ_DISCARD,
    );
    // The block layer splits no discard below this.
    let least = shape.discard_granularity;
    let most = !(least - 1);
    clamp(
        &mut shape.max_discard_bytes,
        least,
        most,
        &mut shape.adjusted,
        abi::ADJ_DISCARD,
    );
    Ok(shape)
}

/// Whether what a RECONNECT asks to be changed can be meant. What is not to change must be zero: a
/// caller that forgot to say so would not get what it wants.
pub(crate) fn check_change(call: &Reconnect) -> Result<(), Bad> {
    let both = abi::RC_READ_ONLY | abi::RC_READ_WRITE;
    let values = abi::RC_MAX_ATTEMPTS | abi::RC_LEASE | abi::RC_NO_SERVER;
    let known = abi::RC_FORCE | both | values;
    let meant = |flag: u32, is_zero: bool| call.flags & flag != 0 || is_zero;
    let good = call.flags & !known == 0
        && call.flags & both != both
        && call.policy_mask & !abi::P_ALL == 0
        && call.policies & !call.policy_mask == 0
        && meant(abi::RC_MAX_ATTEMPTS, call.max_attempts == 0)
        && meant(abi::RC_LEASE, call.lease_ns == 0)
        && meant(abi::RC_NO_SERVER, call.no_server_ns == 0)
        && call.reserved0 == 0
        && call.reserved == 0;
    if good {
        Ok(())
    } else {
        Err(Bad::Invalid)
    }
}

/// The disk as RECONNECT leaves it: read-only and policies change, and nothing else.
pub(crate) fn changed(shape: &Setup, call: &Reconnect) -> Setup {
    let has = |flag: u32| call.flags & flag != 0;
    let mut shape = *shape;
    if has(abi::RC_READ_ONLY) {
        shape.features |= abi::F_READ_ONLY;
    }
    if has(abi::RC_READ_WRITE) {
        shape.features &= !abi::F_READ_ONLY;
    }
    shape.policies = shape.policies & !call.policy_mask | call.policies;
    if has(abi::RC_MAX_ATTEMPTS) {
        shape.max_attempts = call.max_attempts;
    }
    if has(abi::RC_LEASE) {
        shape.lease_ns = call.lease_ns;
    }
    if has(abi::RC_NO_SERVER) {
        shape.no_server_ns = call.no_server_ns;
    }
    shape
}

/// The set-up a client of 2009 means. Of its flags only those of 2009 are looked at.
pub(crate) fn of_2009(info: &abi::Info, partitions: bool, page: u32) -> Result<Setup, Bad> {
    let block = info.blocksize;
    if info.max_queue > abi::V1_MAX_QUEUE || block > page {
        return Err(Bad::Invalid);
    }
    if !block.is_power_of_two() || block < SECTOR {
        return Err(Bad::Invalid);
    }
    let mut features = abi::F_WRITE_THROUGH | abi::F_NO_FUA;
    if info.flags & abi::FLAGS_READ_ONLY != 0 {
        features |= abi::F_READ_ONLY;
    }
    if partitions {
        features |= abi::F_PARTSCAN;
    }
    Ok(Setup {
        bytes: info.bytes,
        logical_block: block,
        depth: info.max_queue,
        features,
        ..Setup::default()
    })
}

fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 {
        default
    } else {
        value
    }
}

fn clamp(value: &mut u32, least: u32, most: u32, adjusted: &mut u32, bit: u32) {
    let kept = (*value).max(least).min(most.max(least));
    if kept != *value {
        *value = kept;
        *adjusted |= bit;
    }
}

/// Rounds down to a multiple of a power of two, but not to nothing.
fn multiple(value: &mut u32, of: u32, adjusted: &mut u32, bit: u32) {
    let rounded = *value & !of.wrapping_sub(1);
    let kept = if rounded == 0 && *value != 0 {
        of
    } else {
        rounded
    };
    if kept != *value {
        *value = kept;
        *adjusted |= bit;
    }
}
