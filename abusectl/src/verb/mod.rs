// SPDX-License-Identifier: MIT

//! One file per verb: its arguments, and what it does.

pub mod completions;
pub mod get;
pub mod info;
pub mod list;
pub mod man;
pub mod poll;
pub mod put;
pub mod reconnect;
pub mod requeue;
pub mod reset;
pub mod server;
pub mod setup;
pub mod version;
