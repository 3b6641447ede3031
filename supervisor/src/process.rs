// SPDX-License-Identifier: MIT
//! A worker's process, as far as one can touch it: watch, signal, reap. All
//! through its pidfd, so that it can never be another process by accident.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::wait::{waitid, Id, WaitPidFlag, WaitStatus};

use crate::state::Exit;
use crate::sys;

/// A process in a slot.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
    /// Ours to reap; one adopted from an earlier supervisor is not.
    child: bool,
    /// Its death has been seen.
    dead: bool,
}

impl Process {
    /// One that this supervisor started.
    pub(crate) fn child(pidfd: OwnedFd) -> Process {
        Process {
            pidfd,
            child: true,
            dead: false,
        }
    }

    /// One that an earlier supervisor started.
    pub(crate) fn adopted(pidfd: OwnedFd) -> Process {
        Process {
            pidfd,
            child: false,
            dead: false,
        }
    }

    /// What to poll, until its death has been seen.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        (!self.dead).then(|| self.pidfd.as_fd())
    }

    /// How it ended, the first time it is asked after that. It stays a zombie:
    /// its pid means nobody else until it is reaped.
    pub(crate) fn death(&mut self) -> Option<Exit> {
        let mut fds = [PollFd::new(self.watched()?, PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
            return None;
        }
        self.dead = true;
        Some(self.wait(WaitPidFlag::WNOWAIT))
    }

    /// Takes its exit status for good.
    pub(crate) fn reap(self) {
        self.wait(WaitPidFlag::empty());
    }

    /// Sends a signal. That it has died meanwhile is no error: its pidfd tells.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match sys::pidfd_signal(self.pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
            done => done,
        }
    }

    fn wait(&self, flags: WaitPidFlag) -> Exit {
        if !self.child {
            return Exit::Unknown;
        }
        let flags = flags | WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
            _ => Exit::Unknown,
        }
    }
}
