// SPDX-License-Identifier: MIT
//! Taking the disk away before its workers leave, if nobody uses it. A disk that is
//! there and that nobody serves has whoever looks at it wait: at a shutdown that is
//! everybody who looks at all disks.
//!
//! `abusectl reset` does it, in a process of its own: it has the workers flush what
//! was written first, and whoever waits for a disk cannot be stopped.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::policy::Time;
use crate::process::Process;
use crate::state::Exit;
use crate::sys;

/// A take-down under way.
#[derive(Debug)]
pub(crate) struct TakeDown {
    process: Process,
    words: ChildStderr,
    until: Time,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The disk is gone.
    Down,
    /// It is used, or cannot be flushed: in what words.
    Refused(String),
    /// It is not over, and was killed.
    Late,
}

/// What it is killed with has a moment to die.
const GRACE: Duration = Duration::from_secs(2);

impl TakeDown {
    /// Starts it; it has so long.
    pub(crate) fn start(command: &[OsString], now: Time, limit: Duration) -> io::Result<TakeDown> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove(abuse::notify::VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        match watch(&mut child) {
            Ok((process, words)) => Ok(TakeDown {
                process,
                words,
                until: now + limit + GRACE,
            }),
            Err(error) => {
                // Nobody would ever look after it.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// What to poll.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.process.watched()
    }

    /// When it is given up.
    pub(crate) fn deadline(&self) -> Time {
        self.until
    }

    /// What came of it, once that is known.
    pub(crate) fn outcome(&mut self, now: Time) -> Option<Taken> {
        match self.process.death() {
            Some(Exit::Code(0)) => Some(Taken::Down),
            Some(_) => {
                let mut words = String::new();
                // Little enough for the pipe to hold all of it. One that cannot be read says nothing.
                let _ = self.words.by_ref().take(4096).read_to_string(&mut words);
                Some(Taken::Refused(
                    words.lines().next().unwrap_or_default().into(),
                ))
            }
            None if now >= self.until => Some(Taken::Late),
            None => None,
        }
    }

    /// Ends it, if it has not ended.
    pub(crate) fn bury(self) {
        // One that is dead already does not mind.
        let _ = self.process.signal(Signal::SIGKILL);
        self.process.reap();
    }
}

fn watch(child: &mut Child) -> io::Result<(Process, ChildStderr)> {
    let words = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((Process::child(sys::pidfd_open(child.id())?), words))
}
