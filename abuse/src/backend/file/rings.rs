// SPDX-License-Identifier: MIT

//! The rings of a file, one for each thread that serves.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fence::Fence;
use crate::backend::Transfer;
use crate::sys::Ring;

/// Rings, and the locks that others know them by, where the file is written. The locks go last.
pub(super) struct Rings {
    /// Those that nobody uses at the moment.
    idle: Mutex<Vec<Ring>>,
    _fence: Option<Fence>,
}

impl Rings {
    pub(super) fn new(fence: Option<Fence>) -> Rings {
        Rings {
            idle: Mutex::default(),
            _fence: fence,
        }
    }

    /// Makes a ring for the calling thread, whose transfers go to and from this memory. Without one
    /// they are done one by one.
    pub(super) fn add(&self, file: &File, memory: &mut [u8], path: &Path) {
        let mut ring = match Ring::new(file) {
            Ok(ring) => ring,
            Err(error) => {
                log::warn!(
                    "{}: no io_uring ({error}): reads and writes go one by one",
                    path.display()
                );
                return;
            }
        };
        if let Err(error) = ring.register(memory) {
            log::debug!("{}: memory is not registered: {error}", path.display());
        }
        let mut idle = self.idle();
        // What another thread had at this place is there no more.
        idle.retain(|other| !other.knows(memory));
        idle.push(ring);
    }

    /// Does what it can; the rest has no `count`.
    pub(super) fn run(&self, all: &mut [Transfer<'_>]) {
        let Some(bytes) = all.first().map(Transfer::bytes) else {
            return;
        };
        let mut idle = self.idle();
        let Some(at) = idle.iter().position(|ring| ring.knows(bytes)) else {
            return;
        };
        let mut ring = idle.swap_remove(at);
        drop(idle);
        match ring.run(all) {
            Ok(()) => self.idle().push(ring),
            Err(error) => log::warn!("a ring is given up: {error}"),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Ring>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
