// SPDX-License-Identifier: MIT

//! Hostile user space: what any process may do to the driver, done by many at once, from a seed.
//!
//! | | |
//! |---|---|
//! | [`calls`] | the calls, and every errno that `docs/uapi.md` says they answer |
//! | [`player`] | a hostile process: a grammar of calls, and memory that is taken away meanwhile |
//! | [`load`] | a process that uses the disks |
//! | [`director`] | starts, kills and judges them, and resets devices so that nothing waits for ever |
//! | [`after`] | what must be true when they are gone |
//! | [`board`] | what they share |
//! | [`leaks`] | `abuse-leaks`: looks at every byte that comes out |
//! | [`races`] | `abuse-races`: each step of a device's life against all that goes on meanwhile |
//!
//! `make fuzz DURATION=… SEED=…` runs it for long, a scenario for ten thousand calls; `make races COUNT=… FROM=…`
//! the races.

pub mod after;
pub mod board;
pub mod calls;
pub mod director;
pub mod files;
mod janitor;
pub mod leaks;
pub mod load;
pub mod memory;
pub mod player;
mod pulse;
pub mod races;
pub mod rng;
pub mod sys;
