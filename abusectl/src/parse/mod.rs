// SPDX-License-Identifier: MIT

//! What operators type, turned into values: pure functions from text, without a device.
//!
//! Every parser answers `Result<T, String>`, where the string is half a sentence that fits behind
//! the argument it is about: clap prints it behind `invalid value '1Q' for 'SIZE': `, and
//! [`setup`] behind the key.

pub mod backend;
pub mod dev;
pub mod setup;
pub mod words;

pub use abuse::setup_keys::{keys, nearest, size};
