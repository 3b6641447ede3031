// SPDX-License-Identifier: MIT
//! The vocabulary of the state machine: what a slot can be, what can happen to
//! it, and what is to be done then. The table is in [`crate::machine`].

use std::time::Duration;

use crate::policy::Time;
use crate::report::{Report, Why};

/// One process that serves, or served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Its process id, for people; signals go through its pidfd.
    pub pid: u32,
    /// The owner token it takes requests under.
    pub token: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody could tell: it was no child of this supervisor.
    Unknown,
}

/// What a slot is for. Roles move between slots: a standby that is promoted gets
/// the role of the one it replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Its worker serves.
    #[default]
    Active,
    /// Its worker is started and waits to be promoted.
    Standby,
    /// For the new worker of a rolling restart; else empty.
    Spare,
}

/// Why a worker that lives counts as dead, and is made so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// It never said that it is ready.
    NotReady,
    /// It says WATCHDOG=1 no more.
    Silent,
    /// It has held a request for too long.
    Holds,
    /// Requests wait, and it takes none, although it said that it is ready.
    TakesNothing,
}

/// What the device said to REQUEUE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is held under the token any more; so many were offered again.
    Done {
        /// Requests offered again.
        requeued: u32,
    },
    /// Some requests stay with a process that is still alive.
    Busy {
        /// Requests offered again all the same.
        requeued: u32,
    },
    /// The device was reset: there is nothing to requeue, and nothing to serve.
    NotSetUp,
    /// The device was removed.
    Gone,
    /// The call failed otherwise.
    Failed(String),
}

/// Why everything ends before the operator asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The operator asked for it.
    Asked,
    /// The device was reset: exit status 3.
    Reset,
    /// The device was removed: exit status 4.
    Gone,
}

/// A process that was sent SIGKILL, and what becomes of its slot when it is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// The process.
    pub worker: Worker,
    /// Since when.
    pub since: Time,
    /// It had been healthy: its successor starts at once.
    pub stable: bool,
}

/// Where a slot is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody is here, and nobody is to come.
    #[default]
    Off,
    /// A spawn was ordered and has not been answered.
    Starting,
    /// A process runs and has not said that it is ready.
    Spawned {
        /// The process.
        worker: Worker,
        /// Since when this supervisor has watched it.
        since: Time,
        /// It outlived another supervisor, which may have heard its READY=1.
        adopted: bool,
        /// It will not take requests before it is promoted.
        parked: bool,
        /// It was told to say WATCHDOG=1.
        beats: bool,
    },
    /// It serves, or is parked.
    Ready {
        /// The process.
        worker: Worker,
        /// Since when.
        since: Time,
        /// It takes no requests before it is promoted.
        parked: bool,
        /// When it last said WATCHDOG=1, or became ready; `None`: it never will.
        beat: Option<Time>,
    },
    /// It was told to finish and leave.
    Draining {
        /// The process.
        worker: Worker,
        /// When SIGKILL follows.
        kill_at: Time,
    },
    /// It lives and does not do its work: it was sent SIGTERM.
    Suspect {
        /// The process.
        worker: Worker,
        /// What is wrong with it.
        hang: Hang,
        /// When SIGKILL follows.
        kill_at: Time,
        /// It had been healthy before.
        stable: bool,
    },
    /// It was sent SIGKILL, and is not dead yet.
    Fenced(Shot),
    /// SIGKILL does not end it: it is stuck in the kernel.
    Wedged(Shot),
    /// It died, and the device has not yet taken its token back.
    Dead(Dead),
    /// The next spawn waits.
    Backoff {
        /// Until then.
        until: Time,
    },
    /// Nothing is started here any more.
    GaveUp(Why),
}

/// A death that is being worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Who died.
    pub worker: Worker,
    /// How.
    pub exit: Exit,
    /// When it was seen.
    pub seen: Time,
    /// How long this supervisor had watched it, if it had.
    pub lived: Option<Duration>,
    /// Whether the successor starts at once.
    pub at_once: bool,
    /// Whether this death was one too many.
    pub too_many: bool,
    /// Refused requeues so far; the process is reaped after the first.
    pub tries: u32,
    /// Offered again so far.
    pub requeued: u32,
    /// When to ask again; `None`: the device has been asked.
    pub retry: Option<Time>,
}

/// What happens to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin.
    Start,
    /// Begin again, although it was given up: the operator wants it.
    Revive,
    /// A worker of an earlier supervisor lives here.
    Adopt {
        /// The process.
        worker: Worker,
        /// The earlier supervisor had heard that it is ready.
        ready: bool,
        /// It waits to be promoted.
        parked: bool,
        /// It was told to say WATCHDOG=1.
        beats: bool,
    },
    /// A worker of an earlier supervisor died here unwatched.
    Orphan(Worker),
    /// The ordered spawn succeeded.
    Spawned(Worker),
    /// The ordered spawn failed; says why.
    SpawnFailed(String),
    /// The ordered spawn had to be left out: the slot's lock is held.
    Blocked,
    /// The worker said READY=1.
    Ready,
    /// The worker said WATCHDOG=1.
    Beat,
    /// The worker does not do its work.
    Hung(Hang),
    /// The worker, which is parked, is to serve; who it replaces, dead since then.
    Promote(Option<(Worker, Time)>),
    /// The worker's pidfd became readable.
    Died(Exit),
    /// The device answered the requeue.
    Answer(Answer),
    /// Time went by.
    Tick,
    /// Finish and leave.
    Drain,
    /// Leave at once.
    Kill,
}

/// What the event loop has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process with a fresh token; answer with `Spawned`, `SpawnFailed`
    /// or `Blocked`.
    Spawn {
        /// It is to wait until it is promoted.
        parked: bool,
    },
    /// Let this parked worker serve.
    Promote(Worker),
    /// SIGTERM.
    Terminate(Worker),
    /// SIGKILL.
    Kill(Worker),
    /// Have the device re-offer what this dead worker held; answer with `Answer`.
    Requeue(Worker),
    /// Take the exit status of this dead worker, if it is a child.
    Reap(Worker),
    /// Clear the slot's record: no later supervisor needs to know of it.
    Forget,
    /// Nobody serves the device, and the operator wants its I/O to fail then.
    FailIo,
    /// Somebody is to serve it again: I/O waits as it did before `FailIo`.
    HoldIo,
    /// Nothing is left to serve: end all slots.
    End(Ending),
    /// Say this.
    Report(Report),
}

/// A worker's exit status that means: my command line is wrong.
pub const USAGE: i32 = 2;

/// Exit statuses that mean: there is nothing left to serve (rule 20).
pub fn ending_of(exit: Exit) -> Option<Ending> {
    match exit {
        Exit::Code(3) => Some(Ending::Reset),
        Exit::Code(4) => Some(Ending::Gone),
        _ => None,
    }
}
