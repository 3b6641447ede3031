// SPDX-License-Identifier: MIT

//! Starts the hostile processes and the users of disks, kills, stops and signals them at random, has a
//! janitor reset devices so that nothing waits for ever, and judges the whole.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use abuse::Device;
use abuse_scenarios::kit::detectors::patience;
use abuse_scenarios::kit::kernel_log::KernelLog;
use abuse_scenarios::kit::kernel_memory;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::libc::POLLIN;
use nix::sys::signal::{kill, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{makedev, mknod, Mode, SFlag};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use crate::after;
use crate::board::Board;
use crate::calls::{ENTRIES, KINDS};
use crate::files::ABSENT;
use crate::janitor::Janitor;
use crate::pulse::Pulse;
use crate::rng::Rng;
use crate::sys;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// From which everything random comes.
    pub seed: u64,
    /// Calls in all; 0: any number.
    pub calls: u64,
    /// For so long.
    pub time: Option<Duration>,
    /// Hostile processes at once.
    pub processes: u64,
    /// Processes that use the disks.
    pub users: u64,
    /// Only the first so many devices: with fewer, calls meet more often.
    pub devices: u16,
}

/// Runs of so many calls must have seen the rarer answers too.
const LONG: u64 = 3_000_000;
/// A thread that shows no sign of life for so long hangs.
pub(crate) fn hangs() -> Duration {
    patience(Duration::from_secs(60))
}
/// Between two looks at everything, each of which may kill, stop or signal somebody.
pub(crate) fn tick() -> Duration {
    patience(Duration::from_millis(25))
}

/// Runs it. Whether nothing was found and nothing was missed.
pub fn direct(plan: &Plan) -> Result<bool> {
    nix::sys::prctl::set_child_subreaper(true)?;
    // A player may be sent one before it handles it.
    sys::ignore(Signal::SIGUSR1);
    sys::ignore(Signal::SIGUSR2);
    let devices = devices(plan)?;
    absent()?;
    let _quiet = NoModprobe::begin()?;
    let mut log = KernelLog::begin(&format!("abuse-fuzz: begin, seed {}", plan.seed))?;
    let before = kernel_memory::kilobytes()?;
    let (board, file) = Board::new()?;
    board.limit.store(plan.calls, Relaxed);
    let started = Instant::now();
    let janitor = Janitor::default();
    let mut cast = Cast {
        plan,
        board,
        ends: Ends::watch()?,
        file: &file,
        devices: plan.devices,
        children: Vec::new(),
        rng: Rng::new(&[plan.seed, u64::MAX]),
        kills: 0,
        signals: 0,
    };
    thread::scope(|scope| -> Result<()> {
        let keeper = scope.spawn(|| janitor.keep(devices, plan.seed));
        let played = cast.play(started, &janitor);
        let dismissed = cast.dismiss();
        janitor.over.store(true, Relaxed);
        let kept = keeper
            .join()
            .map_err(|_| anyhow::anyhow!("the janitor panicked"))?;
        played.and(dismissed).and(kept)
    })?;
    let (kills, signals) = (cast.kills, cast.signals);
    for trouble in after::troubles(before) {
        board.finding(&trouble);
    }
    for line in log.bad_lines()? {
        board.finding(&format!("the kernel says: {line}"));
    }
    let missed = missed(board);
    print!("{}", tables(board));
    for what in &missed {
        println!("fuzz: never seen: {what}");
    }
    println!(
        "fuzz: seed={} calls={} seconds={:.0} ok={} refused={} compat={} forked={} taken={} io={} \
         io_failed={} slow_pages={} races={} kills={} signals={} resets={} replaced={} not_seen={} findings={}",
        plan.seed,
        all(board, |_| true),
        started.elapsed().as_secs_f32(),
        all(board, |errno| errno == 0),
        all(board, |errno| errno != 0),
        board.compat.load(Relaxed),
        board.forks.load(Relaxed),
        board.taken.load(Relaxed),
        board.io.load(Relaxed),
        board.io_failed.load(Relaxed),
        board.slow_pages.load(Relaxed),
        board.races.load(Relaxed),
        kills,
        signals,
        janitor.resets.load(Relaxed),
        janitor.replaced.load(Relaxed),
        missed.len(),
        board.findings.load(Relaxed),
    );
    Ok(missed.is_empty() && board.findings.load(Relaxed) == 0)
}

