// SPDX-License-Identifier: MIT

//! The record of what a disk was asked and what it acknowledged, in the order in which it happened.
//!
//! It is a file to which every event is appended by one write, so that threads and processes may
//! share it: the order in the file is an order in which the events can have happened. *Begin* is
//! written when a request has been taken, *done* before its completion is put: whoever saw a write
//! completed and then asked for a flush finds them in this order here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, ensure, Context, Result};

/// Bytes of an event before its payload.
const HEADER: usize = 32;
const MAGIC: u16 = 0xab5e;

const SHAPE: u8 = 0;
const WRITE: u8 = 1;
const ZEROES: u8 = 2;
const FLUSH: u8 = 3;
const DONE: u8 = 4;
const BASE: u8 = 5;
const MARK: u8 = 6;

/// Of a shape: no volatile cache. Of a write: FUA.
const DURABLE: u8 = 1;

/// What the disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes.
    pub bytes: u64,
    /// Logical block: what is written whole or not at all.
    pub block: u64,
    /// A write is durable when it is acknowledged.
    pub write_through: bool,
    /// Words about what is on it, for [`check`](crate::check).
    pub about: String,
    /// Seed of the load.
    pub seed: u64,
}

impl Shape {
    /// A disk with nothing said about it.
    pub fn new(bytes: u64, block: u64, write_through: bool) -> Shape {
        Shape {
            bytes,
            block,
            write_through,
            about: String::new(),
            seed: 0,
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write was taken. Its data are this range of the log.
    Write {
        /// Number of the request in this log.
        id: u64,
        /// Bytes from the start of the disk.
        offset: u64,
        /// Where the data are.
        data: std::ops::Range<usize>,
        /// Durable before it is done.
        fua: bool,
    },
    /// A discard or a write of zeros was taken; zeros are what is read there.
    Zeroes {
        /// Number of the request.
        id: u64,
        /// Bytes from the start of the disk.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Durable before it is done.
        fua: bool,
    },
    /// A flush was taken.
    Flush {
        /// Number of the request.
        id: u64,
    },
    /// A request is about to be acknowledged.
    Done {
        /// Its number.
        id: u64,
    },
    /// The file system is made: power cuts come after this.
    Base,
    /// A thread of the load has synced so many of its steps.
    Mark {
        /// Which thread.
        thread: u64,
        /// How many steps.
        steps: u64,
    },
}

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    sink: Sink,
    next: AtomicU64,
}

#[derive(Debug)]
enum Sink {
    File(File),
    Memory(Mutex<Vec<u8>>),
}

impl Log {
    /// A new log in a file.
    pub fn create(path: &Path, shape: &Shape) -> Result<Log> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .with_context(|| format!("making the log {}", path.display()))?;
        Log::begin(Sink::File(file), shape)
    }

    /// A new log in memory.
    pub fn in_memory(shape: &Shape) -> Result<Log> {
        Log::begin(Sink::Memory(Mutex::default()), shape)
    }

    fn begin(sink: Sink, shape: &Shape) -> Result<Log> {
        let log = Log {
            sink,
            // Of another process that appends, numbers are others.
            next: AtomicU64::new(u64::from(std::process::id()) << 32),
        };
        let flags = if shape.write_through { DURABLE } else { 0 };
        let about = shape.about.as_bytes();
        log.append(SHAPE, flags, [shape.seed, shape.bytes, shape.block], about)?;
        Ok(log)
    }

    /// The bytes of a log in memory; none of one in a file.
    pub fn into_bytes(self) -> Vec<u8> {
        match self.sink {
            Sink::Memory(bytes) => bytes.into_inner().unwrap_or_else(PoisonError::into_inner),
            Sink::File(_) => Vec::new(),
        }
    }

    /// A write was taken; its number.
    pub fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<u64> {
        if data.iter().all(|&byte| byte == 0) {
            return self.zeroes(offset, data.len() as u64, fua);
        }
        let id = self.number();
        let length = data.len() as u64;
        self.append(WRITE, u8::from(fua), [id, offset, length], data)?;
        Ok(id)
    }

    /// A discard or a write of zeros was taken; its number.
    pub fn zeroes(&self, offset: u64, length: u64, fua: bool) -> io::Result<u64> {
        let id = self.number();
        self.append(ZEROES, u8::from(fua), [id, offset, length], &[])?;
        Ok(id)
    }

