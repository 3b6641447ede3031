// SPDX-License-Identifier: MIT

//! A worker whose backend does nothing at all with data that are copied to and from it all the same:
//! what kublk's null target does, and what shows the cost of the way and of nothing else.

use std::io;

use abuse::{Backend, Device, Worker};

struct Copying;

impl Backend for Copying {
    fn read(&self, _offset: u64, _buf: &mut [u8]) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _buf: &[u8], _durable: bool) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves a disk that is set up until it goes.
pub(crate) fn serve(node: &str) -> anyhow::Result<()> {
    Worker::new(Device::open(node)?).run(Copying)?;
    Ok(())
}
