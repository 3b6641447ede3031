// SPDX-License-Identifier: MIT

//! This machine, as one scenario sees it: what it made here is taken away behind it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abuse::setup_keys::{plan, Plan};
use abuse::{backend, Device, NewDevice, Registry, Setup, State, Worker};
use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

use super::command::contents;
use super::disk::{every_request_ended, is_idle};
use super::mount::LoopDevice;
use super::{udev, wait_until, Command, Disk, Mount, PATIENCE};
use crate::runner::Clock;

/// Where backing files and mount points go: a disk of the guest's.
const SCRATCH: &str = "/srv/abuse-scenarios";

/// This machine.
pub struct Guest {
    clock: Arc<Clock>,
    begun: Instant,
    /// The devices that were here before.
    devices: Vec<u32>,
    made: Mutex<Made>,
}

/// What the scenario made.
#[derive(Default)]
struct Made {
    outputs: Vec<(String, File, File)>,
    figures: Vec<String>,
}

/// Why a scenario cannot be run here.
#[derive(Debug)]
pub struct Skipped(String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// Returns from a scenario that cannot be run here: `return skip("there is no io_uring")`.
pub fn skip(reason: &str) -> Result<()> {
    Err(Skipped(reason.to_string()).into())
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guest")
    }
}

impl Guest {
    pub(crate) fn new(clock: Arc<Clock>) -> Result<Guest> {
        fs::create_dir_all(SCRATCH).context(SCRATCH)?;
        clock.stretch(times());
        Ok(Guest {
            clock,
            begun: Instant::now(),
            devices: Device::numbers()?,
            made: Mutex::default(),
        })
    }

