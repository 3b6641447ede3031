// SPDX-License-Identifier: GPL-2.0-only

//! Every `unsafe` block of the driver lives below here; no policy does.

pub(crate) mod chrdev;
pub(crate) mod devices;
pub(crate) mod disk;
pub(crate) mod ffi;
pub(crate) mod request;
pub(crate) mod task;
pub(crate) mod trace;
pub(crate) mod user;
pub(crate) mod work;
