// SPDX-License-Identifier: MIT

//! Races of life and death: each step of a device's life against everything that goes on meanwhile.
//!
//! A round sets a device up, lets an [`Opponent`] loose on it, takes an [`Act`] at a random moment,
//! and then demands that everything ends: every call returns, the device becomes empty, every request
//! that came has ended once. What is random comes from the pair and the number of the round, so that a
//! run can be resumed, and one round repeated.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use abuse::abi::{self, Done, Take};
use abuse::{Device, NewDevice, Registry, Setup, State};
use abuse_scenarios::kit::disk::every_request_ended;
use abuse_scenarios::kit::raw::{well, within, Memory, Raw};
use abuse_scenarios::kit::{wait_for, wait_until};
use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::errno::Errno;
use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};
use nix::libc::{O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDWR, POLLIN};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::waitpid;

use crate::rng::Rng;
use crate::sys::{self, Region};

/// A step of a device's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A new disk, as soon as the old one begins to go.
    Setup,
    /// The end of the disk, forced or not, waited for or not.
    Reset,
    /// Opens of the disk and of its control node.
    Open,
    /// Closes of files through which requests were taken.
    Close,
    /// Polls, waiting and not.
    Poll,
    /// Another device comes, gets a disk, and goes.
    Add,
    /// The device goes, forced or not, waited for or not, and comes again.
    Remove,
    /// The disk grows and shrinks.
    Resize,
    /// Unloading the module, from when it is refused until it succeeds.
    Unload,
}

/// What goes on meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opponent {
    /// Reads, writes and flushes that are served.
    Io,
    /// Looks for partitions, served slowly.
    Scan,
    /// I/O whose workers are killed.
    Killed,
}

/// All pairs.
pub const ACTS: [Act; 9] = [
    Act::Setup,
    Act::Reset,
    Act::Open,
    Act::Close,
    Act::Poll,
    Act::Add,
    Act::Remove,
    Act::Resize,
    Act::Unload,
];
/// Against each of these.
pub const OPPONENTS: [Opponent; 3] = [Opponent::Io, Opponent::Scan, Opponent::Killed];

/// Where the module is.
const MODULE: &str = "/run/abuse/abuse.ko";
/// Longest that anything may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a disk.
const BYTES: u64 = 1 << 20;
const BLKRRPART: u32 = 0x125f;

/// What was done, over all rounds.
#[derive(Debug, Default)]
pub struct Figures {
    /// Operations on disks that went well.
    pub io: AtomicU64,
    /// ... that ended with an error, as those must that a reset meets.
    pub io_failed: AtomicU64,
    /// Looks for partitions.
    pub scans: AtomicU64,
    /// Requests that workers took.
    pub taken: AtomicU64,
    /// Workers that were killed.
    pub kills: AtomicU64,
    /// Times the module went.
    pub unloads: AtomicU64,
    /// Devices that were removed and came again.
    pub removes: AtomicU64,
    /// Times it was in use.
    pub in_use: AtomicU64,
    /// Acts of the other kinds that were refused, as they may be.
    pub refused: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

/// One round.
struct Round<'r> {
    number: u32,
    opponent: Opponent,
    over: AtomicBool,
    figures: &'r Figures,
}

