// SPDX-License-Identifier: MIT

//! Memory that direct I/O can use. A worker's buffers always can; those of other callers may not.

use std::io;

use super::{Access, File};
use crate::sys::Arena;

impl File {
    /// Whether I/O can go straight to or from this memory.
    pub(super) fn takes(&self, buf: &[u8]) -> bool {
        match self.access {
            Access::Direct { memory } => buf.as_ptr() as usize % memory == 0,
            Access::Buffered { .. } => true,
        }
    }
}

/// Does `act` with `length` bytes of well-aligned memory. It allocates: for strange callers only.
pub(super) fn bounced(
    length: usize,
    act: impl FnOnce(&mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut arena = Arena::new(length)?;
    let address = arena.address();
    match arena.slice_mut(address, length) {
        Some(aligned) => act(aligned),
        None => Err(io::ErrorKind::OutOfMemory.into()),
    }
}
