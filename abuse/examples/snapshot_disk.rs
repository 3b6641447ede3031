//! A disk that begins as a copy of another file and leaves that as it is:
//! `cargo run --example snapshot_disk /dev/abctl0 ORIGIN CHANGES`
//!
//! What is written for the first time is copied to CHANGES first, a chunk at a time; a byte for each
//! chunk behind the data there says that it was. Everything else is moved by the driver.

use std::os::{fd::AsFd, unix::fs::FileExt};
use std::sync::Mutex;
use std::{fs::File, io};

use abuse::backend::{Asked, Map, Mapped, Places};
use abuse::{Capabilities, Device, Operation, Setup, Worker};

const CHUNK: u64 = 64 << 10;

struct Snapshot {
    origin: File,
    changes: File,
    bytes: u64,
    /// For each chunk, whether it is among the changes.
    changed: Mutex<Vec<u8>>,
}

impl Snapshot {
    /// Copies a chunk. What says so must not be durable before the copy is: else a power cut could
    /// leave a chunk without what nobody has written.
    fn copy(&self, chunk: u64) -> io::Result<()> {
        let mut data = vec![0; CHUNK.min(self.bytes - chunk * CHUNK) as usize];
        self.origin.read_exact_at(&mut data, chunk * CHUNK)?;
        self.changes.write_all_at(&data, chunk * CHUNK)?;
        self.changes.sync_data()?;
        self.changes.write_all_at(&[1], self.bytes + chunk)
    }
}

impl Map for Snapshot {
    /// Only one knows what has been copied.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alone: true,
            ..Capabilities::default()
        }
    }

    fn map<'a>(&'a self, asked: &Asked, places: &mut Places<'a>) -> io::Result<()> {
        if asked.operation == Operation::Flush {
            places.add(self.changes.as_fd(), 0, 0);
            return Ok(());
        }
        let mut changed = self.changed.lock().map_err(|_| io::ErrorKind::Other)?;
        let (mut at, end) = (asked.offset, asked.offset + u64::from(asked.length));
        while at < end {
            let chunk = at / CHUNK;
            let is_changed = &mut changed[chunk as usize];
            if asked.operation == Operation::Write && *is_changed == 0 {
                self.copy(chunk)?;
                *is_changed = 1;
                if asked.durable {
                    self.changes.sync_data()?;
                }
            }
            let file = if *is_changed == 1 {
                &self.changes
            } else {
                &self.origin
            };
            let length = ((chunk + 1) * CHUNK).min(end) - at;
            places.add(file.as_fd(), at, length as u32); // at the same place in either
            at += length;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().ok_or(what);
    let device = Device::open(next("no device was named")?)?;
    let origin = File::open(next("no origin was named")?)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let changes = options.open(next("no file for the changes was named")?)?;
    let bytes = match device.status()?.setup {
        Some(disk) => disk.bytes,
        None => device.setup(&Setup::new(origin.metadata()?.len()))?.bytes,
    };
    let mut changed = vec![0; bytes.div_ceil(CHUNK) as usize];
    changes.set_len(bytes + changed.len() as u64)?;
    changes.read_exact_at(&mut changed, bytes)?;
    let changed = Mutex::new(changed);
    let snapshot = Snapshot {
        origin,
        changes,
        bytes,
        changed,
    };
    Worker::new(device).run(Mapped(snapshot))?; // until somebody kills it
    Ok(())
}
