// SPDX-License-Identifier: MIT

//! Telling the supervisor, or systemd, how this process is: the sd_notify protocol.
//!
//! ```no_run
//! # let device = abuse::Device::open("0")?;
//! abuse::Worker::new(device)
//!     .on_ready(abuse::notify::ready)
//!     .run(abuse::backend::Null)?;
//! # Ok::<(), abuse::Error>(())
//! ```
//!
//! Without a supervisor, that is without `NOTIFY_SOCKET` in the environment, nothing happens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The environment variable that names the socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says `READY=1`. Who cannot be told is logged: the supervisor's own time limit does the rest.
pub fn ready() {
    if let Err(error) = send("READY=1") {
        log::warn!("cannot tell the supervisor that this worker is ready: {error}");
    }
}

/// How long a supervisor, or systemd, waits for this process to say that it is [`alive`]; `None`: it
/// does not.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let limit = number("WATCHDOG_USEC").filter(|usec| mine && *usec > 0);
    limit.map(Duration::from_micros)
}

/// Says `WATCHDOG=1`. Never waits for who is told: one that does not listen now will hear the next.
pub fn alive() {
    if let Some(name) = std::env::var_os(VARIABLE) {
        if let Err(error) = try_send_to(&name, "WATCHDOG=1") {
            log::debug!("cannot tell the supervisor that this worker is alive: {error}");
        }
    }
}

/// Sends lines of `KEY=value`. `false`: nobody wants to know.
pub fn send(state: &str) -> io::Result<bool> {
    match std::env::var_os(VARIABLE) {
        Some(name) => send_to(&name, state).map(|()| true),
        None => Ok(false),
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    // A leading @ stands for the zero byte of the abstract namespace.
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    Ok(address)
}

fn send_to(name: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let sent = socket.send_to_addr(state.as_bytes(), &address(name)?);
    sent.map(drop)
}

fn try_send_to(name: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let sent = socket.send_to_addr(state.as_bytes(), &address(name)?);
    sent.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(name: &OsStr, socket: &UnixDatagram) {
        send_to(name, "READY=1").unwrap();
        let mut buffer = [0; 32];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn reaches_a_socket_in_a_directory() {
        let directory = crate::backend::tests::TempDir::new();
        let path = directory.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        arrives(path.as_os_str(), &socket);
    }

    #[test]
    fn reaches_a_socket_in_the_abstract_namespace() {
        let name = format!("abuse-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        arrives(OsStr::new(&format!("@{name}")), &socket);
    }

    #[test]
    fn a_supervisor_that_is_gone_is_an_error_and_no_panic() {
        assert!(send_to(OsStr::new("/nonexistent/socket"), "READY=1").is_err());
    }
}
