// SPDX-License-Identifier: MIT
//! What the supervisor wants of a device while it runs: one thing.

use abuse::Selection;
use nix::errno::Errno;

use crate::state::Answer;

/// Something that can offer a dead worker's requests again. The real one is
/// [`abuse::Device`]; the tests have one that only takes notes.
pub trait Device {
    /// Offers again what was taken under this token. Never waits.
    fn requeue(&self, token: u64) -> Answer;
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
}
