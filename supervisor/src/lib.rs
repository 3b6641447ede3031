// SPDX-License-Identifier: MIT
//! Keeps the workers of an ABUSE device alive.
//!
//! ```text
//! abuse-supervisor run --device /dev/abctl0 --setup size=1G --workers 2 -- \
//!     abusectl server {ctl} --backend file:/srv/a.img
//! ```
//!
//! The kernel keeps every request until somebody completes it, so a dead worker
//! costs its disk nothing but a pause. The supervisor makes the pause short, and
//! makes sure that two generations of writers never meet: it sees the death,
//! has the device offer again what the dead one had taken, and only then starts
//! the next.
//!
//! Policy is pure and has no process in it: [`state`], [`machine`], [`group`],
//! [`roles`], [`policy`], [`report`]. The rest does what they say.

pub mod cli;
pub mod client;
pub mod config;
pub mod control;
mod death;
pub mod device;
pub mod exit;
pub mod group;
pub mod harden;
pub mod logging;
pub mod machine;
pub mod manual;
pub mod metrics;
mod moves;
pub mod notify;
pub mod policy;
pub mod prepare;
mod process;
pub mod report;
pub mod roles;
mod rolling;
pub mod signals;
pub mod slots;
pub mod source;
pub mod spawn;
pub mod state;
pub mod status;
pub mod supervise;
mod sys;
mod take_down;
pub mod terms;
pub mod unit;
