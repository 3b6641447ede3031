// SPDX-License-Identifier: MIT
//! What the operator decided: how fast to respawn, when to give up, how long to
//! wait. Pure numbers, no clock.
//!
//! ```
//! use abuse_supervisor::policy::Policy;
//! use std::time::Duration;
//!
//! let policy = Policy { back_off_min: Duration::from_millis(100), ..Policy::default() };
//! // The third failure in a row waits four times as long as the first, give or take a quarter.
//! let pause = policy.back_off(3, 0);
//! assert!(pause >= Duration::from_millis(300) && pause <= Duration::from_millis(500));
//! ```

use std::collections::VecDeque;
use std::time::Duration;

/// A moment: the time since the supervisor started, by the monotonic clock.
pub type Time = Duration;

/// How workers are started again, given up and stopped.
///
/// # Invariants
///
/// `0 < back_off_min <= back_off_max` and `stable_after >= back_off_min`; the
/// command line establishes both. They bound the rate of spawns: two spawns of
/// one slot are at least `back_off_min` apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The pause after the first failure in a row.
    pub back_off_min: Duration,
    /// No pause is longer.
    pub back_off_max: Duration,
    /// A worker that was ready for so long was healthy: its successor starts at
    /// once, and the count of failures in a row begins anew.
    pub stable_after: Duration,
    /// When a slot is given up; `None`: never.
    pub give_up: Option<GiveUp>,
    /// How long a worker may take to finish what it has after SIGTERM.
    pub drain_timeout: Duration,
    /// How long a worker may take to die after SIGKILL before it counts as stuck
    /// in the kernel, and before a supervisor that ends does so without it.
    pub kill_patience: Duration,
    /// How long a worker may take to say that it is ready.
    pub start_timeout: Duration,
    /// A worker says WATCHDOG=1 at least this often; `None`: it need not.
    pub heartbeat: Option<Duration>,
    /// No request is held, or left lying, for longer; `None`: for ever.
    pub request_timeout: Option<Duration>,
    /// How long a worker that hangs has between SIGTERM and SIGKILL.
    pub fence_after: Duration,
    /// What becomes of I/O when every worker was given up or is stuck.
    pub verdict: Verdict,
}

/// What becomes of I/O that nobody will serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It waits for an operator.
    #[default]
    Hold,
    /// It waits for so long, and then fails.
    FailAfter(Duration),
}

/// A slot with more than `intensity` deaths within `period` is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveUp {
    /// Deaths that are still bearable.
    pub intensity: u32,
    /// Within this time.
    pub period: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            back_off_min: Duration::from_millis(50),
            back_off_max: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
            give_up: None,
            drain_timeout: Duration::from_secs(30),
            kill_patience: Duration::from_secs(10),
            start_timeout: Duration::from_secs(90),
            heartbeat: None,
            request_timeout: None,
            fence_after: Duration::from_secs(2),
            verdict: Verdict::Hold,
        }
    }
}

impl Policy {
    /// The pause before a spawn after so many `failures` in a row (1, 2, ...):
    /// doubled each time, a quarter less or more by `chance`, never outside the
    /// operator's limits.
    pub fn back_off(&self, failures: u32, chance: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let pause = self.back_off_min.saturating_mul(1 << doublings);
        let pause = pause.min(self.back_off_max);
        let half = pause / 2;
        // chance in 0..1024 of the half that lies round the pause.
        let jitter = half * (chance % 1025) as u32 / 1024;
        (pause - half / 2 + jitter).clamp(self.back_off_min, self.back_off_max)
    }
}

/// The pause before a refused requeue is tried again: 1 ms, doubled up to 1 s.
pub fn requeue_pause(tries: u32) -> Duration {
    Duration::from_millis(1 << tries.min(10)).min(Duration::from_secs(1))
}

/// The deaths of one slot, no more of them than matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    deaths: VecDeque<Time>,
}

impl Tally {
    /// Notes a death, and says whether that was one too many.
    pub fn note(&mut self, now: Time, limit: Option<GiveUp>) -> bool {
        let Some(limit) = limit else {
            return false;
        };
        while self
            .deaths
            .front()
            .is_some_and(|first| now.saturating_sub(*first) > limit.period)
        {
            self.deaths.pop_front();
        }
        // At most one more than the intensity is kept: the bound of this memory.
        if self.deaths.len() as u64 > u64::from(limit.intensity) {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
        self.deaths.len() as u64 > u64::from(limit.intensity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_and_stay_within_the_limits() {
        let policy = Policy {
            back_off_min: 100 * MS,
            back_off_max: 2000 * MS,
            ..Policy::default()
        };
        let mut last = Duration::ZERO;
        for failures in 1..80 {
            for chance in [0, 1, 512, 1024, u64::MAX] {
                let pause = policy.back_off(failures, chance);
                assert!(pause >= 100 * MS && pause <= 2000 * MS);
            }
            let middle = policy.back_off(failures, 512);
            assert!(middle >= last);
            last = middle;
        }
        assert!(last >= 1500 * MS);
    }

    #[test]
    fn the_tally_forgets_what_is_older_than_the_period_and_stays_small() {
        let limit = Some(GiveUp {
            intensity: 3,
            period: 100 * MS,
        });
        let mut tally = Tally::default();
        for n in 0..1000 {
            assert!(!tally.note(n * 50 * MS, limit), "2 in 100 ms are bearable");
        }
        let mut tally = Tally::default();
        let verdicts: Vec<bool> = (0..10).map(|n| tally.note(n * MS, limit)).collect();
        assert_eq!(verdicts[..4], [false, false, false, true]);
        assert!(tally.deaths.len() <= 4);
    }

    #[test]
    fn without_a_limit_nothing_is_ever_given_up_or_kept() {
        let mut tally = Tally::default();
        for n in 0..100 {
            assert!(!tally.note(n * MS, None));
        }
        assert!(tally.deaths.is_empty());
    }
}
