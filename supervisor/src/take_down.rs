// SPDX-License-Identifier: MIT
//! Taking the disk away before its workers leave, if nobody uses it. A disk that is
//! there and that nobody serves has whoever looks at it wait: at a shutdown that is
//! everybody who looks at all disks.
//!
//! `abusectl reset` does it, in a process of its own: it has the workers flush what
//! was written first, and whoever waits for a disk cannot be stopped. A thread waits
//! for that process; the loop goes on, since workers may die meanwhile.
//!
//! While the machine is going down it unmounts the disk, too. What was mounted by hand
//! would be unmounted after this supervisor has ended, as systemd does not know that
//! it needs the workers for that; and would wait for them.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A take-down under way. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct TakeDown {
    /// Its other end is closed when it is over.
    over: UnixStream,
    outcome: Receiver<Taken>,
    abandoned: Arc<AtomicBool>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The disk is gone.
    Down,
    /// It is used, or cannot be flushed: in what words.
    Refused(String),
}

/// Whoever is told to end within some time has a moment more to do it.
const GRACE: Duration = Duration::from_secs(2);
/// How long those who use the disk have to leave it while the machine is going down: less than
/// systemd waits for us.
const FAREWELL: Duration = Duration::from_secs(30);
/// How often to look.
const LOOK: Duration = Duration::from_millis(20);

impl TakeDown {
    /// Starts it: a command that ends with 0 when the disk is gone, within `limit` or a little more,
    /// and understands `--unmount`.
    pub(crate) fn start(command: &[OsString], limit: Duration) -> io::Result<TakeDown> {
        let (over, end) = UnixStream::pair()?;
        let (tell, outcome) = sync_channel(1);
        let abandoned = Arc::new(AtomicBool::new(false));
        let work = Work {
            command: command.to_vec(),
            limit: limit + GRACE,
            abandoned: Arc::clone(&abandoned),
        };
        thread::Builder::new()
            .name("take-down".into())
            // The supervisor's memory is locked: no more of it than is needed.
            .stack_size(256 << 10)
            .spawn(move || work.run(&tell, end))?;
        Ok(TakeDown {
            over,
            outcome,
            abandoned,
        })
    }

    /// What to poll.
    pub(crate) fn watched(&self) -> BorrowedFd<'_> {
        self.over.as_fd()
    }

    /// What came of it, once that is known.
    pub(crate) fn outcome(&self) -> Option<Taken> {
        self.outcome.try_recv().ok()
    }
}

impl Drop for TakeDown {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

struct Work {
    command: Vec<OsString>,
    limit: Duration,
    abandoned: Arc<AtomicBool>,
}

impl Work {
    fn run(&self, tell: &SyncSender<Taken>, end: UnixStream) {
        // Nobody listens any more where it was abandoned.
        let _ = tell.send(self.taken());
        drop(end);
    }

    fn taken(&self) -> Taken {
        let farewell = Instant::now() + FAREWELL;
        let mut more: &[&str] = &[];
        loop {
            let taken = match self.attempt(more) {
                Ok(taken) => taken,
                Err(error) => {
                    let program = self.command.first().cloned().unwrap_or_default();
                    return Taken::Refused(format!("{}: {error}", program.to_string_lossy()));
                }
            };
            let later = taken != Taken::Down
                && !self.abandoned.load(Ordering::Relaxed)
                && Instant::now() < farewell
                && machine_goes_down();
            if !later {
                return taken;
            }
            more = &["--unmount"];
            thread::sleep(10 * LOOK);
        }
    }

    fn attempt(&self, more: &[&str]) -> io::Result<Taken> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(more)
            .env_remove(abuse::notify::VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if !self.wait(&mut child)? {
            child.kill()?;
            child.wait()?;
            return Ok(Taken::Refused("to reset it takes too long".into()));
        }
        if child.wait()?.success() {
            return Ok(Taken::Down);
        }
        let mut words = String::new();
        if let Some(stderr) = &mut child.stderr {
            // Somebody it left behind may have it open, too: what is there is enough.
            stderr.take(4096).read_to_string(&mut words)?;
        }
        let first = words.lines().next().unwrap_or_default();
        Ok(Taken::Refused(first.into()))
    }

    /// Waits for its end; whether it came.
    fn wait(&self, child: &mut Child) -> io::Result<bool> {
        let deadline = Instant::now() + self.limit;
        while child.try_wait()?.is_none() {
            if self.abandoned.load(Ordering::Relaxed) || Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
        Ok(true)
    }
}

/// Whether systemd is about to end everything.
fn machine_goes_down() -> bool {
    if !Path::new("/run/systemd/system").exists() {
        return false;
    }
    let asked = Command::new("systemctl").arg("is-system-running").output();
    asked.is_ok_and(|said| said.stdout.trim_ascii() == b"stopping")
}
