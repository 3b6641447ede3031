// SPDX-License-Identifier: MIT

//! The driver's calls as they are, for scenarios about what they refuse.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use abuse::abi::{self, Done, Exchange, Take};
use abuse::{Device, State};
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::memfd::{memfd_create, MFdFlags};

use super::sys;
pub use super::sys::{address_of, call, call_on, handle, Memory, Plain, Tarpit, PAGE};

/// An open control node.
#[derive(Debug)]
pub struct Raw {
    file: File,
}

/// An address where nothing is, and never will be.
pub const NOWHERE: u64 = 16;

impl Raw {
    /// Opens it for reading and writing.
    pub fn open(path: &str) -> Result<Raw> {
        Raw::open_for(path, true)
    }

    /// Opens it for reading only.
    pub fn open_read_only(path: &str) -> Result<Raw> {
        Raw::open_for(path, false)
    }

    fn open_for(path: &str, write: bool) -> Result<Raw> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(write).open(path);
        Ok(Raw {
            file: file.with_context(|| path.to_string())?,
        })
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The open file, for another process.
    pub fn file(&self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }

    /// Any call, on a struct.
    pub fn call<T: Plain>(&self, number: u32, argument: &mut T) -> nix::Result<()> {
        call_on(self.fd(), number, argument)
    }

    /// Any call, on an address.
    pub fn call_at(&self, number: u32, address: u64) -> nix::Result<()> {
        call(self.fd(), number, address)
    }

    /// Completes and takes; `how` says how long to wait, and where the arena is.
    pub fn exchange(
        &self,
        done: &mut [Done],
        take: &mut [Take],
        how: Exchange,
    ) -> nix::Result<Exchange> {
        let mut exchange = Exchange {
            size: size_of::<Exchange>() as u32,
            done: address_of(done),
            done_count: done.len() as u32,
            take: address_of(take),
            take_max: take.len() as u32,
            ..how
        };
        self.call(abi::IOC_EXCHANGE, &mut exchange)
            .map(|()| exchange)
    }

    /// Takes up to `most` requests that come within a second.
    pub fn take(&self, most: usize, arena: &Memory) -> Result<Vec<Take>> {
        let mut taken = vec![Take::default(); most];
        let how = within(arena, Duration::from_secs(1));
        let exchange = self.exchange(&mut [], &mut taken, how)?;
        taken.truncate(exchange.taken as usize);
        Ok(taken)
    }

    /// Takes one request.
    pub fn take_one(&self, arena: &Memory) -> Result<Take> {
        let taken = self.take(1, arena)?;
        taken.first().copied().context("no request came")
    }

    /// Completes requests; how many were refused. Their statuses are in `done`.
    pub fn put(&self, done: &mut [Done]) -> Result<u32> {
        let exchange = self.exchange(done, &mut [], Exchange::default())?;
        Ok(exchange.done_failed)
    }

    /// Completes one request well: a read with zeros.
    pub fn finish(&self, take: &Take) -> Result<()> {
        let mut done = [well(take)];
        ensure!(self.put(&mut done)? == 0, "refused: {}", done[0].status);
        Ok(())
    }

    /// Everything about the device.
    pub fn status(&self) -> Result<abi::Status> {
        let mut status = abi::Status {
            size: size_of::<abi::Status>() as u32,
            ..abi::Status::default()
        };
        self.call(abi::IOC_STATUS, &mut status)?;
        Ok(status)
    }

    /// What poll says within so many milliseconds.
    pub fn poll(&self, events: i16, milliseconds: u16) -> Result<i16> {
        Ok(sys::poll(self.fd(), events, milliseconds.into())?)
    }
}

/// An arena, and a time to wait.
pub fn within(arena: &Memory, time: Duration) -> Exchange {
    Exchange {
        arena: arena.address(),
        arena_bytes: arena.len(),
        timeout_ns: u64::try_from(time.as_nanos()).unwrap_or(abi::FOREVER),
        ..Exchange::default()
    }
}

/// The entry that completes a request well: a read with zeros.
pub fn well(take: &Take) -> Done {
    Done {
        id: take.id,
        flags: abi::DONE_ZERO,
        ..Done::default()
    }
}

/// Fails unless a call was refused with this errno.
pub fn expect<T: std::fmt::Debug>(what: &str, got: nix::Result<T>, errno: Errno) -> Result<()> {
    match got {
        Err(error) if error == errno => Ok(()),
        other => bail!("{what}: expected {errno:?}, got {other:?}"),
    }
}

/// A file without a name, of so many bytes.
pub fn file_of(len: usize) -> Result<File> {
    let file = File::from(memfd_create("memory", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(len as u64)?;
    Ok(file)
}

/// A device that is not set up.
pub fn free() -> Result<Device> {
    for number in Device::numbers()? {
        let device = Device::open(number.to_string())?;
        if device.status()?.state == State::Empty {
            return Ok(device);
        }
    }
    bail!("no device is free")
}

/// Its control node.
pub fn node(device: &Device) -> String {
    device.control_path().display().to_string()
}
