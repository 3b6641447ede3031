// SPDX-License-Identifier: MIT

//! Several reads and writes at once.

use std::io;

/// A read or a write among others; see [`Backend::transfer`](super::Backend::transfer).
#[derive(Debug)]
pub struct Transfer<'a> {
    /// Where in the disk.
    pub offset: u64,
    /// Which way, and the memory.
    pub bytes: Bytes<'a>,
    /// Of a write: on stable storage before it is over.
    pub durable: bool,
    /// What it came to.
    pub result: io::Result<()>,
    /// How many bytes.
    pub(crate) length: usize,
    /// Of its request in the batch.
    pub(crate) place: usize,
    /// What the kernel said of it, while it is being done: bytes, or a negative errno.
    pub(crate) count: Option<i32>,
}

/// Where the bytes of a [`Transfer`] go.
#[derive(Debug)]
pub enum Bytes<'a> {
    /// From the backend into here: a read.
    Into(&'a mut [u8]),
    /// From here into the backend: a write.
    From(&'a [u8]),
}

impl<'a> Transfer<'a> {
    /// A read.
    pub fn read(offset: u64, into: &'a mut [u8]) -> Transfer<'a> {
        Transfer::new(offset, Bytes::Into(into), false)
    }

    /// A write.
    pub fn write(offset: u64, from: &'a [u8], durable: bool) -> Transfer<'a> {
        Transfer::new(offset, Bytes::From(from), durable)
    }

    fn new(offset: u64, bytes: Bytes<'a>, durable: bool) -> Transfer<'a> {
        let length = match &bytes {
            Bytes::Into(into) => into.len(),
            Bytes::From(from) => from.len(),
        };
        Transfer {
            offset,
            bytes,
            length,
            place: 0,
            durable,
            // Until somebody says otherwise.
            result: Err(io::ErrorKind::Unsupported.into()),
            count: None,
        }
    }

    /// The memory, whichever way it goes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Into(into) => into,
            Bytes::From(from) => from,
        }
    }
}
