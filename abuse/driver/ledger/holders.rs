// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The workers of a device: who holds what, who lives, who is done with.

use super::{Ledger, Store};

/// A process that takes requests, as far as the ledger cares.
pub(crate) trait Process {
    /// Whether any thread of it may still be inside a system call.
    fn is_alive(&self) -> bool;
}

/// Which worker: a process, using an open file, under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The open file.
    pub(crate) file: u64,
    /// The owner token.
    pub(crate) token: u64,
    /// Tells processes apart; valid while the holder keeps its [`Process`].
    pub(crate) process: usize,
}

/// A worker that holds requests, or may.
pub(crate) struct Holder<Q> {
    pub(super) who: Who,
    pub(super) process: Option<Q>,
    /// Requests in its hands: Taking, Taken, and Finishing what was Taken.
    pub(super) held: u32,
    /// Whether its file is still open.
    pub(super) open: bool,
    /// Whether it holds a suspect, which its process must hold alone.
    pub(super) suspect: bool,
    /// Whether its process died while it held more than one request. They need not come back all
    /// at once: files are closed one by one.
    pub(super) crowded: bool,
}

impl<Q> Holder<Q> {
    /// An entry of the table that belongs to nobody.
    pub(crate) fn vacant() -> Self {
        let who = Who {
            file: 0,
            token: 0,
            process: 0,
        };
        Holder {
            who,
            process: None,
            held: 0,
            open: false,
            suspect: false,
            crowded: false,
        }
    }

    /// The worker this entry stands for.
    pub(crate) fn who(&self) -> &Who {
        &self.who
    }

    /// Its process, if the entry is in use.
    pub(crate) fn process(&self) -> Option<&Q> {
        self.process.as_ref()
    }

    pub(super) fn is_vacant(&self) -> bool {
        !self.open && self.held == 0
    }

    /// It holds one request less.
    #[inline(always)]
    pub(super) fn let_go(&mut self) {
        self.held = self.held.wrapping_sub(1);
        self.suspect = false;
        if self.is_vacant() {
            self.vacate();
        }
    }

    #[cold]
    fn vacate(&mut self) {
        self.process = None;
    }
}

impl<Q: Process> Holder<Q> {
    pub(super) fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }

    /// Whether it is dead and holds nothing: none of its threads can come back.
    fn is_history(&self) -> bool {
        self.held == 0 && !self.is_alive()
    }
}

impl<P, Q: Process> Ledger<P, Q> {
    /// The entry of a worker, if it has one.
    pub(crate) fn holder_find(&self, who: &Who) -> Option<u32> {
        let is = |holder: &Holder<Q>| holder.open && holder.who == *who;
        self.holders.iter().position(is).map(|index| index as u32)
    }

    /// Whether an entry found earlier is still this worker's.
    pub(crate) fn holder_is(&self, index: u32, who: &Who) -> bool {
        self.holders
            .get(index as usize)
            .is_some_and(|holder| holder.open && holder.who == *who)
    }

    /// Enters a worker. Its process comes back if the table is full. A worker that is dead and holds
    /// nothing makes room, also while others still have its file open.
    pub(crate) fn holder_add(&mut self, who: Who, process: Q) -> Result<u32, Q> {
        // Another thread of the worker may have been faster.
        if let Some(index) = self.holder_find(&who) {
            return Ok(index);
        }
        let vacant = self.holders.iter().position(Holder::is_vacant);
        let free = vacant.or_else(|| self.holders.iter().position(Holder::is_history));
        let Some(index) = free else {
            return Err(process);
        };
        if let Some(holder) = self.holders.get_mut(index) {
            *holder = Holder {
                process: Some(process),
                open: true,
                who,
                ..Holder::vacant()
            };
        }
        Ok(index as u32)
    }

    /// Entries there are.
    pub(crate) fn holders_len(&self) -> usize {
        self.holders.len()
    }

    /// Replaces the table by a longer one of vacant entries; the old one comes back to be freed.
    pub(crate) fn holders_grow(&mut self, mut longer: Store<Holder<Q>>) -> Store<Holder<Q>> {
        if longer.len() < self.holders.len() {
            return longer;
        }
        for (new, old) in longer.iter_mut().zip(self.holders.iter_mut()) {
            core::mem::swap(new, old);
        }
        core::mem::replace(&mut self.holders, longer)
    }

    /// Number of workers that live and whose file is open.
    pub(crate) fn workers(&self) -> u32 {
        let there = |holder: &&Holder<Q>| holder.open && holder.is_alive();
        self.holders.iter().filter(there).count() as u32
    }
}
