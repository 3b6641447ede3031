// SPDX-License-Identifier: MIT

//! A disk that forgets everything.

use std::io;

use super::{Backend, Capabilities};

/// Reads are zeros, writes vanish. Not one byte is copied: it shows what everything else costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Null;

impl Backend for Null {
    fn read(&self, _offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }

    fn write(&self, _offset: u64, _buf: &[u8], _durable: bool) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            no_data: true,
            discard: true,
            write_zeroes: true,
            secure_erase: true,
            ..Capabilities::default()
        }
    }

    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _may_unmap: bool) -> io::Result<()> {
        Ok(())
    }

    fn secure_erase(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}
