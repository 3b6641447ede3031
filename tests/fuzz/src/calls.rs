// SPDX-License-Identifier: MIT

//! The calls, and which errno each may answer: `docs/uapi.md` as a table.
//!
//! An errno that is not in it is a finding. One that is in it must have been seen: in every run, in
//! a long one, or never, where it takes what no process can bring about (memory that is used up, a
//! module that is being unloaded).

use abuse::abi;
use nix::libc::{
    E2BIG, EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EFAULT, EFBIG, EINPROGRESS, EINTR, EINVAL, EIO,
    ELOOP, EMSGSIZE, ENODEV, ENOENT, ENOMEM, ENOMSG, ENOSPC, ENOTTY, ENXIO, EOPNOTSUPP, EPERM,
    ERANGE, ESPIPE, ESTALE,
};

/// What kind of call.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As it is printed.
    pub name: &'static str,
    /// Of the ioctl; 0: it is none.
    pub number: u32,
    /// Errnos that every run of some thousand calls sees. 0 is success.
    pub always: &'static [i32],
    /// ... that a long run sees.
    pub long: &'static [i32],
    /// ... that may be seen.
    pub may: &'static [i32],
}

const fn kind(
    name: &'static str,
    number: u32,
    always: &'static [i32],
    long: &'static [i32],
    may: &'static [i32],
) -> Kind {
    Kind {
        name,
        number,
        always,
        long,
        may,
    }
}

/// All of them. The constants below are places in this table.
pub const KINDS: [Kind; 20] = [
    kind(
        "status",
        abi::IOC_STATUS,
        &[0, EFAULT, EINVAL, E2BIG],
        &[],
        &[],
    ),
    kind(
        "setup",
        abi::IOC_SETUP,
        &[0, EBADF, EFAULT, EINVAL, EFBIG, EBUSY],
        &[E2BIG],
        &[ENOMEM, ENODEV, EINTR],
    ),
    kind(
        "exchange",
        abi::IOC_EXCHANGE,
        &[0, EBADF, EFAULT, EINVAL, E2BIG, ENXIO, EMSGSIZE],
        &[EINTR, ENOSPC],
        &[EAGAIN, ENOMEM],
    ),
    kind(
        "requeue",
        abi::IOC_REQUEUE,
        &[0, EBADF, EFAULT, EINVAL, ENXIO],
        &[E2BIG, EBUSY],
        &[],
    ),
    kind(
        "reconnect",
        abi::IOC_RECONNECT,
        &[0, EFAULT, EINVAL, ENXIO],
        &[EBADF, E2BIG, EBUSY],
        &[],
    ),
    kind(
        "reset2",
        abi::IOC_RESET,
        &[0, EFAULT, EINVAL, ENXIO],
        &[EBADF, E2BIG, EBUSY, EINPROGRESS],
        &[],
    ),
    kind(
        "get_status",
        abi::GET_STATUS,
        &[0, EINVAL, EFAULT],
        &[],
        &[],
    ),
    kind(
        "set_status",
        abi::SET_STATUS,
        &[0, EINVAL, EFAULT],
        &[EPERM, EFBIG, EBUSY],
        &[ENOMEM, ENODEV, EINTR],
    ),
    kind("set_poll", abi::SET_POLL, &[EINVAL], &[], &[]),
    kind("reset", abi::RESET, &[0], &[EPERM], &[]),
    kind(
        "get_bio",
        abi::GET_BIO,
        &[0, EINVAL, EFAULT, ENOMSG],
        &[EPERM],
        &[ENOMEM],
    ),
    kind(
        "put_bio",
        abi::PUT_BIO,
        &[0, EINVAL, EFAULT, ENOMSG],
        &[EPERM],
        &[ENOMEM],
    ),
    kind("unknown", 0, &[ENOTTY, EINVAL], &[], &[]),
    kind("open", 0, &[0, ENODEV], &[], &[EACCES, ENXIO, ENOENT]),
    kind("poll", 0, &[0], &[], &[EINTR, EBADF]),
    kind("epoll", 0, &[0], &[], &[EINTR, EBADF, EPERM]),
    kind(
        "resize",
        abi::IOC_RESIZE,
        &[0, EFAULT, EINVAL, ENXIO, EBUSY, EBADF],
        &[E2BIG, EFBIG, ENODEV],
        &[],
    ),
    kind(
        "add",
        abi::IOC_ADD,
        &[0, EBADF, EFAULT, EINVAL, EEXIST, ENOSPC],
        &[E2BIG, EBUSY],
        &[ENOMEM, ENODEV],
    ),
    kind(
        "remove",
        abi::IOC_REMOVE,
        &[0, EBADF, EFAULT, EINVAL, ENODEV, ESTALE],
        &[E2BIG, EBUSY, EINPROGRESS],
        &[],
    ),
    kind(
        "stray",
        0,
        &[EINVAL],
        &[],
        &[0, EBADF, ENODEV, ENXIO, ESPIPE, EFAULT, EACCES, EIO],
    ),
];

/// Places in [`KINDS`].
#[allow(missing_docs)] // Their names say it.
pub mod is {
    pub const STATUS: usize = 0;
    pub const SETUP: usize = 1;
    pub const EXCHANGE: usize = 2;
    pub const REQUEUE: usize = 3;
    pub const RECONNECT: usize = 4;
    pub const RESET2: usize = 5;
    pub const GET_STATUS: usize = 6;
    pub const SET_STATUS: usize = 7;
    pub const SET_POLL: usize = 8;
    pub const RESET: usize = 9;
    pub const GET_BIO: usize = 10;
    pub const PUT_BIO: usize = 11;
    pub const UNKNOWN: usize = 12;
    pub const OPEN: usize = 13;
    pub const POLL: usize = 14;
    pub const EPOLL: usize = 15;
    pub const RESIZE: usize = 16;
    pub const ADD: usize = 17;
    pub const REMOVE: usize = 18;
    pub const STRAY: usize = 19;
}

/// Statuses of entries of EXCHANGE: what every run sees, and what may be seen.
pub const ENTRIES: (&[i32], &[i32]) = (
    &[0, EINVAL, ESTALE, ENOENT, EBADF, EOPNOTSUPP, ERANGE],
    &[EFAULT, EAGAIN, ENOMEM, ELOOP],
);

impl Kind {
    /// Whether `docs/uapi.md` knows of this answer. A descriptor that another thread has closed
    /// meanwhile is bad, or something else that knows none of these calls; and any device may be
    /// removed at any time.
    pub fn knows(&self, errno: i32) -> bool {
        let known = [self.always, self.long, self.may];
        let any = [EBADF, ENOTTY, ENODEV];
        known.iter().any(|known| known.contains(&errno)) || any.contains(&errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_of_the_table() {
        assert_eq!(KINDS[is::EXCHANGE].number, abi::IOC_EXCHANGE);
        assert_eq!(KINDS[is::RESET2].number, abi::IOC_RESET);
        assert_eq!(KINDS[is::PUT_BIO].name, "put_bio");
        assert_eq!(KINDS[is::STRAY].name, "stray");
    }

    #[test]
    fn what_is_not_documented_is_not_known() {
        assert!(KINDS[is::STATUS].knows(E2BIG));
        assert!(!KINDS[is::STATUS].knows(EBUSY));
        assert!(!KINDS[is::RESET].knows(EINVAL));
    }
}
