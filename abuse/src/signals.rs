// SPDX-License-Identifier: MIT

//! Installing signal handlers without losing the signal that comes meanwhile.
//!
//! Libraries that share a signal among several users set their handler first and note afterwards what it is
//! to do (signal-hook does). A SIGTERM between the two is neither handled nor deadly: it is gone, and
//! whoever sent it waits. Held back, it comes when everything is in its place.

use nix::sys::signal::{SigSet, SigmaskHow};

/// Signals are held back in this thread, and for good in those that it starts meanwhile; until this goes.
///
/// A signal for the process goes to any thread that lets it through, so it helps only while all do this.
#[derive(Debug)]
#[must_use = "they are let through again at once"]
pub struct Held {
    before: SigSet,
}

impl Held {
    /// Holds all signals back that can be.
    pub fn all() -> nix::Result<Held> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Held { before })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What was in force once can be so again.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{raise, Signal};

    use super::*;

    #[test]
    fn a_signal_waits_and_a_thread_started_meanwhile_never_gets_one() {
        let has = |signal| SigSet::thread_get_mask().unwrap().contains(signal);
        let held = Held::all().unwrap();
        // It would end this process.
        raise(Signal::SIGUSR1).unwrap();
        let thread = std::thread::spawn(move || has(Signal::SIGTERM));
        assert!(thread.join().unwrap());
        // It is taken away before it can come.
        let mut one = SigSet::empty();
        one.add(Signal::SIGUSR1);
        assert_eq!(one.wait().unwrap(), Signal::SIGUSR1);
        drop(held);
        assert!(!has(Signal::SIGTERM));
    }
}