fn devices(plan: &Plan) -> Result<Vec<Device>> {
    let mut numbers = Device::numbers()?;
    numbers.truncate(plan.devices.into());
    let devices: Vec<Device> = numbers
        .iter()
        .map(|number| Device::open(number.to_string()))
        .collect::<Result<_, _>>()?;
    ensure!(devices.len() >= 2, "there are no two devices");
    for (at, device) in devices.iter().enumerate() {
        ensure!(
            device.number() as usize == at,
            "devices are not 0, 1, 2 ..."
        );
    }
    Ok(devices)
}

/// Has the kernel start no modprobe for a disk that is gone before its node: a process for each such
/// open takes it longer than a hundred calls.
struct NoModprobe(String);

impl NoModprobe {
    const PATH: &'static str = "/proc/sys/kernel/modprobe";

    fn begin() -> Result<NoModprobe> {
        let before = fs::read_to_string(Self::PATH).context(Self::PATH)?;
        fs::write(Self::PATH, "\n").context(Self::PATH)?;
        Ok(NoModprobe(before))
    }
}

impl Drop for NoModprobe {
    fn drop(&mut self) {
        // What needs a module then fails, and says so.
        let _ = fs::write(Self::PATH, &self.0);
    }
}

/// A node of the driver's for which there is no device.
fn absent() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let major = nix::sys::stat::major(fs::metadata("/dev/abctl0")?.rdev());
    let _ = fs::remove_file(ABSENT);
    let mode = Mode::from_bits_truncate(0o666);
    mknod(ABSENT, SFlag::S_IFCHR, mode, makedev(major, 9999)).context(ABSENT)
}

// --- Processes ----------------------------------------------------------------------------------

struct Child {
    process: std::process::Child,
    role: &'static str,
    index: u64,
    life: u64,
    /// We killed it.
    killed: bool,
    /// We stopped it; it goes on then.
    stopped: Option<Instant>,
}

/// Hears of children that end.
struct Ends(SignalFd);

impl Ends {
    /// From now on. Before other threads are started: none of them must get the signal instead.
    fn watch() -> Result<Ends> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Ends(SignalFd::with_flags(&mask, flags)?))
    }

    /// Waits until somebody has ended, or so long.
    fn wait(&self, longest: Duration) -> Result<()> {
        sys::poll(self.0.as_raw_fd(), POLLIN, longest.as_millis() as i32);
        // One signal may stand for several ends, and the caller looks at all of them.
        while self.0.read_signal()?.is_some() {}
        Ok(())
    }
}

struct Cast<'d> {
    plan: &'d Plan,
    board: &'static Board,
    ends: Ends,
    file: &'d File,
    devices: u16,
    children: Vec<Child>,
    rng: Rng,
    kills: u64,
    signals: u64,
}

