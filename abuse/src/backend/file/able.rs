// SPDX-License-Identifier: MIT

//! What a backing file can do beyond reading and writing: asked of it, without changing it.

use std::fs;

use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags};

use super::Kind;
use crate::sys::file::{block_discard, block_erase};

/// What it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Able {
    pub(super) discard: bool,
    pub(super) erase: bool,
}

impl Able {
    /// Asks a file that is open for writing and has this size.
    pub(super) fn of(file: &fs::File, kind: Kind, bytes: u64) -> Able {
        match kind {
            Kind::Regular => Able {
                discard: punches(file, bytes),
                erase: false,
            },
            Kind::Block => Able {
                discard: knows(block_discard(file, ODD, ODD)),
                erase: knows(block_erase(file, ODD, ODD)),
            },
        }
    }
}

/// No block device takes a range that begins amid a sector: one that can do the operation says
/// EINVAL, one that cannot says so.
const ODD: u64 = 1;

fn knows(answer: nix::Result<()>) -> bool {
    answer == Err(Errno::EINVAL)
}

/// Whether the file system makes holes. Behind the end there is nothing to lose.
fn punches(file: &fs::File, bytes: u64) -> bool {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let behind = bytes.next_multiple_of(4096).try_into();
    behind.is_ok_and(|behind| fallocate(file, flags, behind, 4096) != Err(Errno::EOPNOTSUPP))
}
