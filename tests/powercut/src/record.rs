// SPDX-License-Identifier: MIT

//! Records a disk: makes one, serves it, and has a load run on a file system there.
//!
//! The worker writes into the log what it takes and what it is about to acknowledge. It can be told
//! to lie, so that the rest can be seen to notice.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use abuse::backend::{File, FileOptions};
use abuse::{
    Backend, Capabilities, Device, Failure, Operation, Outcome, Request, Setup, Stop, Take, Worker,
};
use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::errno::Errno;

use crate::fsck::Kind;
use crate::load;
use crate::log::{Log, Shape};

/// What is written whole by every disk: file systems of today rely on it.
const BLOCK: u32 = 4096;
/// Small requests, so that there are more of them.
const MAX_BYTES: u32 = 128 << 10;
/// Threads of the worker.
const THREADS: usize = 2;

/// A disk that does not do what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Flushes are acknowledged and never done.
    DropFlush,
    /// Flushes are acknowledged at once, and done only with the next.
    EarlyFlush,
    /// FUA is ignored.
    DropFua,
    /// A disk without a volatile cache has one.
    HiddenCache,
}

impl FromStr for Lie {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Lie> {
        Ok(match name {
            "drop-flush" => Lie::DropFlush,
            "early-flush" => Lie::EarlyFlush,
            "drop-fua" => Lie::DropFua,
            "hidden-cache" => Lie::HiddenCache,
            _ => bail!("{name}: there are drop-flush, early-flush, drop-fua and hidden-cache"),
        })
    }
}

/// What to record.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The control node of a device that is not set up.
    pub device: PathBuf,
    /// The log, a new file; best in memory.
    pub log: PathBuf,
    /// What the disk gets.
    pub kind: Kind,
    /// Its mount options.
    pub options: String,
    /// The words of both.
    pub about: String,
    /// A disk without a volatile cache.
    pub write_through: bool,
    /// Steps of each thread of the load.
    pub steps: u64,
    /// Which steps.
    pub seed: u64,
    /// Take and put requests one by one, with everything that is taken together in flight together,
    /// instead of with a [`Worker`].
    pub by_hand: bool,
    /// How the disk lies.
    pub lie: Option<Lie>,
    /// A directory for the disk's contents and the mount, which is not there yet.
    pub place: PathBuf,
}

/// Records; what the device counted is in its status until the next set-up.
pub fn record(plan: &Plan) -> Result<()> {
    let device = Device::open(&plan.device)?;
    let setup = Setup {
        logical_block: BLOCK,
        write_through: plan.write_through,
        fua: !plan.write_through,
        discard: true,
        write_zeroes: true,
        max_bytes: MAX_BYTES,
        ..Setup::new(plan.kind.bytes())
    };
    std::fs::create_dir(&plan.place).with_context(|| plan.place.display().to_string())?;
    let setup = device.setup(&setup)?;
    let result = served(plan, &device, &setup);
    // Behind a failure there may be a mount that nobody serves any more.
    let forced = result.is_err();
    let gone = device.reset(forced, Some(Duration::from_secs(30)));
    result?;
    gone?;
    std::fs::remove_dir_all(&plan.place)?;
    Ok(())
}

fn served(plan: &Plan, device: &Device, setup: &Setup) -> Result<()> {
    let shape = Shape {
        about: plan.about.clone(),
        seed: plan.seed,
        ..Shape::new(
            setup.bytes,
            u64::from(setup.logical_block),
            plan.write_through && plan.lie != Some(Lie::HiddenCache),
        )
    };
    let log = Log::create(&plan.log, &shape)?;
    let options = FileOptions {
        create: true,
        ..FileOptions::for_disk(setup)
    };
    let recorder = Recorder {
        log: &log,
        disk: File::open(plan.place.join("disk"), &options)?,
        lie: plan.lie,
        owed: Mutex::new(None),
    };
    // A file of its own: what is taken through it is offered again when it is closed.
    let worker = Worker::new(Device::open(&plan.device)?)
        .threads(THREADS)
        .harden(false);
    let stop = worker.stop_handle();
    thread::scope(|scope| {
        let server = if plan.by_hand {
            let (recorder, stop) = (&recorder, &stop);
            scope.spawn(move || serve_by_hand(device, recorder, stop))
        } else {
            scope.spawn(|| Ok(worker.run(&recorder).map(drop)?))
        };
        let loaded = loaded(plan, device, &log);
        if loaded.is_err() {
            // Nothing may wait for the worker that is about to go.
            let _ = device.reset(true, None);
        }
        stop.stop();
        let server = server.join().map_err(|_| anyhow!("the worker panicked"))?;
        loaded.and(server)
    })
}

fn loaded(plan: &Plan, device: &Device, log: &Log) -> Result<()> {
    let disk = device.disk_path();
    let place = plan.place.join("mount");
    std::fs::create_dir(&place)?;
    run(plan.kind.mkfs(), &[&disk])?;
    let options = match plan.options.as_str() {
        "" => "defaults",
        options => options,
    };
    run(&["mount", "-o", options], &[&disk, &place])?;
    let loaded = load::prepare(&place).and_then(|()| {
        log.base()?;
        load::run(&place, plan.seed, Some(plan.steps), &|thread, steps| {
            log.mark(thread, steps)
        })
    });
    let unmounted = run(&["umount"], &[&place]);
    loaded.and(unmounted)
}