    /// Sets up a device that is free, with the keys of `abusectl setup`.
    pub fn disk(&self, keys: &str) -> Result<Disk<'_>> {
        match plan(&[keys]) {
            Ok(Plan::Setup(setup)) => self.disk_of(&setup),
            Ok(Plan::Reconnect(_)) => bail!("{keys}: a disk is made, not reconnected"),
            Err(why) => bail!("{keys}: {why}"),
        }
    }

    /// Sets up a device that is free.
    pub fn disk_of(&self, setup: &Setup) -> Result<Disk<'_>> {
        for number in Device::numbers()? {
            let device = Device::open(number.to_string())?;
            if device.status()?.state == State::Empty {
                return self.disk_on(device, setup);
            }
        }
        bail!("no device is free")
    }

    /// Sets this device up.
    pub fn disk_on(&self, device: Device, setup: &Setup) -> Result<Disk<'_>> {
        let made = device.setup(setup)?;
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())?;
        Ok(Disk::new(self, device, made))
    }

    /// Adds a device with the lowest number that is free. It goes when the scenario is over.
    pub fn add(&self) -> Result<Device> {
        let added = Registry::open()?.add(&NewDevice::default())?;
        Ok(Device::open(added.number.to_string())?)
    }

    /// Runs abusectl; fails unless it ends with this exit code. What it said on both outputs.
    pub fn abusectl(&self, code: i32, words: &[&str]) -> Result<String> {
        let said = self.command("abusectl").args(words).run()?;
        let text = format!("{}{}", said.stdout, said.stderr);
        ensure!(said.status.code() == Some(code), "{words:?}: {said:?}");
        Ok(text)
    }

    /// A program to be run.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command<'_> {
        Command::new(self, program.as_ref())
    }

    /// Mounts a disk.
    pub fn mount(&self, disk: impl AsRef<Path>) -> Result<Mount<'_>> {
        self.mount_with(disk.as_ref(), "defaults")
    }

    /// Mounts what is in a file.
    pub fn mount_loop(&self, file: impl AsRef<Path>) -> Result<Mount<'_>> {
        self.command("modprobe").arg("loop").ok()?;
        self.mount_with(file.as_ref(), "loop")
    }

    /// Mounts with options of mount(8).
    pub fn mount_with(&self, what: &Path, options: &str) -> Result<Mount<'_>> {
        let name = what.file_name().unwrap_or_default().to_string_lossy();
        Mount::new(self, what, self.file(&format!("mount-{name}")), options)
    }

    /// A loop device over a new file.
    pub fn loop_device(&self, file: &Path, bytes: u64) -> Result<LoopDevice<'_>> {
        LoopDevice::new(self, file, bytes)
    }

    /// The path of a backing file of this name, which does not exist yet. On ext4, on a disk.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(SCRATCH).join(name)
    }

    /// A copy of a program of ours, as a file of its own in the place of any that was there, as an
    /// upgrade has it.
    pub fn install(&self, program: &str) -> Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let from = std::env::split_paths(&path)
            .map(|directory| directory.join(program))
            .find(|file| file.is_file())
            .with_context(|| format!("{program} is not on the path"))?;
        let (to, part) = (self.file(program), self.file(&format!("{program}.new")));
        fs::copy(from, &part)?;
        fs::rename(part, &to)?;
        Ok(to)
    }

    /// Gives the scenario so long, from now, instead of five minutes; longer where it is to do more
    /// ([`Guest::times`]).
    pub fn allow(&self, time: Duration) {
        self.clock.allow(time * times());
    }

    /// How often to do what the short form does so many times: a multiple of it in a long run, as
    /// TIMES says.
    pub fn times(&self, short: usize) -> usize {
        short * times() as usize
    }

    /// Something that was counted, to stand behind the scenario's name when it has passed.
    pub fn figure(&self, text: String) {
        self.made().figures.push(text);
    }

    /// What was counted.
    pub(crate) fn figures(&self) -> String {
        self.made().figures.join("; ")
    }

    /// Keeps udevd from reading disks as long as the result lives, for scenarios that count
    /// requests.
    pub fn hold_udev(&self) -> Result<udev::Held> {
        udev::hold()
    }

    pub(super) fn remember_output(&self, title: &str, out: &File, err: &File) -> Result<()> {
        let output = (title.to_string(), out.try_clone()?, err.try_clone()?);
        self.made().outputs.push(output);
        Ok(())
    }

    /// What the programs said, for people.
    pub(crate) fn outputs(&self) -> Vec<(String, String)> {
        let made = self.made();
        made.outputs
            .iter()
            .flat_map(|(title, out, err)| {
                [out, err].map(|file| (title.clone(), contents(file).unwrap_or_default()))
            })
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a scenario that passed: fails unless its devices are idle and every request ended.
    pub(crate) fn check(&self) -> Result<()> {
        // What was killed with its group may take a moment to be gone.
        let _ = wait_until("an end", Duration::from_secs(5), || children().is_empty());
        let strays = children();
        ensure!(
            strays.is_empty(),
            "processes were left: {}",
            strays.join(", ")
        );
        let devices = set_up()?;
        drained(&devices, || self.udevd_rests())?;
        for device in devices {
            every_request_ended(&device.status()?)
                .with_context(|| device.disk_path().display().to_string())?;
        }
        Ok(())
    }

    /// Removes the devices that the scenario added, and adds those that it removed.
    fn devices_as_before(&self) -> Result<()> {
        let now = Registry::list()?;
        if now
            .iter()
            .map(|device| device.number)
            .eq(self.devices.iter().copied())
        {
            return Ok(());
        }
        let registry = Registry::open()?;
        for device in &now {
            if !self.devices.contains(&device.number) {
                registry.remove(device.number, Some(device.sequence), true, Some(PATIENCE))?;
            }
        }
        for &number in &self.devices {
            if now.iter().all(|device| device.number != number) {
                registry.add(&NewDevice::numbered(number))?;
            }
        }
        Ok(())
    }

    /// Waits until udevd has looked at everything. It may have been held, and then has all of it
    /// before it: that may take it as long as it took others to do it.
    fn udevd_rests(&self) -> Result<()> {
        udev::settle_within(Duration::from_secs(20) + self.begun.elapsed())
    }

    /// Takes away whatever is left, also behind one that failed. An error means that the machine is
    /// no place to run anything else.
    pub(crate) fn tidy(&self) -> Result<()> {
        kill_children();
        unmount_all();
        for device in set_up()? {
            let name = device.disk_path().display().to_string();
            match device.reset(true, Some(PATIENCE)) {
                Err(error) if error.errno() != Some(Errno::ENXIO as i32) => {
                    return Err(anyhow!(error));
                }
                _ => {}
            }
            wait_until(&format!("{name} to be empty"), PATIENCE, || {
                device.status().is_ok_and(|status| {
                    status.state == State::Empty && status.taken + status.queued == 0
                })
            })?;
        }
        self.devices_as_before()?;
        wait_until("all processes to end", PATIENCE, || {
            kill_children();
            children().is_empty()
        })?;
        self.udevd_rests()?;
        fs::remove_dir_all(SCRATCH).context(SCRATCH)?;
        for entry in fs::read_dir("/dev/shm")?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("abuse-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// How many times as much as in the short form is to be done.
fn times() -> u32 {
    let word = std::env::var("ABUSE_TIMES").ok();
    word.and_then(|word| word.parse().ok())
        .map_or(1, |times: u32| times.max(1))
}

/// The devices that are set up, or being reset.
fn set_up() -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for number in Device::numbers()? {
        let device = Device::open(number.to_string())?;
        if device.status()?.state != State::Empty {
            devices.push(device);
        }
    }
    Ok(devices)
}

/// Nobody has the disks open any more. Their workers are gone, but udevd may have come to look at
/// what was written: for it somebody answers who knows nothing, on all disks at once, because it
/// looks at one after the other.
fn drained(devices: &[Device], rests: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut workers = Vec::new();
    for device in devices {
        let status = device.status()?;
        if !is_idle(&status) || status.state == State::Live {
            let worker = Worker::new(Device::open(device.number().to_string())?).harden(false);
            let stop = worker.stop_handle();
            let served = std::thread::spawn(move || worker.run(backend::Null));
            workers.push((stop, served));
        }
    }
    if workers.is_empty() {
        return Ok(());
    }
    let mut idle = rests();
    for device in devices {
        idle = idle.and_then(|()| {
            wait_until("the disk to be idle", PATIENCE, || {
                device.status().is_ok_and(|status| is_idle(&status))
            })
            .with_context(|| format!("{}: {:?}", device.disk_path().display(), device.status()))
        });
    }
    for (stop, served) in workers {
        stop.stop();
        let served = served.join().map_err(|_| anyhow!("a worker panicked"))?;
        idle = idle.and(served.map(drop).map_err(Into::into));
    }
    idle
}

/// The processes that this one has to look after, which is the reaper of orphans, too.
fn children() -> Vec<String> {
    reap();
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in processes.flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let fields = stat
            .rsplit_once(')')
            .map(|(name, rest)| (name, rest.split_whitespace()));
        if let Some((name, mut rest)) = fields {
            if rest.nth(1) == Some(own.as_str()) {
                found.push(format!("{name})"));
            }
        }
    }
    found
}

fn kill_children() {
    for child in children() {
        let pid = child.split(' ').next().and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    reap();
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// What is mounted below the scratch place, the last first.
fn unmount_all() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let place = line.split(' ').nth(1).unwrap_or_default();
        if place.starts_with(SCRATCH) {
            let _ = nix::mount::umount2(place, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}
