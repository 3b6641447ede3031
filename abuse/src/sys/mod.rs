// SPDX-License-Identifier: MIT

//! The crate's only unsafe code: ioctls, mappings, and the calls nix does not wrap.
//!
//! Everything here is a safe function over plain values and says nothing about when to call it.
//! Policy stands above; no `unsafe` does.

pub(crate) mod arena;
#[cfg(test)]
pub(crate) mod counting;
pub(crate) mod desk;
pub(crate) mod file;
pub(crate) mod ioctl;
pub(crate) mod ring;
pub(crate) mod shared;
pub(crate) mod thread;

pub(crate) use arena::Arena;
pub(crate) use desk::{Desk, Seat};
pub(crate) use ring::Ring;
pub(crate) use shared::SharedMemory;
