// SPDX-License-Identifier: MIT
//! Signals as something to poll: the handlers only write a byte.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use abuse::signals::Held;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// TERM, INT: end, the second time at once.
    Terminate,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: the status, to the log.
    Status,
    /// USR2: replace every worker.
    Restart,
}

/// The signals this supervisor listens to.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Installs the handlers.
    pub fn install() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        // SIGCHLD only so that it is not ignored: a parent may have left it so,
        // and then the kernel would reap before we have looked.
        let numbers = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD];
        let held = Held::all();
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, numbers)?;
        drop(held);
        Ok(Signals { delivery })
    }

    /// What has come since the last call.
    pub fn wishes(&mut self) -> Vec<Wish> {
        self.delivery
            .pending()
            .filter_map(|number| match number {
                SIGTERM | SIGINT => Some(Wish::Terminate),
                SIGHUP => Some(Wish::Reload),
                SIGUSR1 => Some(Wish::Status),
                SIGUSR2 => Some(Wish::Restart),
                _ => None,
            })
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}
