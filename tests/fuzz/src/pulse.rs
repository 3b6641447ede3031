// SPDX-License-Identifier: MIT

//! Who shows no sign of life for too long.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::board::{Board, BEATS};
use crate::calls::KINDS;
use crate::director::hangs;

/// Signs of life, as they were last.
pub(crate) struct Pulse {
    /// By a clock that goes on only while we look: how long the machine itself stood still says
    /// nothing about a call.
    seen: Vec<(u64, Duration)>,
    clock: Duration,
    looked: Instant,
}

impl Pulse {
    /// What at most passes between two looks.
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Pulse {
        Pulse {
            seen: vec![(0, Duration::ZERO); BEATS],
            clock: Duration::ZERO,
            looked: Instant::now(),
        }
    }

    /// Somebody who does the same thing for too long.
    pub(crate) fn missing(&mut self, board: &Board) -> Option<String> {
        self.clock += self.looked.elapsed().min(Pulse::LONGEST);
        self.looked = Instant::now();
        let now = self.clock;
        for (beat, (count, since)) in board.beats.iter().zip(&mut self.seen) {
            let (kind, process) = (beat.kind.load(Relaxed), beat.process.load(Relaxed));
            // A new process under an old place begins anew.
            let current = beat.count.load(Relaxed) ^ (u64::from(process) << 40);
            if kind == 0 || current != *count {
                (*count, *since) = (current, now);
            } else if now - *since > hangs() {
                let name = KINDS.get(kind as usize - 1).map_or("I/O", |kind| kind.name);
                let seconds = hangs().as_secs();
                return Some(format!(
                    "process {process} has been in {name} for {seconds} s"
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_the_same_for_too_long_hangs() {
        let (board, _file) = Board::new().unwrap();
        let mut pulse = Pulse::new();
        board.beats[3].kind.store(1, Relaxed);
        board.beats[3].count.store(5, Relaxed);
        assert_eq!(pulse.missing(board), None);
        pulse.clock += 2 * hangs();
        let what = pulse.missing(board).unwrap();
        assert!(what.contains("in status for"), "{what}");
        board.beats[3].count.store(6, Relaxed);
        assert_eq!(pulse.missing(board), None);
    }
}
