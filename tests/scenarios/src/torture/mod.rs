// SPDX-License-Identifier: MIT

//! Everything that can happen to workers, at random, while every read is checked.
//!
//! `abuse-scenarios torture --seed S` plays rounds. Each takes a disk of a random shape, with workers
//! of a random kind, and lets random clients work on it while trouble comes, at random: [`Round::draw`]
//! says of what kind, and is a function of seed and round alone. So are the clients' operations and the
//! schedule of troubles, so that a round which failed can be played again: the same things happen,
//! though never at quite the same moments.
//!
//! In most rounds the clients are jobs of ours, which write down what they did and saw for
//! [`abuse_register`] to judge; in the others fio verifies.
//!
//! | | |
//! |---|---|
//! | [`round`] | what a round is: shape, clients, troubles |
//! | [`clients`] | jobs that write, read and write it down |
//! | `crew` | the workers, with or without a supervisor |
//! | `trouble` | what happens to them |
//! | [`tally`] | what is counted |
//! | [`hog`] | a program that takes memory or processors away |

pub mod clients;
mod crew;
pub mod hog;
mod play;
pub mod random;
pub mod round;
pub mod tally;
mod trouble;
pub mod verb;

pub use play::{play, Limit};
pub use round::Round;
pub use tally::Tally;