fn run(words: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(paths)
        .output()
        .with_context(|| format!("starting {}", words[0]))?;
    ensure!(
        output.status.success(),
        "{}: {}: {}",
        words[0],
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The disk, in a file, and the log of what happens to it.
struct Recorder<'l> {
    log: &'l Log,
    disk: File,
    lie: Option<Lie>,
    /// A flush that was acknowledged and is still to be done.
    owed: Mutex<Option<u64>>,
}

impl Recorder<'_> {
    fn fua(&self, fua: bool) -> bool {
        fua && !matches!(self.lie, Some(Lie::DropFua | Lie::HiddenCache))
    }

    fn begin_write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<u64> {
        self.log.write(offset, data, self.fua(fua))
    }

    fn begin_zeroes(&self, offset: u64, length: u64, fua: bool) -> io::Result<u64> {
        self.log.zeroes(offset, length, self.fua(fua))
    }

    /// `None`: it will not be done.
    fn begin_flush(&self) -> io::Result<Option<u64>> {
        match self.lie {
            Some(Lie::DropFlush | Lie::HiddenCache) => Ok(None),
            _ => self.log.flush().map(Some),
        }
    }

    fn end_flush(&self, id: Option<u64>) -> io::Result<()> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match self.lie {
            Some(Lie::EarlyFlush) => std::mem::replace(&mut *owed, id),
            _ => id,
        };
        done.map_or(Ok(()), |id| self.log.done(id))
    }

    /// One request by hand: writes down that it began; `None` for a read.
    fn begin(&self, request: &Request) -> io::Result<Option<u64>> {
        let (offset, length) = (request.offset(), request.length() as u64);
        match request.operation() {
            Operation::Read => Ok(None),
            Operation::Flush => self.begin_flush(),
            Operation::Write => self
                .begin_write(offset, request.data(), request.fua())
                .map(Some),
            _ => self.begin_zeroes(offset, length, request.fua()).map(Some),
        }
    }

    /// Does it, writes down that it is done, and acknowledges it.
    fn end(&self, request: Request, id: Option<u64>) -> Result<()> {
        let (offset, length) = (request.offset(), request.length());
        match request.operation() {
            Operation::Read => {
                let mut data = vec![0; length];
                self.disk.read(offset, &mut data)?;
                return Ok(request.complete(Outcome::Data(&data))?);
            }
            Operation::Flush => {
                self.end_flush(id)?;
                return Ok(request.complete(Outcome::Done)?);
            }
            Operation::Write => self.disk.write(offset, request.data(), false)?,
            Operation::Discard | Operation::WriteZeroes => {
                self.disk.write_zeroes(offset, length as u64, true)?;
            }
            Operation::SecureErase => {
                return Ok(request.complete(Outcome::Failed(Failure::NotSupported))?);
            }
        }
        if let Some(id) = id {
            self.log.done(id)?;
        }
        Ok(request.complete(Outcome::Done)?)
    }
}

impl Backend for &Recorder<'_> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        let id = self.begin_write(offset, buf, durable)?;
        self.disk.write(offset, buf, false)?;
        self.log.done(id)
    }

    fn flush(&self) -> io::Result<()> {
        let id = self.begin_flush()?;
        self.end_flush(id)
    }

    fn capabilities(&self) -> Capabilities {
        self.disk.capabilities()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_zeroes(offset, length, true)
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> io::Result<()> {
        let id = self.begin_zeroes(offset, length, false)?;
        self.disk.write_zeroes(offset, length, may_unmap)?;
        self.log.done(id)
    }
}

fn serve_by_hand(device: &Device, recorder: &Recorder<'_>, stop: &Stop) -> Result<()> {
    let options = Take {
        max: 16,
        min: 1,
        timeout: Some(Duration::from_millis(100)),
        ..Take::default()
    };
    while !stop.is_stopping() {
        let taken = match device.take(&options) {
            Err(error) if error.errno() == Some(Errno::EINTR as i32) => continue,
            taken => taken?,
        };
        let begun: Vec<_> = taken
            .into_iter()
            .map(|request| recorder.begin(&request).map(|id| (request, id)))
            .collect::<io::Result<_>>()?;
        // The last first: what is in flight together has no order.
        for (request, id) in begun.into_iter().rev() {
            recorder.end(request, id)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::{History, Pick};

    /// The blocks of a tiny disk after two writes and a flush that this backend acknowledged, when
    /// the power fails then and takes all it can.
    fn survives(lie: Option<Lie>, fua: bool) -> bool {
        let place = std::env::temp_dir();
        let name = format!("powercut-record-{}-{lie:?}-{fua}", std::process::id());
        let options = FileOptions {
            create: true,
            buffered: true,
            ..FileOptions::for_disk(&Setup::new(8192))
        };
        let log = Log::in_memory(&Shape::new(8192, 4096, false)).unwrap();
        let path = place.join(name);
        let recorder = Recorder {
            log: &log,
            disk: File::open(&path, &options).unwrap(),
            lie,
            owed: Mutex::new(None),
        };
        (&recorder).write(4096, &[1; 4096], fua).unwrap();
        if !fua {
            (&recorder).flush().unwrap();
        }
        drop(recorder);
        std::fs::remove_file(path).unwrap();
        let history = History::parse(log.into_bytes()).unwrap();
        let end = history.positions().end - 1;
        history.state(end, Pick::Durable).image()[4096] == 1
    }

    #[test]
    fn a_recorder_is_honest_unless_told_otherwise() {
        assert!(survives(None, false) && survives(None, true));
        assert!(!survives(Some(Lie::DropFlush), false));
        assert!(!survives(Some(Lie::EarlyFlush), false));
        assert!(!survives(Some(Lie::DropFua), true));
        assert!(!survives(Some(Lie::HiddenCache), true));
    }
}