    /// A flush was taken; its number.
    pub fn flush(&self) -> io::Result<u64> {
        let id = self.number();
        self.append(FLUSH, 0, [id, 0, 0], &[])?;
        Ok(id)
    }

    /// This request is about to be acknowledged.
    pub fn done(&self, id: u64) -> io::Result<()> {
        self.append(DONE, 0, [id, 0, 0], &[])
    }

    /// The file system is made.
    pub fn base(&self) -> io::Result<()> {
        self.append(BASE, 0, [0; 3], &[])
    }

    /// A thread of the load has synced so many steps.
    pub fn mark(&self, thread: u64, steps: u64) -> io::Result<()> {
        self.append(MARK, 0, [thread, steps, 0], &[])
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn append(&self, kind: u8, flags: u8, numbers: [u64; 3], payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[kind, flags]);
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_le_bytes());
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(payload);
        match &self.sink {
            Sink::Memory(all) => all
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&bytes),
            Sink::File(file) => {
                // One call, or the events of others would come between.
                let written = { file }.write(&bytes)?;
                if written != bytes.len() {
                    return Err(io::Error::other("the log's file system is full"));
                }
            }
        }
        Ok(())
    }
}

/// Reads a log.
pub fn parse(bytes: &[u8]) -> Result<(Shape, Vec<Event>)> {
    let mut shape = None;
    let mut events = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let header = bytes.get(at..at + HEADER).context("the log is cut off")?;
        let number = |index: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&header[8 + 8 * index..16 + 8 * index]);
            u64::from_le_bytes(raw)
        };
        ensure!(
            u16::from_le_bytes([header[0], header[1]]) == MAGIC,
            "byte {at} of the log begins no event"
        );
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let data = at + HEADER..at + HEADER + length;
        ensure!(data.end <= bytes.len(), "the log is cut off");
        let durable = header[3] & DURABLE != 0;
        match header[2] {
            SHAPE => {
                ensure!(number(2) > 0 && number(1) % number(2) == 0, "no such disk");
                shape = Some(Shape {
                    seed: number(0),
                    bytes: number(1),
                    block: number(2),
                    write_through: durable,
                    about: String::from_utf8_lossy(&bytes[data.clone()]).into_owned(),
                });
            }
            WRITE => events.push(Event::Write {
                id: number(0),
                offset: number(1),
                data: data.clone(),
                fua: durable,
            }),
            ZEROES => events.push(Event::Zeroes {
                id: number(0),
                offset: number(1),
                length: number(2),
                fua: durable,
            }),
            FLUSH => events.push(Event::Flush { id: number(0) }),
            DONE => events.push(Event::Done { id: number(0) }),
            BASE => events.push(Event::Base),
            MARK => events.push(Event::Mark {
                thread: number(0),
                steps: number(1),
            }),
            kind => bail!("the log has an event of kind {kind}"),
        }
        at = data.end;
    }
    Ok((
        shape.context("the log does not say what disk it is of")?,
        events,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_logged_is_read_back_and_a_torn_end_is_noticed() {
        let shape = Shape {
            about: "ext4".into(),
            seed: 9,
            ..Shape::new(1 << 20, 512, true)
        };
        let log = Log::in_memory(&shape).unwrap();
        let write = log.write(512, &[3; 512], true).unwrap();
        let zeroes = log.write(1024, &[0; 1024], false).unwrap();
        let flush = log.flush().unwrap();
        for id in [write, zeroes, flush] {
            log.done(id).unwrap();
        }
        log.base().unwrap();
        log.mark(2, 5).unwrap();
        let bytes = log.into_bytes();
        let (read, events) = parse(&bytes).unwrap();
        assert_eq!(read, shape);
        assert_eq!(events.len(), 8);
        match &events[0] {
            Event::Write { data, fua, .. } => {
                assert!(fua);
                assert_eq!(bytes[data.clone()], [3; 512]);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            events[1],
            Event::Zeroes {
                id: zeroes,
                offset: 1024,
                length: 1024,
                fua: false
            }
        );
        assert_eq!(
            events[7],
            Event::Mark {
                thread: 2,
                steps: 5
            }
        );
        assert!(parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(parse(&bytes[1..]).is_err());
    }
}
