// SPDX-License-Identifier: MIT
//! What the log says: one line per change, for the operator who reads it at
//! three in the morning. Each names the worker, what happened, why, and what
//! happens next.

use std::fmt;
use std::time::Duration;

use log::Level;

use crate::state::{Exit, Hang, Worker, USAGE};

/// Why a slot was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The worker said that its command line is wrong.
    Usage,
    /// More deaths than the operator allows.
    TooOften,
}

/// What happens next in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The successor starts at once.
    Now,
    /// The successor starts after a pause.
    In {
        /// So long.
        pause: Duration,
        /// Failures in a row.
        failures: u32,
    },
    /// Nobody starts: the slot is given up.
    GaveUp(Why),
    /// Nobody starts: the slot was to end.
    Nothing,
}

/// One line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A process was started.
    Spawned {
        /// The process.
        worker: Worker,
        /// As a standby.
        parked: bool,
    },
    /// A start failed.
    SpawnFailed {
        /// What the system said.
        error: String,
        /// What happens next.
        next: Next,
    },
    /// A start was left out, because the slot's lock is held.
    Blocked {
        /// What happens next.
        next: Next,
    },
    /// A worker of an earlier supervisor was taken over.
    Adopted {
        /// The process.
        worker: Worker,
        /// It is known to be ready.
        ready: bool,
        /// It is a standby.
        parked: bool,
    },
    /// A worker serves, or stands by.
    Ready {
        /// The process.
        worker: Worker,
        /// So long after it was started or adopted.
        after: Duration,
        /// It is a standby.
        parked: bool,
        /// It never said so, but has lived for long enough.
        assumed: bool,
    },
    /// How long the replacement of a dead worker took, from the death being seen.
    Failover {
        /// The dead one.
        dead: Worker,
        /// The new one.
        worker: Worker,
        /// Until its requests were offered again.
        requeued: Duration,
        /// Until the new process ran.
        spawned: Duration,
        /// Until it was ready.
        ready: Duration,
    },
    /// A standby was told to serve.
    Promoted {
        /// The process.
        worker: Worker,
        /// Whose place it takes, and how long after that death was seen.
        instead: Option<(Worker, Duration)>,
    },
    /// A worker that lives does not do its work.
    Suspect {
        /// The process.
        worker: Worker,
        /// What is wrong with it.
        hang: Hang,
        /// When SIGKILL follows.
        timeout: Duration,
    },
    /// SIGKILL does not end a worker.
    Wedged {
        /// The process.
        worker: Worker,
        /// So long after SIGKILL.
        after: Duration,
    },
    /// A rolling restart is over.
    Rolled {
        /// Workers that were replaced.
        replaced: usize,
    },
    /// A rolling restart was given up: the new worker does not become ready.
    RollingFailed,
    /// A worker died, and the device took its token back.
    Died {
        /// The process.
        worker: Worker,
        /// How it ended.
        exit: Exit,
        /// How long it had been watched.
        lived: Option<Duration>,
        /// Requests that were offered again.
        requeued: u32,
        /// What happens next.
        next: Next,
    },
    /// A worker died, but the device does not take its token back.
    Held {
        /// The process.
        worker: Worker,
        /// How long that has lasted.
        since: Duration,
        /// What the call said; `None`: a process under this token still lives.
        error: Option<String>,
    },
    /// A worker was told to finish and leave.
    Draining {
        /// The process.
        worker: Worker,
        /// When SIGKILL follows.
        timeout: Duration,
    },
    /// A worker was sent SIGKILL.
    Killed {
        /// The process.
        worker: Worker,
        /// Because it did not leave in time.
        overdue: bool,
    },
}

impl Report {
    /// How loud it is.
    pub fn level(&self) -> Level {
        match self {
            Report::SpawnFailed { .. }
            | Report::Held { .. }
            | Report::Wedged { .. }
            | Report::RollingFailed => Level::Error,
            Report::Suspect { .. } => Level::Warn,
            Report::Died { next, .. } => match next {
                Next::GaveUp(_) => Level::Error,
                Next::Nothing => Level::Info,
                _ => Level::Warn,
            },
            Report::Blocked { .. } | Report::Killed { .. } => Level::Warn,
            Report::Ready { assumed: true, .. } => Level::Warn,
            _ => Level::Info,
        }
    }
}

