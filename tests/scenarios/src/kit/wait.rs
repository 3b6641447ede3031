// SPDX-License-Identifier: MIT

//! Waiting, always for something and never for ever.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::detectors::patience;

/// Long enough for anything that takes a moment, also on an emulated processor that gets a tenth of its time
/// because others use the machine. Only what never comes takes it all.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, on a debug kernel for longer than `limit`. `what` completes the sentence "waited 10 s for ... in vain".
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, limit, || Ok(condition().then_some(())))
}

/// Waits until `look` finds something, or fails.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_closely(what, limit, GLANCE, look)
}

/// The same, looking as often as that.
pub fn wait_closely<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let limit = patience(limit);
    loop {
        if let Some(found) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            bail!("waited {} s for {what} in vain", limit.as_secs_f32());
        }
        thread::sleep(pause);
    }
}

/// Something that goes on in a thread: I/O that waits for a worker, say.
///
/// When it is dropped the thread is left alone: its I/O ends at the latest with the device's reset.
#[derive(Debug)]
pub struct Pending<T> {
    what: String,
    result: Receiver<T>,
    early: Option<T>,
}

impl<T: Send + 'static> Pending<T> {
    /// Starts it. `what` names it in messages.
    pub fn start(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (sender, result) = mpsc::channel();
        thread::spawn(move || {
            // Nobody listens any more: the scenario has failed.
            let _ = sender.send(work());
        });
        Pending {
            what: what.to_string(),
            result,
            early: None,
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        if self.early.is_none() {
            match self.result.try_recv() {
                Ok(result) => self.early = Some(result),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {}
            }
        }
        true
    }

    /// What came of it, if it ends in time.
    pub fn finish(self, limit: Duration) -> Result<T> {
        let limit = patience(limit);
        if let Some(result) = self.early {
            return Ok(result);
        }
        match self.result.recv_timeout(limit) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} did not end within {} s", self.what, limit.as_secs_f32())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("{} panicked", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_condition_or_says_what_for() {
        let mut looks = 0;
        wait_until("the third look", PATIENCE, || {
            looks += 1;
            looks == 3
        })
        .unwrap();
        let error = wait_until("the moon", Duration::ZERO, || false).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }

    #[test]
    fn what_goes_on_in_a_thread_is_heard_of_or_missed() {
        let mut quick = Pending::start("a sum", || 1 + 1);
        wait_until("the sum", PATIENCE, || quick.is_over()).unwrap();
        assert_eq!(quick.finish(Duration::ZERO).unwrap(), 2);
        let slow = Pending::start("a nap", || thread::sleep(Duration::from_secs(2)));
        let error = slow.finish(Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().starts_with("a nap did not end"));
    }
}
