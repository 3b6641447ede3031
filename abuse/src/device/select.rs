// SPDX-License-Identifier: MIT

//! Which taken requests are offered again, and what came of it.

use std::time::Duration;

use super::nanoseconds;
use crate::abi;

/// Which taken requests to offer again. Conditions add up: all must hold.
///
/// ```
/// use std::time::Duration;
/// use abuse::Selection;
///
/// let stuck = Selection::owner(0x5eed).and_older_than(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Selection {
    raw: abi::Requeue,
}

impl Selection {
    fn new(flags: u32) -> Selection {
        Selection {
            raw: abi::Requeue {
                flags,
                ..Default::default()
            },
        }
    }

    /// What was taken under this owner token.
    pub fn owner(token: u64) -> Selection {
        Selection::new(0).and_owner(token)
    }

    /// What was taken by this process.
    pub fn pid(pid: u32) -> Selection {
        Selection::new(0).and_pid(pid)
    }

    /// This request.
    pub fn id(id: u64) -> Selection {
        Selection::new(0).and_id(id)
    }

    /// What has been held for longer than this.
    pub fn older_than(age: Duration) -> Selection {
        Selection::new(0).and_older_than(age)
    }

    /// Everything that is taken.
    pub fn all() -> Selection {
        Selection::new(abi::RQ_ALL)
    }

    /// ... and was taken under this owner token.
    pub fn and_owner(mut self, token: u64) -> Selection {
        self.raw.flags |= abi::RQ_OWNER;
        self.raw.owner = token;
        self
    }

    /// ... and was taken by this process.
    pub fn and_pid(mut self, pid: u32) -> Selection {
        self.raw.flags |= abi::RQ_PID;
        self.raw.pid = pid;
        self
    }

    /// ... and is this request.
    pub fn and_id(mut self, id: u64) -> Selection {
        self.raw.flags |= abi::RQ_ID;
        self.raw.id = id;
        self
    }

    /// ... and has been held for longer than this.
    pub fn and_older_than(mut self, age: Duration) -> Selection {
        self.raw.flags |= abi::RQ_OLDER;
        self.raw.older_than_ns = nanoseconds(age);
        self
    }

    /// Writes of a living owner too. Only for a backend that rejects the old writer by itself:
    /// otherwise a process that was merely slow writes over what its successor wrote.
    pub fn force(mut self) -> Selection {
        self.raw.flags |= abi::RQ_FORCE;
        self
    }

    pub(super) fn to_abi(&self) -> abi::Requeue {
        self.raw
    }
}

/// What [`Device::requeue`](super::Device::requeue) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requeued {
    /// Requests that were offered again.
    pub requeued: u32,
    /// Writes that were left to their living owner.
    pub refused: u32,
}

/// How to reconnect. The default changes nothing but the epoch; what is `None` stays as it is. The
/// rest is as in [`Setup`](super::Setup).
///
/// ```
/// use abuse::Reconnect;
///
/// // No lease any more, and a request that killed five workers fails.
/// let calmer = Reconnect { lease: Some(None), max_attempts: Some(5), ..Reconnect::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconnect {
    /// Writes of living owners too; see [`Selection::force`].
    pub force: bool,
    /// Make the disk read-only (`true`) or writable (`false`).
    pub read_only: Option<bool>,
    /// Whether closing a file offers again what was taken through it.
    pub requeue_on_close: Option<bool>,
    /// Whether the backend rejects old writers by itself. What is offered again by this very call
    /// follows the new answer.
    pub fenced_backend: Option<bool>,
    /// Deaths of owners after which a request fails; 0: no limit.
    pub max_attempts: Option<u32>,
    /// After which time to re-offer what was taken; `Some(None)`: not at all.
    pub lease: Option<Option<Duration>>,
    /// After which time to fail what nobody takes; `Some(None)`: never.
    pub no_server: Option<Option<Duration>>,
}

impl Reconnect {
    pub(super) fn to_abi(self) -> abi::Reconnect {
        let mut raw = abi::Reconnect::default();
        if self.force {
            raw.flags |= abi::RC_FORCE;
        }
        match self.read_only {
            Some(true) => raw.flags |= abi::RC_READ_ONLY,
            Some(false) => raw.flags |= abi::RC_READ_WRITE,
            None => {}
        }
        for (policy, wish) in [
            (
                abi::P_KEEP_ON_CLOSE,
                self.requeue_on_close.map(|requeue| !requeue),
            ),
            (abi::P_FENCED_BACKEND, self.fenced_backend),
        ] {
            if let Some(on) = wish {
                raw.policy_mask |= policy;
                raw.policies |= if on { policy } else { 0 };
            }
        }
        if let Some(attempts) = self.max_attempts {
            raw.flags |= abi::RC_MAX_ATTEMPTS;
            raw.max_attempts = attempts;
        }
        let time = |limit: Option<Duration>| limit.map_or(0, nanoseconds);
        if let Some(lease) = self.lease {
            raw.flags |= abi::RC_LEASE;
            raw.lease_ns = time(lease);
        }
        if let Some(no_server) = self.no_server {
            raw.flags |= abi::RC_NO_SERVER;
            raw.no_server_ns = time(no_server);
        }
        raw
    }
}

/// What [`Device::reconnect`](super::Device::reconnect) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconnected {
    /// Epoch before.
    pub old_epoch: u32,
    /// Epoch now.
    pub new_epoch: u32,
    /// Requests that were offered again.
    pub requeued: u32,
    /// Writes that were left to their living owners.
    pub refused: u32,
}

/// What [`Device::reset`](super::Device::reset) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetOutcome {
    /// Requests that ended with an I/O error.
    pub failed: u32,
    /// Requests still in the middle of a copy; they end by themselves.
    pub draining: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_add_up() {
        let raw = Selection::pid(7)
            .and_id(9)
            .and_older_than(Duration::from_millis(1))
            .force()
            .to_abi();
        assert_eq!(
            raw.flags,
            abi::RQ_PID | abi::RQ_ID | abi::RQ_OLDER | abi::RQ_FORCE
        );
        assert_eq!((raw.pid, raw.id, raw.older_than_ns), (7, 9, 1_000_000));
        assert_eq!(Selection::all().to_abi().flags, abi::RQ_ALL);
    }

    #[test]
    fn reconnecting_leaves_the_access_alone_unless_told() {
        assert_eq!(Reconnect::default().to_abi().flags, 0);
        let how = Reconnect {
            force: true,
            read_only: Some(false),
            ..Reconnect::default()
        };
        assert_eq!(how.to_abi().flags, abi::RC_FORCE | abi::RC_READ_WRITE);
    }

    #[test]
    fn reconnecting_names_the_policies_it_changes_and_only_those() {
        assert_eq!(Reconnect::default().to_abi(), abi::Reconnect::default());
        let all = Reconnect {
            requeue_on_close: Some(true),
            fenced_backend: Some(true),
            max_attempts: Some(3),
            lease: Some(Some(Duration::from_nanos(5))),
            no_server: Some(None),
            ..Reconnect::default()
        };
        let expected = abi::Reconnect {
            flags: abi::RC_MAX_ATTEMPTS | abi::RC_LEASE | abi::RC_NO_SERVER,
            policies: abi::P_FENCED_BACKEND,
            policy_mask: abi::P_ALL,
            max_attempts: 3,
            lease_ns: 5,
            ..Default::default()
        };
        assert_eq!(all.to_abi(), expected);
        let kept = Reconnect {
            requeue_on_close: Some(false),
            ..Reconnect::default()
        };
        assert_eq!(kept.to_abi().policies, abi::P_KEEP_ON_CLOSE);
    }
}
