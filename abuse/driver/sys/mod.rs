// SPDX-License-Identifier: GPL-2.0-only

//! Every `unsafe` block of the driver lives below here; no policy does.

pub(crate) mod attributes;
pub(crate) mod backing;
pub(crate) mod chrdev;
pub(crate) mod devices;
pub(crate) mod disk;
pub(crate) mod few;
pub(crate) mod ffi;
pub(crate) mod flight;
pub(crate) mod request;
pub(crate) mod sleepers;
pub(crate) mod task;
pub(crate) mod trace;
pub(crate) mod user;
pub(crate) mod work;

/// For modinfo and /sys/module/abuse/version.
// The section holds strings that end with NUL, and this is one.
#[used]
#[link_section = ".modinfo"]
static MODINFO_VERSION: [u8; VERSION.len()] = {
    let mut bytes = [0; VERSION.len()];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = VERSION.as_bytes()[index];
        index += 1;
    }
    bytes
};

const VERSION: &str = concat!("version=", crate::version!(), "\0");