impl Cast<'_> {
    fn start(&self, role: &'static str, index: u64, life: u64) -> Result<Child> {
        let numbers = [
            self.file.as_raw_fd() as u64,
            self.plan.seed,
            index,
            life,
            self.devices.into(),
        ];
        let process = Command::new("/proc/self/exe")
            .arg(role)
            .args(numbers.map(|number| number.to_string()))
            .spawn()
            .context("starting a process")?;
        Ok(Child {
            process,
            role,
            index,
            life,
            killed: false,
            stopped: None,
        })
    }

    fn play(&mut self, started: Instant, janitor: &Janitor) -> Result<()> {
        for index in 0..self.plan.processes {
            self.children.push(self.start("player", index, 0)?);
        }
        for index in 0..self.plan.users {
            self.children.push(self.start("load", index, 0)?);
        }
        let mut pulse = Pulse::new();
        let mut told = Instant::now();
        loop {
            self.ends.wait(tick())?;
            let calls = self.board.calls.load(Relaxed);
            let enough = self.plan.calls != 0 && calls >= self.plan.calls;
            let late = self.plan.time.is_some_and(|time| started.elapsed() >= time);
            if enough || late {
                return Ok(());
            }
            self.replace()?;
            self.disturb();
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                let (seconds, findings) = (started.elapsed(), self.board.findings.load(Relaxed));
                eprintln!(
                    "fuzz: {:.0} s, {calls} calls, findings={findings}",
                    seconds.as_secs_f32()
                );
            }
            if let Some(what) = pulse.missing(self.board).or_else(|| janitor.missing()) {
                self.board.finding(&what);
                // Where everything waits, for the log.
                let _ = fs::write("/proc/sysrq-trigger", "w");
                return Ok(());
            }
        }
    }

    /// Puts a new process in the place of each that has ended.
    fn replace(&mut self) -> Result<()> {
        for at in 0..self.children.len() {
            let child = &mut self.children[at];
            let Some(status) = child.process.try_wait()? else {
                continue;
            };
            let (role, index, life) = (child.role, child.index, child.life + 1);
            let over = self.plan.calls != 0 && self.board.calls.load(Relaxed) >= self.plan.calls;
            let at_the_end = status.success() && over;
            if !child.killed && !at_the_end {
                self.board
                    .finding(&format!("a {role} ended by itself: {status}"));
            }
            self.children[at] = self.start(role, index, life)?;
        }
        // Orphans of those that forked and were killed.
        reap(&self.children);
        Ok(())
    }

    /// Does something to somebody, and lets those go on that were stopped.
    fn disturb(&mut self) {
        for child in &mut self.children {
            if child.stopped.is_some_and(|until| Instant::now() > until) {
                child.stopped = None;
                send(child, Signal::SIGCONT);
            }
        }
        if !self.rng.one_in(3) {
            return;
        }
        let at = self.rng.below(self.children.len() as u64) as usize;
        let child = &mut self.children[at];
        // A process in the place of a killed one takes as long as hundreds of calls.
        match self.rng.below(20) {
            0 => {
                child.killed = true;
                self.kills += 1;
                send(child, Signal::SIGKILL);
            }
            1..=3 => {
                child.stopped = Some(Instant::now() + Duration::from_millis(self.rng.below(150)));
                send(child, Signal::SIGSTOP);
            }
            4..=11 if child.role == "player" => send(child, Signal::SIGUSR2),
            _ if child.role == "player" => send(child, Signal::SIGUSR1),
            _ => return,
        }
        self.signals += 1;
    }

    /// Ends all of them, and whatever they have left.
    fn dismiss(&mut self) -> Result<()> {
        self.board.stop.store(1, Relaxed);
        let begun = Instant::now();
        let mut children = std::mem::take(&mut self.children);
        for child in &children {
            send(child, Signal::SIGCONT);
        }
        while !children.is_empty() {
            if begun.elapsed() > Duration::from_secs(2) {
                children
                    .iter()
                    .for_each(|child| send(child, Signal::SIGKILL));
            }
            if begun.elapsed() > hangs() {
                let stuck: Vec<_> = children.iter().map(|child| child.process.id()).collect();
                let _ = fs::write("/proc/sysrq-trigger", "w");
                self.board
                    .finding(&format!("processes do not end: {stuck:?}"));
                anyhow::bail!("processes {stuck:?} do not end");
            }
            children.retain_mut(|child| matches!(child.process.try_wait(), Ok(None)));
            if !children.is_empty() {
                self.ends.wait(tick())?;
            }
        }
        loop {
            let orphans = orphans();
            for &orphan in &orphans {
                let _ = kill(orphan, Signal::SIGKILL);
            }
            reap(&[]);
            if orphans.is_empty() {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < 2 * hangs(),
                "orphans do not end: {orphans:?}"
            );
            self.ends.wait(tick())?;
        }
    }
}

