// SPDX-License-Identifier: MIT
//! Readiness: the socket workers say READY=1 to, and the one this supervisor
//! says it to, both as sd_notify(3) has it.
//!
//! The kernel itself tells who sent a message; what does not come from the main
//! process of a slot is not believed.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    recvmsg, setsockopt, sockopt, ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials,
};

/// Messages taken in one turn of the loop: a flood cannot hold it up.
const BATCH: usize = 32;

/// Where workers say that they are ready.
#[derive(Debug)]
pub struct Inbox {
    socket: UnixDatagram,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it, by the kernel's word.
    pub pid: u32,
    /// It says READY=1.
    pub ready: bool,
    /// It says WATCHDOG=1.
    pub alive: bool,
}

impl Inbox {
    /// Binds the socket; one that a dead supervisor left is replaced.
    pub fn bind(path: &Path) -> io::Result<Inbox> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        // Connecting needs write permission; the directory keeps others out as well.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(Inbox { socket })
    }

    /// What has come, a batch at most.
    pub fn receive(&self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        for _ in 0..BATCH {
            match self.receive_one() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => {}
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(messages)
    }

    fn receive_one(&self) -> nix::Result<Option<Message>> {
        let mut text = [0; 4096];
        // Room for the credentials and nothing else: descriptors that come along
        // do not fit, so the kernel closes them.
        let mut control = nix::cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut text)];
        let received = recvmsg::<UnixAddr>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let bytes = received.bytes;
        // Descriptors that did not fit cut the control data short: whoever sends
        // some is not believed.
        let sender = received.cmsgs().ok().and_then(|mut all| {
            all.find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(sender) => u32::try_from(sender.pid()).ok(),
                _ => None,
            })
        });
        let text = text.get(..bytes).unwrap_or_default();
        let says = |word: &[u8]| text.split(|byte| *byte == b'\n').any(|line| line == word);
        let (ready, alive) = (says(b"READY=1"), says(b"WATCHDOG=1"));
        Ok(sender.map(|pid| Message { pid, ready, alive }))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whoever runs this supervisor, if it wants to be told: systemd, most likely.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    ready: bool,
    status: String,
}

impl Manager {
    /// From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; without the first,
    /// nobody is told anything.
    pub fn from_environment() -> io::Result<Manager> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(Manager::default());
        };
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| mine && *usec > 0);
        Ok(Manager {
            socket: Some(socket),
            watchdog: watchdog.map(Duration::from_micros),
            ready: false,
            status: String::new(),
        })
    }

    /// How often it wants to hear WATCHDOG=1: twice in its limit.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// WATCHDOG=1.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// READY=1, the first time all workers are.
    pub fn ready(&mut self) {
        if !self.ready {
            self.ready = self.send("READY=1");
        }
    }

    /// Whether READY=1 was said.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// STATUS=, when it changed.
    pub fn status(&mut self, status: String) {
        if self.status != status && self.send(&format!("STATUS={status}")) {
            self.status = status;
        }
    }

    /// RELOADING=1, with the time systemd wants to know; READY=1 follows, when that is over.
    /// Nothing, before it was ready for the first time.
    pub fn reloading(&mut self) {
        if !self.ready {
            return;
        }
        if let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) {
            let usec = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000;
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
            self.ready = false;
        }
    }

    /// STOPPING=1.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Whether nothing is left to tell. Never waits: a manager that does not
    /// listen must not stop us, and is told again in the next turn.
    fn send(&self, message: &str) -> bool {
        match &self.socket {
            Some(socket) => socket.send(message.as_bytes()).is_ok(),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_carries_its_true_sender_and_descriptors_do_not_stay() {
        let dir = std::env::temp_dir().join(format!("abuse-notify-{}", std::process::id()));
        let inbox = Inbox::bind(&dir).unwrap();
        // A socket that somebody left is replaced.
        drop(inbox);
        let inbox = Inbox::bind(&dir).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"STATUS=x\nREADY=1\n", &dir).unwrap();
        sender.send_to(b"READY=10", &dir).unwrap();
        let me = std::process::id();
        let messages = inbox.receive().unwrap();
        std::fs::remove_file(&dir).unwrap();
        let all = [true, false].map(|ready| Message {
            pid: me,
            ready,
            alive: false,
        });
        assert_eq!(messages, all);
    }

    proptest! {
        #[test]
        fn fuzzed_messages_are_ready_when_a_line_says_so_and_hurt_nobody(
            texts in proptest::collection::vec("((READY|STATUS|MAINPID|FDSTORE|WATCHDOG)?=?[01]?\n?|\\PC{0,9}\n?){0,5}", 1..8)
        ) {
            let name = format!("abuse-notify-fuzzed-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let inbox = Inbox::bind(&path).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            for text in &texts {
                sender.send_to(text.as_bytes(), &path).unwrap();
            }
            let messages = inbox.receive().unwrap();
            std::fs::remove_file(&path).unwrap();
            let said: Vec<bool> = texts.iter().map(|text| text.split('\n').any(|line| line == "READY=1")).collect();
            let heard: Vec<bool> = messages.iter().map(|message| message.ready).collect();
            prop_assert_eq!(heard, said);
        }
    }
}
