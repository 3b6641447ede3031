// SPDX-License-Identifier: MIT

//! Programs: run to their end with a deadline, or kept in the background and killed at the end.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::sys::memfd::{memfd_create, MFdFlags};
use nix::sys::signal::{kill, killpg, Signal};
use nix::unistd::Pid;

use super::wait::{wait_for, wait_until, PATIENCE};
use super::Guest;

/// A program that is not started yet.
#[must_use]
pub struct Command<'g> {
    guest: &'g Guest,
    name: String,
    inner: std::process::Command,
    limit: Duration,
    quiet: bool,
}

/// What a program that ended left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Fails unless it ended with this status and said that, on either output.
    pub fn says(&self, code: i32, words: &str) -> Result<()> {
        let said = format!("{}{}", self.stdout, self.stderr);
        ensure!(
            self.status.code() == Some(code) && said.contains(words),
            "not {code} '{words}': {}: {said}",
            self.status
        );
        Ok(())
    }
}

impl<'g> Command<'g> {
    pub(super) fn new(guest: &'g Guest, program: &OsStr) -> Command<'g> {
        let mut inner = std::process::Command::new(program);
        // A group of its own, so that what it starts can be killed with it.
        inner.stdin(Stdio::null()).process_group(0);
        Command {
            guest,
            name: program.to_string_lossy().into_owned(),
            inner,
            limit: PATIENCE,
            quiet: false,
        }
    }

    /// What it says is forgotten with it, instead of being shown if the scenario fails: for programs
    /// that are started by the hundred.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// How long it may take, instead of [`PATIENCE`].
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end, whatever that is.
    pub fn run(self) -> Result<Output> {
        let limit = self.limit;
        self.spawn()?.finish(limit)
    }

    /// Runs it to an end with status 0; what it printed.
    pub fn ok(self) -> Result<String> {
        let name = self.name.clone();
        let output = self.run()?;
        if !output.status.success() {
            let words = format!("{}{}", output.stdout, output.stderr);
            bail!("{name}: {}: {}", output.status, tail(&words, 8));
        }
        Ok(output.stdout)
    }

    /// Starts it in the background. It is killed when the [`Process`] is dropped.
    pub fn spawn(mut self) -> Result<Process> {
        let (out, err) = (memory(&self.name)?, memory(&self.name)?);
        let child = self
            .inner
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let title = format!("{} [{}]", self.name, child.id());
        if !self.quiet {
            self.guest.remember_output(&title, &out, &err)?;
        }
        Ok(Process {
            name: self.name,
            child,
            out,
            err,
            ended: None,
        })
    }
}

/// A program in the background. Dropping it kills it and everything of its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: File,
    err: File,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn stdout(&self) -> Result<String> {
        contents(&self.out)
    }

    /// What it complained about so far.
    pub fn stderr(&self) -> Result<String> {
        contents(&self.err)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended.is_none())
    }

    /// Sends it, and it alone, a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid(), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if self.is_running()? {
            self.signal(Signal::SIGKILL)?;
            self.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// SIGSTOP; returns when it stands still.
    pub fn stop(&self) -> Result<()> {
        stop(self.pid())
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits until it has said that it serves. In vain, and the error says where it stands instead.
    pub fn wait_serving(&mut self) -> Result<()> {
        let ready = wait_for("a server to be ready", PATIENCE, || {
            if !self.is_running()? {
                bail!("the server ended: {}", self.stderr()?);
            }
            Ok(self.stderr()?.contains("serving ").then_some(()))
        });
        ready.with_context(|| {
            let said = self.stderr().unwrap_or_default();
            format!(
                "it said {said:?} and stands there:\n{}",
                where_it_stands(self.pid())
            )
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || {
            Ok((!self.is_running()?).then_some(()).and(self.ended))
        })
    }

    /// Waits for its end, and kills it if that does not come.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        let status = self.wait(limit)?;
        Ok(Output {
            status,
            stdout: self.stdout()?,
            stderr: self.stderr()?,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if let Ok(pid) = i32::try_from(self.pid()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // One that waits for a disk without a worker ends when the guest resets the device.
        let _ = self.wait(Duration::from_secs(1));
    }
}

/// Sends one process a signal.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).context("a process id")?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// SIGSTOP; returns when the process stands still, with all its threads: they stop one by one.
pub fn stop(pid: u32) -> Result<()> {
    send(pid, Signal::SIGSTOP)?;
    let what = format!("process {pid} to stand still");
    wait_until(&what, PATIENCE, || stands_still(pid))
}

fn stands_still(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut states = tasks.into_iter().flatten().flatten().map(|task| {
        // One that has ended meanwhile has no state, and does nothing any more.
        state_in(&task.path().join("stat")).unwrap_or('T')
    });
    state_of(pid) == Some('T') && states.all(|state| state == 'T')
}

/// The letter that ps(1) shows; `None` when there is no such process.
pub fn state_of(pid: u32) -> Option<char> {
    state_in(Path::new(&format!("/proc/{pid}/stat")))
}

fn state_in(stat: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(stat).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Each thread of a process: its name, state, system call and where in the kernel it waits, and the
/// signals that wait for it, that it has blocked and that it handles, for the message that it did not
/// get on.
pub fn where_it_stands(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = tasks.into_iter().flatten().flatten().map(|task| {
        let of = |name| {
            let text = std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            text.trim().replace('\n', " < ")
        };
        let state = state_in(&task.path().join("stat")).unwrap_or('?');
        let (name, call, stack) = (of("comm"), of("syscall"), of("stack"));
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let signals: Vec<_> = status
            .lines()
            .filter(|line| line.starts_with("Sig") || line.starts_with("ShdPnd"))
            .map(|line| line.replace('\t', " "))
            .collect();
        let signals = signals.join(" ");
        format!("{name} {state}, {signals}, system call {call}, stack {stack}")
    });
    threads.collect::<Vec<_>>().join("\n")
}

/// The states of a process's threads: its first one may be over while another is not.
pub fn states_of(pid: u32) -> Vec<char> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| state_in(&task.path().join("stat")))
        .collect()
}

/// Whether a thread of it sleeps in the kernel in a function of that name.
pub fn sleeps_in(pid: u32, function: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    tasks.into_iter().flatten().flatten().any(|task| {
        let place = std::fs::read_to_string(task.path().join("stack"));
        place.is_ok_and(|place| place.contains(function))
    })
}

/// Whether it was killed with SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32)
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A file without a name: nothing to remove, and it can be read while it is written.
fn memory(name: &str) -> Result<File> {
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).context("a file for output")?;
    Ok(File::from(file))
}

pub(super) fn contents(file: &File) -> Result<String> {
    let length = usize::try_from(file.metadata()?.len())?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_process_stands_is_a_line_for_each_thread() {
        let own = where_it_stands(std::process::id());
        assert!(
            own.lines().count() >= 1 && own.contains("system call") && own.contains("SigBlk"),
            "{own}"
        );
        assert_eq!(where_it_stands(u32::MAX), "");
    }
}
