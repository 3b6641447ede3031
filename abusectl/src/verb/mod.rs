// SPDX-License-Identifier: MIT

//! One file per verb: its arguments, and what it does.

pub mod add;
pub mod completions;
pub mod drain;
pub mod flush;
pub mod get;
pub mod info;
pub mod list;
pub mod man;
pub mod partscan;
pub mod poll;
pub mod put;
pub mod reconnect;
pub mod remove;
pub mod requeue;
pub mod reset;
pub mod resize;
pub mod server;
pub mod setup;
pub mod top;
pub mod version;
