// SPDX-License-Identifier: MIT
//! What outlives a supervisor: a locked file for every worker, in the runtime
//! directory.
//!
//! A worker inherits `NAME.worker.K.lock` open and locked; the lock is free when
//! the worker, and whatever it left behind with its descriptors, has ended. In
//! the file stands what a later supervisor must know: `record.rs`.
//!
//! Beside it, `NAME.worker.K.promote` is the pipe on which a standby waits. It has a
//! name so that a later supervisor can promote what an earlier one has started.
//!
//! An empty file says that nobody is owed anything.

mod record;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::exit::Failure;
use crate::state::Worker;
use crate::sys;
use record::Record;

/// The files of one device in the runtime directory.
#[derive(Debug)]
pub struct Slots {
    dir: PathBuf,
    name: String,
    /// Held for as long as this supervisor lives; workers do not inherit it.
    _supervisor: File,
}

/// A worker to come.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// Its owner token.
    pub token: u64,
    /// It is to wait until it is promoted.
    pub parked: bool,
    /// It is to say WATCHDOG=1.
    pub beats: bool,
}

/// What a slot's file says about an earlier supervisor's worker.
#[derive(Debug)]
pub enum Found {
    /// Nobody was here.
    Nobody,
    /// It is alive.
    Alive {
        /// The process.
        worker: Worker,
        /// The process itself.
        pidfd: OwnedFd,
        /// It had said that it is ready.
        ready: bool,
        /// It waits to be promoted.
        parked: bool,
        /// It was told to say WATCHDOG=1.
        beats: bool,
    },
    /// It died while nobody watched; its token may still hold requests.
    Died(Worker),
    /// The lock is held, and the file does not say by whom.
    Unknown,
}