fn send(child: &Child, signal: Signal) {
    // It is not reaped yet, so its number is its own.
    let _ = kill(Pid::from_raw(child.process.id() as i32), signal);
}

/// Reaps orphans that came to us.
fn reap(children: &[Child]) {
    for orphan in orphans() {
        if !children
            .iter()
            .any(|child| child.process.id() as i32 == orphan.as_raw())
        {
            if let Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) =
                waitpid(orphan, Some(WaitPidFlag::WNOHANG))
            {
                continue;
            }
        }
    }
}

/// Our children.
fn orphans() -> Vec<Pid> {
    let own = std::process::id();
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            let pids: Vec<_> = text
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect();
            pids
        })
        .filter(|&pid: &i32| pid as u32 != own)
        .map(Pid::from_raw)
        .collect()
}

// --- Figures ------------------------------------------------------------------------------------

fn all(board: &Board, which: impl Fn(usize) -> bool) -> u64 {
    let rows = board.outcomes.iter();
    rows.flat_map(|row| row.iter().enumerate())
        .filter(|(errno, _)| which(*errno))
        .map(|(_, count)| count.load(Relaxed))
        .sum()
}

fn name(errno: usize) -> String {
    match errno {
        0 => "ok".to_string(),
        errno => format!("{:?}", Errno::from_raw(errno as i32)),
    }
}

/// A line for each call: how often it was answered how.
fn tables(board: &Board) -> String {
    let rows = KINDS.iter().map(|kind| kind.name).zip(&board.outcomes);
    let entries = std::iter::once(("entries of done", &board.entries));
    let mut text = String::new();
    for (what, row) in rows.chain(entries) {
        let _ = write!(text, "fuzz: {what}:");
        for (errno, count) in row.iter().enumerate() {
            match count.load(Relaxed) {
                0 => {}
                count => {
                    let _ = write!(text, " {}={count}", name(errno));
                }
            }
        }
        text.push('\n');
    }
    text
}

/// What is documented and was never seen.
fn missed(board: &Board) -> Vec<String> {
    let long = board.calls.load(Relaxed) >= LONG;
    let mut missed = Vec::new();
    let mut must = |what: &str, errnos: &[i32], row: &[AtomicU64]| {
        for &errno in errnos {
            if row[crate::board::place(errno)].load(Relaxed) == 0 {
                missed.push(format!("{what} {}", name(errno as usize)));
            }
        }
    };
    for (kind, row) in KINDS.iter().zip(&board.outcomes) {
        must(kind.name, kind.always, row);
        if long {
            must(kind.name, kind.long, row);
        }
    }
    must("an entry with", ENTRIES.0, &board.entries);
    let counts = [
        ("a request that was taken", &board.taken),
        ("a 32-bit call", &board.compat),
        ("a call of a forked process", &board.forks),
        ("a page that came late", &board.slow_pages),
        ("memory that raced", &board.races),
        ("I/O on a disk", &board.io),
    ];
    for (what, count) in counts {
        if count.load(Relaxed) == 0 {
            missed.push(what.to_string());
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_is_missed() {
        let (board, _file) = Board::new().unwrap();
        let at_first = missed(board);
        assert!(at_first.contains(&"status ok".to_string()), "{at_first:?}");
        board.count(crate::calls::is::STATUS, 0);
        let then = missed(board);
        assert_eq!(then.len() + 1, at_first.len());
        assert!(tables(board).contains("fuzz: status: ok=1\n"));
    }
}
