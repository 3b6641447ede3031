// SPDX-License-Identifier: MIT

//! The other end of NOTIFY_SOCKET, where systemd would listen.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait::{wait_for, PATIENCE};
use super::Guest;

/// Listens.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Listener {
    /// On a socket of its own.
    pub fn bind(guest: &Guest) -> Result<Listener> {
        let path = guest.file("notify");
        let socket = UnixDatagram::bind(&path).with_context(|| path.display().to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        Ok(Listener { socket, path })
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next message, if one has come.
    pub fn next(&self) -> Option<String> {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// Waits for a message that has this line.
    pub fn wait(&self, line: &str) -> Result<()> {
        wait_for(line, PATIENCE, || {
            let message = self.next();
            Ok(message
                .is_some_and(|text| text.lines().any(|said| said == line))
                .then_some(()))
        })
    }

    /// Whether one of the messages that have come so far has this line.
    pub fn has_heard(&self, line: &str) -> bool {
        std::iter::from_fn(|| self.next()).any(|text| text.lines().any(|said| said == line))
    }
}
