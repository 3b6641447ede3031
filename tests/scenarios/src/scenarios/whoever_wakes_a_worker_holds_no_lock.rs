// SPDX-License-Identifier: MIT

//! Whoever makes a request and wakes a worker for it holds no lock while doing so: a worker that is
//! awake before the waking is over would have to wait for it, and in a virtual machine that takes as
//! long as the waking processor happens to be away. The kernel's own events tell how many locks were
//! held; how many one sees that hold none, and one who does, is measured beside it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use abuse::abi::{self, Exchange, Take};
use anyhow::{ensure, Context, Result};
use nix::unistd::gettid;

use crate::kit::raw::{within, Memory, Raw};
use crate::kit::trace::Trace;
use crate::kit::{wait_until, Direct, Guest, Pending, PATIENCE};

/// What tells that a thread is being woken.
const WAKING: &str = "events/sched/sched_waking/enable";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let file = Direct::open(disk.path())?;
    let trace = Trace::start()?;
    trace.enable(false)?;
    trace.set(WAKING, "1")?;

    let raw = Raw::open(&disk.control())?;
    let worker = Sleeper::start(move || {
        let arena = Memory::new(1 << 20)?;
        let mut taken = [Take::default()];
        let how = Exchange {
            timeout_ns: abi::FOREVER,
            ..within(&arena, PATIENCE)
        };
        raw.exchange(&mut [], &mut taken, how)?;
        raw.finish(&taken[0])
    })?;
    disk.wait_status("the worker to wait", |status| status.waiting == 1)?;
    let read = || {
        file.start_read(0, 512).finish(PATIENCE)??;
        Ok(())
    };
    let worker = worker.locks_when(&trace, read)?;

    let (free, freed) = mpsc::channel();
    let nobody = Sleeper::start(move || Ok(freed.recv()?))?;
    let unlocked = nobody.locks_when(&trace, || Ok(free.send(())?))?;

    let (mut here, mut there) = UnixStream::pair()?;
    let reader = Sleeper::start(move || Ok(there.read_exact(&mut [0])?))?;
    let locked = reader.locks_when(&trace, || Ok(here.write_all(&[1])?))?;
    trace.set(WAKING, "0")?;

    ensure!(
        locked > unlocked,
        "one whose waker holds a lock cannot be told from another: {locked} and {unlocked}"
    );
    ensure!(
        worker == unlocked,
        "a worker was woken by one who held a lock: {worker} instead of {unlocked}"
    );
    Ok(())
}

/// A thread that goes to sleep.
struct Sleeper {
    number: i32,
    thread: Pending<Result<()>>,
}

impl Sleeper {
    fn start(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Sleeper> {
        let (tell, told) = mpsc::channel();
        let thread = Pending::start("a sleeper", move || {
            tell.send(gettid().as_raw())?;
            work()
        });
        let number = told.recv().context("a sleeper that never was")?;
        Ok(Sleeper { number, thread })
    }

    /// How often preemption was disabled for whoever woke it, each lock being one time, once it slept
    /// and this was done.
    fn locks_when(self, trace: &Trace, wake: impl FnOnce() -> Result<()>) -> Result<u32> {
        let place = format!("/proc/self/task/{}/stat", self.number);
        wait_until("it to sleep", PATIENCE, || {
            fs::read_to_string(&place).is_ok_and(|stat| stat.contains(") S "))
        })?;
        trace.set("trace", "")?;
        wake()?;
        self.thread.finish(PATIENCE)??;
        let text = trace.text()?;
        let own = format!(" pid={} ", self.number);
        let line = text
            .lines()
            .find(|line| line.contains("sched_waking:") && line.contains(&own))
            .context("nobody woke it")?;
        locks(line).with_context(|| line.to_string())
    }
}

/// `TASK-PID [CPU] FLAGS TIME: ...`: the fourth of the flags, a dot for none.
fn locks(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("] ")?;
    match rest.chars().nth(3)? {
        '.' => Some(0),
        digit => digit.to_digit(16),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_depth_is_read_where_the_kernel_writes_it() {
        let line = " fio-423     [002] d..2.   130.591022: sched_waking: comm=x pid=197 prio=120";
        assert_eq!(super::locks(line), Some(2));
        assert_eq!(super::locks(&line.replace("d..2.", ".....")), Some(0));
        assert_eq!(super::locks("nothing"), None);
    }
}