/// Runs one round of a pair.
pub fn round(act: Act, opponent: Opponent, index: u64, figures: &Figures) -> Result<()> {
    let mut rng = Rng::new(&[act as u64, opponent as u64, index]);
    let number = rng.below(2) as u32;
    let round = Round {
        number,
        opponent,
        over: AtomicBool::new(false),
        figures,
    };
    round.device()?.setup(&shape(&mut rng))?;
    thread::scope(|scope| -> Result<()> {
        let mut others = Vec::new();
        for index in 0..3 {
            let rng = Rng::new(&[rng.draw(), index]);
            let round = &round;
            others.push(scope.spawn(move || match (opponent, index) {
                (Opponent::Killed, 0) => round.kill_workers(rng),
                (_, 0) => round.serve(rng),
                (Opponent::Scan, _) => round.scan(rng),
                _ => round.use_disk(rng),
            }));
        }
        let pause = rng.below(12_000);
        thread::sleep(Duration::from_micros(pause));
        let acted = round.act(act, &mut rng);
        round.over.store(true, Relaxed);
        // Whoever waits for a worker that will not come.
        let ended = round.end();
        for other in others {
            other.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        acted.and(ended)
    })?;
    round.empty()
}

/// A disk in one of several shapes.
fn shape(rng: &mut Rng) -> Setup {
    Setup {
        logical_block: rng.pick(&[512, 4096]),
        depth: rng.pick(&[1, 4, 64]),
        queues: rng.pick(&[1, 2]),
        partscan: !rng.one_in(3),
        write_through: rng.one_in(2),
        ..Setup::new(BYTES)
    }
}

impl Round<'_> {
    fn control(&self) -> String {
        format!("/dev/abctl{}", self.number)
    }

    fn disk(&self) -> std::ffi::CString {
        std::ffi::CString::new(format!("/dev/abuse{}", self.number)).unwrap_or_default()
    }

    fn device(&self) -> Result<Device> {
        Ok(Device::open(self.control())?)
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    // --- What goes on meanwhile -----------------------------------------------------------------

    /// Serves, through a file that is opened anew now and then: also while there is no disk, or no
    /// module.
    fn serve(&self, mut rng: Rng) -> Result<()> {
        let arena = Memory::new(1 << 20)?;
        let slow = self.opponent == Opponent::Scan;
        while self.goes_on() {
            let Ok(raw) = Raw::open(&self.control()) else {
                thread::yield_now();
                continue;
            };
            let mut done: Vec<Done> = Vec::new();
            for _ in 0..=rng.below(8) {
                let mut take = [Take::default(); 8];
                let how = within(&arena, Duration::from_millis(rng.below(4)));
                match raw.exchange(&mut done, &mut take, how) {
                    Ok(exchange) => {
                        let taken = exchange.taken as usize;
                        self.figures.taken.fetch_add(taken as u64, Relaxed);
                        done = take[..taken].iter().map(well).collect();
                    }
                    Err(Errno::ENXIO | Errno::ENODEV) => break,
                    Err(other) => bail!("EXCHANGE: {other}"),
                }
                if slow {
                    thread::sleep(Duration::from_micros(rng.below(3000)));
                }
            }
            // What it still has is offered again by the close, or completed before it.
            if rng.one_in(2) {
                let _ = raw.put(&mut done);
            }
        }
        Ok(())
    }

    /// A worker after the other, killed wherever it is.
    fn kill_workers(&self, mut rng: Rng) -> Result<()> {
        let region = Region::new(sys::WORKER_ROOM)?;
        let path = std::ffi::CString::new(self.control())?;
        while self.goes_on() {
            let worker = sys::fork_worker(&path, &region)?;
            thread::sleep(Duration::from_micros(rng.below(6000)));
            kill(worker, Signal::SIGKILL)?;
            waitpid(worker, None)?;
            add(&self.figures.kills);
        }
        Ok(())
    }

    /// Reads, writes and flushes.
    fn use_disk(&self, mut rng: Rng) -> Result<()> {
        let region = Region::new(1 << 16)?;
        while self.goes_on() {
            let Ok(fd) = sys::open(&self.disk(), O_RDWR | O_DIRECT | O_CLOEXEC) else {
                thread::yield_now();
                continue;
            };
            for _ in 0..=rng.below(6) {
                let (len, at) = (4096 << rng.below(4), rng.below(BYTES / 65536) * 65536);
                let errno = match rng.below(8) {
                    0 => sys::fsync(fd),
                    1..=4 => sys::pwrite(fd, &region, len, at),
                    _ => sys::pread(fd, &region, len, at),
                };
                match errno {
                    0 => add(&self.figures.io),
                    _ => add(&self.figures.io_failed),
                }
                if !self.goes_on() || errno != 0 {
                    break;
                }
            }
            sys::close(fd);
        }
        Ok(())
    }

    /// Looks for partitions.
    fn scan(&self, mut rng: Rng) -> Result<()> {
        while self.goes_on() {
            let flags = O_RDWR | O_CLOEXEC | rng.pick(&[0, O_NONBLOCK]);
            let Ok(fd) = sys::open(&self.disk(), flags) else {
                thread::yield_now();
                continue;
            };
            if sys::disk_ioctl(fd, BLKRRPART, [0; 2]) == 0 {
                add(&self.figures.scans);
            }
            sys::close(fd);
        }
        Ok(())
    }

    // --- The acts -------------------------------------------------------------------------------

    fn act(&self, act: Act, rng: &mut Rng) -> Result<()> {
        match act {
            Act::Setup => self.set_up_again(rng),
            Act::Reset => self.reset(rng),
            Act::Open => self.open(rng),
            Act::Close => self.close(rng),
            Act::Poll => self.poll(rng),
            Act::Add => self.add(rng),
            Act::Remove => self.remove(rng),
            Act::Resize => self.resize(rng),
            Act::Unload => self.unload(rng),
        }
    }

    fn set_up_again(&self, rng: &mut Rng) -> Result<()> {
        let device = self.device()?;
        for _ in 0..3 {
            let _ = device.reset(true, None);
            thread::sleep(Duration::from_micros(rng.below(300)));
            device.setup(&shape(rng))?;
            thread::sleep(Duration::from_micros(rng.below(3000)));
        }
        Ok(())
    }

    fn reset(&self, rng: &mut Rng) -> Result<()> {
        let device = self.device()?;
        let wait = rng.pick(&[None, Some(Duration::from_micros(50)), Some(PATIENCE)]);
        let force = !rng.one_in(4);
        match device.reset(force, wait) {
            Ok(_) => {}
            Err(error) if !force && error.errno() == Some(Errno::EBUSY as i32) => {
                add(&self.figures.refused);
            }
            Err(error)
                if wait != Some(PATIENCE) && error.errno() == Some(Errno::EINPROGRESS as i32) => {}
            Err(error) => bail!("RESET2: {error}"),
        }
        Ok(())
    }

    fn open(&self, rng: &mut Rng) -> Result<()> {
        for _ in 0..4 {
            let raw = Raw::open(&self.control())?;
            raw.status()?;
            thread::scope(|scope| {
                let opener = scope.spawn(|| {
                    if let Ok(fd) = sys::open(&self.disk(), O_RDWR | O_CLOEXEC) {
                        sys::close(fd);
                    }
                });
                thread::sleep(Duration::from_micros(rng.below(1000)));
                // An open waits for a scan, which waits for a worker that may be gone.
                if rng.one_in(2) || opener.is_finished() {
                    let _ = self
                        .device()
                        .and_then(|device| Ok(device.reset(true, None)?));
                }
                while !opener.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                    if rng.one_in(50) {
                        let _ = self
                            .device()
                            .and_then(|device| Ok(device.reset(true, None)?));
                    }
                }
            });
        }
        Ok(())
    }

    fn close(&self, rng: &mut Rng) -> Result<()> {
        let arena = Memory::new(1 << 20)?;
        for _ in 0..6 {
            let raw = Raw::open(&self.control())?;
            let mut take = [Take::default(); 8];
            let how = within(&arena, Duration::from_millis(rng.below(3)));
            if let Ok(exchange) = raw.exchange(&mut [], &mut take, how) {
                self.figures.taken.fetch_add(exchange.taken.into(), Relaxed);
            }
            // A second thread may be in a call through the same file.
            let other = raw.file()?;
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mut status = abi::Status {
                        size: size_of::<abi::Status>() as u32,
                        ..abi::Status::default()
                    };
                    let fd = std::os::fd::AsFd::as_fd(&other);
                    abuse_scenarios::kit::raw::call_on(fd, abi::IOC_STATUS, &mut status)
                });
                drop(raw);
            });
        }
        Ok(())
    }

    fn poll(&self, rng: &mut Rng) -> Result<()> {
        let raw = Raw::open(&self.control())?;
        thread::scope(|scope| -> Result<()> {
            let poller = scope.spawn(|| -> Result<()> {
                for _ in 0..6 {
                    let other = Raw::open(&self.control())?;
                    other.poll(POLLIN, 2)?;
                }
                Ok(())
            });
            for _ in 0..6 {
                raw.poll(POLLIN | 0x400, rng.below(3) as u16)?;
            }
            let _ = self.device()?.reset(true, None);
            let said = raw.poll(POLLIN, 30_000)?;
            ensure!(said != 0, "poll slept over a reset");
            poller.join().map_err(|_| anyhow!("a poller panicked"))?
        })
    }

    fn add(&self, rng: &mut Rng) -> Result<()> {
        let registry = Registry::open()?;
        for _ in 0..2 {
            let added = registry.add(&NewDevice::default())?;
            let device = Device::open(added.number.to_string())?;
            device.setup(&shape(rng))?;
            thread::sleep(Duration::from_micros(rng.below(1000)));
            registry.remove(added.number, Some(added.sequence), true, Some(PATIENCE))?;
        }
        Ok(())
    }

    fn remove(&self, rng: &mut Rng) -> Result<()> {
        let registry = Registry::open()?;
        let sequence = self.device()?.status()?.sequence;
        let wait = rng.pick(&[None, Some(Duration::from_micros(50)), Some(PATIENCE)]);
        let force = !rng.one_in(4);
        let removed = registry.remove(self.number, Some(sequence), force, wait);
        match removed.map_err(|error| (error.errno().map(Errno::from_raw), error)) {
            Ok(_) => {}
            Err((Some(Errno::EINPROGRESS), _)) if wait != Some(PATIENCE) => {}
            Err((Some(Errno::EBUSY), _)) if !force => {
                add(&self.figures.refused);
                return Ok(());
            }
            Err((_, error)) => bail!("REMOVE: {error}"),
        }
        // Its number is free when it is gone, and not before.
        wait_for("the number to be free", PATIENCE, || {
            let added = registry.add(&NewDevice::numbered(self.number));
            match added.map_err(|error| (error.errno().map(Errno::from_raw), error)) {
                Ok(added) => {
                    ensure!(added.sequence > sequence, "a sequence was used again");
                    Ok(Some(()))
                }
                Err((Some(Errno::EBUSY), _)) => Ok(None),
                Err((_, error)) => bail!("ADD: {error}"),
            }
        })?;
        add(&self.figures.removes);
        Ok(())
    }

    fn resize(&self, rng: &mut Rng) -> Result<()> {
        let device = self.device()?;
        for _ in 0..4 {
            let bytes = rng.pick(&[BYTES / 2, BYTES, 4 * BYTES]);
            let force = rng.one_in(2);
            match device.resize(bytes, force) {
                Ok(_) => {}
                Err(error) if !force && error.errno() == Some(Errno::EBUSY as i32) => {
                    add(&self.figures.refused);
                }
                Err(error) => bail!("RESIZE: {error}"),
            }
            thread::sleep(Duration::from_micros(rng.below(1500)));
        }
        Ok(())
    }

    fn unload(&self, rng: &mut Rng) -> Result<()> {
        let unload = || match delete_module(c"abuse", DeleteModuleFlags::O_NONBLOCK) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN | Errno::EBUSY) => {
                add(&self.figures.in_use);
                Ok(false)
            }
            Err(other) => Err(anyhow!("delete_module: {other}")),
        };
        // It is in use: a disk is there.
        ensure!(!unload()?, "the module went although a disk was there");
        self.device()?.reset(true, None)?;
        let begun = Instant::now();
        while !unload()? {
            ensure!(begun.elapsed() < PATIENCE, "the module does not go");
            thread::sleep(Duration::from_micros(rng.below(500)));
        }
        add(&self.figures.unloads);
        load()
    }

    // --- The end --------------------------------------------------------------------------------

    /// Takes the disk away, whatever state it is in, so that nobody waits any more.
    fn end(&self) -> Result<()> {
        match self.device()?.reset(true, Some(PATIENCE)) {
            Err(error) if error.errno() != Some(Errno::ENXIO as i32) => bail!("RESET2: {error}"),
            _ => Ok(()),
        }
    }

    /// Nothing is left of the round.
    fn empty(&self) -> Result<()> {
        let device = self.device()?;
        wait_until("the device to be empty", PATIENCE, || {
            device.status().is_ok_and(|status| {
                let left = status.queued + status.taken + status.draining + status.waiting;
                status.state == State::Empty && left + status.workers == 0
            })
        })
        .with_context(|| format!("{:?}", device.status()))?;
        every_request_ended(&device.status()?)
    }
}

/// Loads the module.
fn load() -> Result<()> {
    let file = File::open(MODULE).context(MODULE)?;
    finit_module(&file, c"", ModuleInitFlags::empty()).context("loading the module")?;
    wait_for("the control nodes", PATIENCE, || {
        Ok(Path::new("/dev/abctl1").exists().then_some(()))
    })
}