impl Slots {
    /// Takes the device `name` (abctl0) for this supervisor. Fails with status 5
    /// if another one has it.
    pub fn open(dir: &Path, name: &str) -> Result<Slots, Failure> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(dir)
            .with_context(|| format!("{}: cannot create the directory", dir.display()))?;
        let path = dir.join(format!("{name}.supervisor.lock"));
        let mut file =
            open(&path).with_context(|| format!("{}: cannot open the lock", path.display()))?;
        let locked = try_lock_for_this_process(&file)
            .with_context(|| format!("{}: cannot take the lock", path.display()))?;
        if !locked {
            let mut pid = String::new();
            // Only for the message: an unreadable pid spoils nothing.
            let _ = file.read_to_string(&mut pid);
            return Err(Failure::busy(format!(
                "{name}: another supervisor has this device (pid {})\n\
                 stop that one first: two would start two sets of workers",
                pid.trim()
            )));
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("{}: cannot write", path.display()))?;
        Ok(Slots {
            dir: dir.to_path_buf(),
            name: name.to_owned(),
            _supervisor: file,
        })
    }

    /// Where the workers send their READY=1. The same for every supervisor of
    /// this device, so that adopted workers reach their new one.
    pub fn notify_path(&self) -> PathBuf {
        self.dir.join(format!("{}.notify", self.name))
    }

    /// Where those who ask are answered.
    pub fn control_path(&self) -> PathBuf {
        self.dir.join(format!("{}.control", self.name))
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.dir.join(format!("{}.worker.{slot}.lock", self.name))
    }

    /// The highest slot there is a file of, plus one.
    pub fn count(&self) -> io::Result<usize> {
        let prefix = format!("{}.worker.", self.name);
        let mut count = 0;
        for entry in self.dir.read_dir()? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".lock"))
                .and_then(|number| number.parse::<usize>().ok());
            count = count.max(number.map_or(0, |number| number + 1));
        }
        Ok(count)
    }

    /// The pipe of a standby to come in this slot. Both ends, so that nobody ever sees its end.
    pub fn new_pipe(&self, slot: usize) -> io::Result<File> {
        let path = self.pipe_path(slot);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        OpenOptions::new().read(true).write(true).open(&path)
    }

    /// Promotes the standby in this slot.
    pub fn promote(&self, slot: usize) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        options.open(self.pipe_path(slot))?.write_all(b"!")?;
        // Only now: who is promoted twice by a later supervisor does not mind, who is never does.
        self.add(slot, "active")
    }

    fn pipe_path(&self, slot: usize) -> PathBuf {
        self.dir
            .join(format!("{}.worker.{slot}.promote", self.name))
    }

    /// What the device's term was before I/O was made to fail: nanoseconds, 0 is none.
    fn failing_path(&self) -> PathBuf {
        self.dir.join(format!("{}.failing", self.name))
    }

    /// Notes that I/O is about to be made to fail, and what the term was before that.
    pub fn note_failing(&self, before: Option<Duration>) -> io::Result<()> {
        let nanoseconds = before.unwrap_or_default().as_nanos();
        std::fs::write(self.failing_path(), format!("{nanoseconds}\n"))
    }

    /// The term before I/O was made to fail, if it was.
    pub fn failing(&self) -> Option<Option<Duration>> {
        let text = std::fs::read_to_string(self.failing_path()).ok()?;
        let nanoseconds = text.trim().parse().ok()?;
        Some((nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds)))
    }

    /// Notes that I/O is as it was.
    pub fn forget_failing(&self) -> io::Result<()> {
        match std::fs::remove_file(self.failing_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens and locks a slot for a process to come; `None` if it is held.
    pub fn take(&self, slot: usize, new: &New) -> io::Result<Option<File>> {
        let mut file = open(&self.path(slot))?;
        if !sys::try_lock(&file)? {
            return Ok(None);
        }
        file.set_len(0)?;
        let mut text = format!("token={:#018x}\n", new.token);
        for (is, line) in [(new.parked, "standby\n"), (new.beats, "heartbeat\n")] {
            text.push_str(if is { line } else { "" });
        }
        file.write_all(text.as_bytes())?;
        Ok(Some(file))
    }

    /// Adds a line to a slot's record.
    fn add(&self, slot: usize, line: &str) -> io::Result<()> {
        let path = self.path(slot);
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Notes that the process runs.
    pub fn started(&self, slot: usize, pid: u32) -> io::Result<()> {
        self.add(slot, &format!("start={}", start_time(pid)?))
    }

    /// Notes that the worker is ready.
    pub fn ready(&self, slot: usize) -> io::Result<()> {
        self.add(slot, "ready")
    }

    /// Clears a slot's record.
    pub fn forget(&self, slot: usize) -> io::Result<()> {
        match OpenOptions::new().write(true).open(self.path(slot)) {
            Ok(file) => file.set_len(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Who is in a slot.
    pub fn find(&self, slot: usize) -> io::Result<Found> {
        let mut file = match OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(slot))
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nobody),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        Read::by_ref(&mut file)
            .take(4096)
            .read_to_string(&mut text)?;
        let record = Record::parse(&text);
        // Free: the lock we have just taken ends with `file`.
        let held = !sys::try_lock(&file)?;
        let Some(token) = record.token else {
            return Ok(if held { Found::Unknown } else { Found::Nobody });
        };
        let worker = Worker {
            pid: record.pid.unwrap_or(0),
            token,
        };
        if !held {
            return Ok(Found::Died(worker));
        }
        let Some(pid) = record.pid else {
            return Ok(Found::Unknown);
        };
        // First the descriptor, then the look: what it then means is that process.
        let Ok(pidfd) = sys::pidfd_open(pid) else {
            return Ok(Found::Died(worker));
        };
        let same = match record.start {
            Some(start) => start_time(pid).is_ok_and(|now| now == start),
            None => has_open(pid, &file),
        };
        Ok(if same {
            Found::Alive {
                worker,
                pidfd,
                ready: record.ready,
                parked: record.standby && !record.active,
                beats: record.heartbeat,
            }
        } else {
            Found::Died(worker)
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

/// Takes a lock that is this process's own: unlike a worker's, a child has no part in it, not
/// even between fork and exec, so that it is free in the moment this process ends.
fn try_lock_for_this_process(file: &File) -> nix::Result<bool> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_SETLK(&whole)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error),
    }
}

/// When a process started, in ticks since boot: with its pid, its identity.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; field 3 follows the last one.
    stat.rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether a process has this very file open.
fn has_open(pid: u32, file: &File) -> bool {
    let same = || -> io::Result<bool> {
        let wanted = file.metadata()?;
        for entry in Path::new(&format!("/proc/{pid}/fd")).read_dir()? {
            if let Ok(open) = std::fs::metadata(entry?.path()) {
                if (open.dev(), open.ino()) == (wanted.dev(), wanted.ino()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    };
    same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor_by_its_start() {
        let me = std::process::id();
        assert_eq!(start_time(me).unwrap(), start_time(me).unwrap());
        assert!(start_time(me).unwrap() > start_time(1).unwrap());
    }
}
