// SPDX-License-Identifier: MIT

//! The few error numbers that mean something of their own here.

/// Not permitted.
pub const EPERM: i32 = 1;
/// No such node; of a request: never given out, or not taken.
pub const ENOENT: i32 = 2;
/// A signal came first.
pub const EINTR: i32 = 4;
/// The device is not set up.
pub const ENXIO: i32 = 6;
/// There is one already.
pub const EEXIST: i32 = 17;
/// Another one by now.
pub const ESTALE: i32 = 116;
/// Permission denied.
pub const EACCES: i32 = 13;
/// In use.
pub const EBUSY: i32 = 16;
/// The device is gone.
pub const ENODEV: i32 = 19;
/// The driver does not like a value.
pub const EINVAL: i32 = 22;
/// Not in time.
pub const ETIMEDOUT: i32 = 110;
/// Begun, and not finished in time.
pub const EINPROGRESS: i32 = 115;
