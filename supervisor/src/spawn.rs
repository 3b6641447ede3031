// SPDX-License-Identifier: MIT
//! Starting one worker: its token, its lock, its socket, its pidfd.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{access, AccessFlags};

use crate::slots::{New, Slots};
use crate::state::Worker;
use crate::sys;

/// A command line with every `{ctl}` in its arguments replaced by the control node.
pub fn with_control_node(command: &[OsString], node: &Path) -> Vec<OsString> {
    let replace = |word: &OsString| {
        let (pattern, node) = (b"{ctl}", node.as_os_str().as_bytes());
        let mut rest = word.as_bytes();
        let mut out = Vec::with_capacity(rest.len());
        while let Some(at) = rest.windows(pattern.len()).position(|part| part == pattern) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(node);
            rest = &rest[at + pattern.len()..];
        }
        out.extend_from_slice(rest);
        OsString::from_vec(out)
    };
    command.iter().map(replace).collect()
}

/// Whether there is such a program, on the path or where it says.
pub fn program_exists(program: &OsStr) -> bool {
    let runs = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if program.as_bytes().contains(&b'/') {
        return runs(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| runs(&dir.join(program)))
}

/// A program of ours: the one that was installed beside this one, else the one on the path.
pub fn beside_us(program: &str) -> PathBuf {
    let us = std::env::current_exe().ok();
    let beside = us.and_then(|us| Some(us.parent()?.join(program)));
    beside
        .filter(|path| program_exists(path.as_os_str()))
        .unwrap_or_else(|| program.into())
}

/// Random numbers from the kernel: owner tokens nobody guesses or repeats.
#[derive(Debug)]
pub struct Random(File);

impl Random {
    /// Opens the source once, so that it does not fail later for want of a descriptor.
    pub fn open() -> io::Result<Random> {
        File::open("/dev/urandom").map(Random)
    }

    /// The next number.
    pub fn next(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        (&self.0).read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// What came of a spawn.
#[derive(Debug)]
pub enum Spawned {
    /// It runs.
    Running(Worker, OwnedFd),
    /// Something still holds the slot's lock.
    Blocked,
}

/// Starts a worker in a slot. `heartbeat`: how often it is to say WATCHDOG=1 at least.
pub fn spawn(
    command: &[OsString],
    slots: &Slots,
    slot: usize,
    new: New,
    heartbeat: Option<Duration>,
) -> io::Result<Spawned> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let Some(lock) = slots.take(slot, &new)? else {
        return Ok(Spawned::Blocked);
    };
    let pipe = match new.parked {
        true => Some(slots.new_pipe(slot)?),
        false => None,
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(abuse::owner::VARIABLE, format!("{:#018x}", new.token))
        .env(abuse::notify::VARIABLE, slots.notify_path())
        // These were meant for this supervisor.
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove(abuse::standby::VARIABLE)
        .stdin(Stdio::null())
        // Ctrl-C is for the supervisor, which then tells the workers in order.
        .process_group(0);
    if let Some(limit) = heartbeat {
        command.env("WATCHDOG_USEC", limit.as_micros().to_string());
    }
    if let Some(pipe) = &pipe {
        command.env(abuse::standby::VARIABLE, pipe.as_raw_fd().to_string());
    }
    sys::inherit(&mut command, lock, pipe);
    let child = command.spawn();
    // Our own copy of the lock goes here: from now on only the worker has it.
    drop(command);
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            slots.forget(slot)?;
            return Err(error);
        }
    };
    let pid = child.id();
    // A child that nobody has waited for keeps its pid: this is that process.
    match sys::pidfd_open(pid) {
        Ok(pidfd) => Ok(Spawned::Running(
            Worker {
                pid,
                token: new.token,
            },
            pidfd,
        )),
        Err(error) => {
            // A worker that cannot be watched must not run.
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_node_goes_wherever_it_is_asked_for() {
        let words = ["run", "{ctl}", "--on={ctl},{ctl}", "{ctl", "{}"].map(OsString::from);
        let out = with_control_node(&words, Path::new("/dev/abctl7"));
        let dev = "/dev/abctl7";
        assert_eq!(
            out,
            ["run", dev, "--on=/dev/abctl7,/dev/abctl7", "{ctl", "{}"].map(OsString::from)
        );
    }

    #[test]
    fn a_missing_program_is_known_before_it_is_needed() {
        assert!(program_exists(OsStr::new("sh")));
        assert!(program_exists(OsStr::new("/bin/sh")));
        assert!(!program_exists(OsStr::new("/bin")));
        assert!(!program_exists(OsStr::new("no-such-program-here")));
    }
}
