// SPDX-License-Identifier: MIT

//! A worker whose backend does nothing at all with data that are copied to and from it all the same:
//! what kublk's null target does, and what shows the cost of the way and of nothing else.

use std::io;
use std::thread;
use std::time::Duration;

use abuse::{Backend, Capabilities, Device, Worker};
use anyhow::{bail, Context};

#[derive(Default)]
struct Copying {
    /// How long it pretends to need for each request.
    delay: Duration,
}

impl Copying {
    fn wait(&self) -> io::Result<()> {
        if !self.delay.is_zero() {
            thread::sleep(self.delay);
        }
        Ok(())
    }
}

impl Backend for Copying {
    fn read(&self, _offset: u64, _buf: &mut [u8]) -> io::Result<()> {
        self.wait()
    }

    fn write(&self, _offset: u64, _buf: &[u8], _durable: bool) -> io::Result<()> {
        self.wait()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            slow: !self.delay.is_zero(),
            ..Capabilities::default()
        }
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves a disk that is set up until it goes: `[--threads N] [--spin N] [--delay-us N] NODE`.
pub(crate) fn serve(words: &[&str]) -> anyhow::Result<()> {
    let (node, options) = words.split_last().context("which node?")?;
    let mut worker = Worker::new(Device::open(node)?);
    let mut backend = Copying::default();
    for option in options.chunks(2) {
        let number: u32 = option.last().unwrap_or(&"").parse().context("a number")?;
        match option[0] {
            "--threads" => worker = worker.threads(number as usize),
            "--spin" => worker = worker.spin(number),
            "--batch-scheduling" => worker = worker.batch_scheduling(number > 0),
            "--delay-us" => backend.delay = Duration::from_micros(number.into()),
            other => bail!("{other}: no such option"),
        }
    }
    worker.run(backend)?;
    Ok(())
}
