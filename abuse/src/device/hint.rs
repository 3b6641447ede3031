// SPDX-License-Identifier: MIT

//! The next step for each error of a call on a device.

use std::fmt::Display;

use nix::errno::Errno;

use crate::error::Error;

/// An error with its hint, if there is one.
pub(super) fn error(object: impl Display, operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(object, operation, errno);
    match hint(operation, errno) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The next step, if there is one.
pub(super) fn hint(operation: &str, errno: Errno) -> Option<&'static str> {
    Some(match (operation, errno) {
        ("open", Errno::ENOENT | Errno::ENXIO) => {
            "load the module (modprobe abuse), or see which devices there are (abusectl list)"
        }
        ("partscan", Errno::EACCES | Errno::EPERM) => "be root",
        ("partscan", Errno::EBUSY) => "unmount the partitions first",
        ("partscan", Errno::EINVAL) => "start a worker first: it has to say what is on the disk",
        ("partscan", Errno::ENOENT | Errno::ENXIO) => {
            "the device is not set up: set it up first (abusectl setup)"
        }
        (_, Errno::EACCES | Errno::EPERM) => {
            "be root, or in the group that owns the control node (disk)"
        }
        (_, Errno::EBADF) => "open the control node for writing",
        ("remove", Errno::ENODEV) => "see which devices there are (abusectl list)",
        (_, Errno::ENODEV) => "the device was removed; see which there are (abusectl list)",
        ("setup", Errno::EBUSY) => "it is set up already: reset it first, or reconnect to it",
        ("setup", Errno::EINVAL) => {
            "the size must be a multiple of the block size, block sizes powers of two from 512 to 64K"
        }
        ("add", Errno::EEXIST) => "choose another; abusectl list shows what there is",
        ("add", Errno::EBUSY) => "wait until it is gone, or choose another",
        ("add", Errno::ENOSPC) => {
            "remove one (abusectl remove), or load the module with a larger max_abuse"
        }
        ("remove", Errno::ESTALE) => "it was removed by somebody else; look again (abusectl list)",
        ("remove", Errno::EBUSY) => "unmount or close the disk, or force the removal",
        ("remove", Errno::EINPROGRESS) => {
            "the removal goes on by itself; whoever still has the disk open must close it"
        }
        ("resize", Errno::EBUSY) => {
            "unmount or close the disk and shorten its partitions first, or force it and lose what is behind the new end"
        }
        ("resize", Errno::EINVAL) => "the size must be a multiple of the block size, and not 0",
        ("reset", Errno::EBUSY) => "unmount or close the disk, or force the reset",
        ("reset", Errno::EINPROGRESS) => {
            "the reset goes on by itself; whoever still has the disk open must close it"
        }
        ("requeue" | "reconnect", Errno::EBUSY) => {
            "the writes' owner lives: end it first, or force it if its backend refuses old writers"
        }
        (_, Errno::ENXIO) => "the device is not set up: set it up first (abusectl setup)",
        ("put", Errno::ESTALE) => {
            "the request was completed by somebody else or offered again under another id"
        }
        ("put", Errno::ENOENT) => "no request with this id is taken",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_errno_means_another_step_in_another_call() {
        let setup = error("x", "setup", Errno::EBUSY);
        let reset = error("x", "reset", Errno::EBUSY);
        assert!(setup.hint().unwrap().contains("set up already"));
        assert!(reset.hint().unwrap().contains("unmount"));
        assert_eq!(error("x", "status", Errno::EIO).hint(), None);
    }
}
