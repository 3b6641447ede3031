// SPDX-License-Identifier: MIT

//! Standing by: a worker that is ready, and takes no request before it is promoted.
//!
//! A supervisor starts one with the number of an inherited descriptor in its environment,
//! `ABUSE_STANDBY=5`, and writes one byte into that pipe when it is needed: so that failover waits
//! neither for fork and exec nor for a page. [`Worker::run`](crate::Worker::run) looks at the
//! environment by itself; a worker of another kind does what [`Standby::wait`] does, after it said
//! READY=1 and before its first EXCHANGE.
//!
//! The pipe is one with a name, and this process holds both ends: that a supervisor dies is no
//! promotion, and its successor can still promote.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;

use crate::error::{Error, Result};

/// The environment variable that holds the descriptor's number.
pub const VARIABLE: &str = "ABUSE_STANDBY";

/// Waits to be promoted.
#[derive(Debug)]
pub struct Standby {
    pipe: File,
}

impl Standby {
    /// As the environment says; `None`: this worker serves at once.
    pub fn from_environment() -> Result<Option<Standby>> {
        let Some(text) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let refused = |why: String| {
            Error::refused(VARIABLE, "standing by", why).with_hint(
                "it is for abuse-supervisor to set, with the number of a pipe's descriptor",
            )
        };
        let number: Option<u32> = text.to_str().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| refused(format!("{text:?} is not a number")))?;
        // By its name, so that this is a descriptor of its own that nobody else closes.
        let path = format!("/proc/self/fd/{number}");
        let is_pipe = std::fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo());
        if !is_pipe {
            return Err(refused(format!("descriptor {number} is no pipe")));
        }
        let pipe = OpenOptions::new().read(true).write(true).open(&path);
        let pipe = pipe.map_err(|error| Error::new(&path, "open", error))?;
        Ok(Some(Standby { pipe }))
    }

    /// Waits for the byte. `false`: a signal came, and `over` says that it is of no use any more.
    pub fn wait(&self, over: impl Fn() -> bool) -> io::Result<bool> {
        let mut byte = [0];
        loop {
            if over() {
                return Ok(false);
            }
            match (&self.pipe).read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                other => return other.map(|_| true),
            }
        }
    }

    /// On this pipe, for tests.
    #[cfg(test)]
    pub(crate) fn on(pipe: File) -> Standby {
        Standby { pipe }
    }
}
