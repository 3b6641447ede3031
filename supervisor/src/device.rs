// SPDX-License-Identifier: MIT
//! What the supervisor wants of a device while it runs.

use std::time::Duration;

use abuse::{Reconnect, Selection};
use nix::errno::Errno;

use crate::state::Answer;

/// Something whose dead workers' requests can be offered again. The real one is
/// [`abuse::Device`]; the tests have one that only takes notes.
///
/// No call waits for a worker.
pub trait Device {
    /// Offers again what was taken under this token.
    fn requeue(&self, token: u64) -> Answer;

    /// How it stands, if it can be asked.
    fn look(&self) -> Option<Look>;

    /// Whether a request has been held under this token for longer than that. Reads
    /// that have are offered again, as if somebody had asked for it.
    fn holds_longer(&self, token: u64, limit: Duration) -> bool;

    /// Has requests fail that nobody claims for so long; `None`: they wait.
    fn fail_unclaimed(&self, after: Option<Duration>) -> Result<(), Refusal>;

    /// Ends everything pending with an error, and the disk with it.
    fn reset(&self) -> Result<(), String>;
}

/// What a device shows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// For how long the oldest request has been held.
    pub oldest_taken: Option<Duration>,
    /// For how long the oldest request has waited to be taken.
    pub oldest_queued: Option<Duration>,
    /// Requests that are held.
    pub taken: u32,
    /// Requests that wait to be taken.
    pub queued: u32,
    /// Set-ups and reconnects so far.
    pub epoch: u32,
    /// Requests that ended with an error.
    pub errors: u32,
    /// After how long without a server requests fail.
    pub fail_unclaimed: Option<Duration>,
}

/// Why a change of the terms was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A worker lives that holds writes.
    WriterLives,
    /// Another reason.
    Other(String),
}

impl Device for abuse::Device {
    fn requeue(&self, token: u64) -> Answer {
        match abuse::Device::requeue(self, &Selection::owner(token)) {
            Ok(all) if all.refused == 0 => Answer::Done {
                requeued: all.requeued,
            },
            Ok(some) => Answer::Busy {
                requeued: some.requeued,
            },
            Err(error) => match error.errno().map(Errno::from_raw) {
                Some(Errno::EBUSY) => Answer::Busy { requeued: 0 },
                Some(Errno::ENXIO) => Answer::NotSetUp,
                Some(Errno::ENODEV) => Answer::Gone,
                _ => Answer::Failed(error.to_string()),
            },
        }
    }

    fn look(&self) -> Option<Look> {
        let status = self.status().ok()?;
        Some(Look {
            oldest_taken: status.oldest_taken,
            oldest_queued: status.oldest_queued,
            taken: status.taken,
            queued: status.queued,
            epoch: status.epoch,
            errors: status.errors,
            fail_unclaimed: status.setup.and_then(|setup| setup.no_server),
        })
    }

    fn holds_longer(&self, token: u64, limit: Duration) -> bool {
        let which = Selection::owner(token).and_older_than(limit);
        match abuse::Device::requeue(self, &which) {
            Ok(found) => found.requeued + found.refused > 0,
            Err(error) => error.errno() == Some(Errno::EBUSY as i32),
        }
    }

    fn fail_unclaimed(&self, after: Option<Duration>) -> Result<(), Refusal> {
        let how = Reconnect {
            no_server: Some(after),
            ..Reconnect::default()
        };
        match self.reconnect(&how) {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Some(Errno::EBUSY as i32) => Err(Refusal::WriterLives),
            Err(error) => Err(Refusal::Other(error.to_string())),
        }
    }

    fn reset(&self) -> Result<(), String> {
        let done = abuse::Device::reset(self, true, None);
        done.map(drop).map_err(|error| error.to_string())
    }
}