impl Report {
    /// What programs call it.
    pub fn event(&self) -> &'static str {
        match self {
            Report::Spawned { .. } => "spawned",
            Report::SpawnFailed { .. } => "spawn-failed",
            Report::Blocked { .. } => "blocked",
            Report::Adopted { .. } => "adopted",
            Report::Ready { .. } => "ready",
            Report::Failover { .. } => "failover",
            Report::Promoted { .. } => "promoted",
            Report::Suspect { .. } => "suspect",
            Report::Wedged { .. } => "wedged",
            Report::Rolled { .. } => "rolled",
            Report::RollingFailed => "rolling-failed",
            Report::Died { .. } => "died",
            Report::Held { .. } => "held",
            Report::Draining { .. } => "draining",
            Report::Killed { .. } => "killed",
        }
    }

    /// The process it is about.
    pub fn worker(&self) -> Option<Worker> {
        match self {
            Report::Spawned { worker, .. }
            | Report::Adopted { worker, .. }
            | Report::Ready { worker, .. }
            | Report::Failover { worker, .. }
            | Report::Promoted { worker, .. }
            | Report::Suspect { worker, .. }
            | Report::Wedged { worker, .. }
            | Report::Died { worker, .. }
            | Report::Held { worker, .. }
            | Report::Draining { worker, .. }
            | Report::Killed { worker, .. } => Some(*worker),
            Report::SpawnFailed { .. }
            | Report::Blocked { .. }
            | Report::Rolled { .. }
            | Report::RollingFailed => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code @ (USAGE | 3 | 4)) => {
                let meaning = match *code {
                    USAGE => "wrong usage",
                    3 => "the device is not set up",
                    _ => "the device is gone",
                };
                write!(f, "ended with status {code} ({meaning})")
            }
            Exit::Code(code) => write!(f, "ended with status {code}"),
            Exit::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
            Exit::Unknown => f.write_str("ended, nobody could tell how"),
        }
    }
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hang::NotReady => "it has not said that it is ready (--start-timeout)",
            Hang::Silent => "it gives no sign of life any more (--heartbeat)",
            Hang::Holds => "it has held a request for too long (--request-timeout)",
            Hang::TakesNothing => {
                "requests wait that it does not take, although it said that it is ready \
                 (--request-timeout)"
            }
        })
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::Now => f.write_str("a new one starts now"),
            Next::In { pause, failures } => write!(
                f,
                "a new one starts in {} (failures in a row: {failures})",
                short(*pause)
            ),
            Next::GaveUp(Why::Usage) => f.write_str(
                "GIVEN UP, its requests wait: correct the command line of the worker and \
                 start the supervisor again",
            ),
            Next::GaveUp(Why::TooOften) => f.write_str(
                "GIVEN UP, it died too often (--intensity, --period), its requests wait: \
                 see the worker's own messages, and start the supervisor again",
            ),
            Next::Nothing => f.write_str("no new one starts"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Spawned { worker, parked } => write!(
                f,
                "worker {} started{} as owner {:#018x}, not ready yet",
                worker.pid,
                if *parked { " as a standby" } else { "" },
                worker.token
            ),
            Report::SpawnFailed { error, next } => {
                write!(f, "no worker could be started: {error}; {next}")
            }
            Report::Blocked { next } => write!(
                f,
                "no worker started, because a process that the last one left behind still \
                 holds the slot's lock; {next}"
            ),
            Report::Adopted {
                worker,
                ready,
                parked,
            } => write!(
                f,
                "{} {} of an earlier supervisor is alive and adopted, {}",
                if *parked { "standby" } else { "worker" },
                worker.pid,
                if *ready { "ready" } else { "not ready yet" }
            ),
            Report::Ready {
                worker,
                after,
                parked,
                assumed: false,
            } => write!(
                f,
                "{} {} is ready after {}",
                if *parked { "standby" } else { "worker" },
                worker.pid,
                short(*after)
            ),
            Report::Ready { worker, after, .. } => write!(
                f,
                "worker {} has not said that it is ready, but has lived for {} since it was \
                 adopted: taken as ready",
                worker.pid,
                short(*after)
            ),
            Report::Failover {
                dead,
                worker,
                requeued,
                spawned,
                ready,
            } => write!(
                f,
                "worker {} took over from {}: requests re-offered after {}, new process after \
                 {}, ready after {}",
                worker.pid,
                dead.pid,
                short(*requeued),
                short(*spawned),
                short(*ready)
            ),
            Report::Promoted {
                worker,
                instead: Some((dead, after)),
            } => write!(
                f,
                "standby {} takes over from {}: requests re-offered and the standby promoted \
                 after {}",
                worker.pid,
                dead.pid,
                short(*after)
            ),
            Report::Promoted { worker, .. } => {
                write!(f, "standby {} is promoted: it serves now", worker.pid)
            }
            Report::Suspect {
                worker,
                hang,
                timeout,
            } => write!(
                f,
                "worker {} hangs: {hang}; sent SIGTERM, SIGKILL follows in {}, and its requests \
                 are re-offered when it is dead",
                worker.pid,
                short(*timeout)
            ),
            Report::Wedged { worker, after } => write!(
                f,
                "worker {} is STUCK in the kernel: it did not die of SIGKILL within {}. No other \
                 takes its place before it is dead, since it may still write: see what its \
                 backing store waits for (/proc/{}/stack)",
                worker.pid,
                short(*after),
                worker.pid
            ),
            Report::Rolled { replaced } => {
                write!(f, "rolling restart is over: {replaced} workers replaced")
            }
            Report::RollingFailed => f.write_str(
                "rolling restart is given up, because the new worker did not become ready: the \
                 old ones go on serving; see the new worker's own messages",
            ),
            Report::Died {
                worker,
                exit,
                lived,
                requeued,
                next,
            } => {
                write!(f, "worker {} {exit}", worker.pid)?;
                if let Some(lived) = lived {
                    write!(f, " after {}", short(*lived))?;
                }
                match requeued {
                    // The driver re-offers by itself when a worker's last file is closed.
                    0 => f.write_str("; it held no request any more"),
                    1 => f.write_str("; 1 request re-offered"),
                    _ => write!(f, "; {requeued} requests re-offered"),
                }?;
                write!(f, "; {next}")
            }
            Report::Held {
                worker,
                since,
                error: None,
            } => write!(
                f,
                "worker {} died {} ago, but another process still holds requests as owner \
                 {:#018x}: they are re-offered, and a new worker starts, when it ends",
                worker.pid,
                short(*since),
                worker.token
            ),
            Report::Held {
                worker,
                since,
                error: Some(error),
            } => write!(
                f,
                "worker {} died {} ago, and its requests could not be re-offered: {error}; \
                 tried again every second, no new worker starts before",
                worker.pid,
                short(*since)
            ),
            Report::Draining { worker, timeout } => write!(
                f,
                "worker {} told to finish and leave, SIGKILL in {}",
                worker.pid,
                short(*timeout)
            ),
            Report::Killed { worker, overdue } => write!(
                f,
                "worker {} sent SIGKILL{}",
                worker.pid,
                if *overdue {
                    ", because it did not leave in time"
                } else {
                    ""
                }
            ),
        }
    }
}

/// A duration with no more digits than anybody reads.
pub fn short(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 0.001 {
        format!("{:.0} us", secs * 1e6)
    } else if secs < 0.01 {
        format!("{:.1} ms", secs * 1e3)
    } else if secs < 1.0 {
        format!("{:.0} ms", secs * 1e3)
    } else if secs < 60.0 {
        format!("{secs:.1} s")
    } else {
        humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_says_who_how_after_what_and_what_next() {
        let report = Report::Died {
            worker: Worker {
                pid: 4242,
                token: 7,
            },
            exit: Exit::Signal(9),
            lived: Some(Duration::from_millis(3210)),
            requeued: 17,
            next: Next::In {
                pause: Duration::from_millis(200),
                failures: 2,
            },
        };
        assert_eq!(
            report.to_string(),
            "worker 4242 was killed by SIGKILL after 3.2 s; 17 requests re-offered; a new one \
             starts in 200 ms (failures in a row: 2)"
        );
    }
}
