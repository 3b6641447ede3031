// SPDX-License-Identifier: MIT

//! The jobs of `make torture` work on disks whose worker lies once in a while: it forgets a write, does
//! half of it, puts it somewhere else, answers a read with what was there earlier, or does a write once
//! more long after it was completed. Each lie is found, and none where the worker is honest.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use abuse::backend::{Backend, Capabilities, Ram};
use abuse::{Device, Worker};
use anyhow::{anyhow, ensure, Result};

use crate::kit::{wait_until, Guest, PATIENCE};
use crate::torture::clients::{Clients, Findings};
use crate::torture::round::{Round, Store};

const OPERATIONS: u64 = 2000;
/// One of so many writes, or reads, is a lie.
const SELDOM: u64 = 100;
const BLOCK: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Forget,
    Half,
    Elsewhere,
    Old,
    Late,
}

pub(super) fn run(guest: &Guest) -> Result<()> {
    let lies = [
        (Lie::None, ""),
        (Lie::Forget, "a lost write"),
        (Lie::Half, "a lost write"),
        (Lie::Elsewhere, "a value of another place"),
        (Lie::Old, "a lost write"),
        (Lie::Late, ""),
    ];
    for (number, (lie, words)) in lies.into_iter().enumerate() {
        let found = found(guest, lie, number as u64)?;
        ensure!(found.errors == 0, "{lie:?}: {found:?}");
        guest.figure(format!("{lie:?}: {} found", found.violations));
        let honest = lie == Lie::None;
        ensure!(honest == (found.violations == 0), "{lie:?} went unnoticed");
        let all = found.words.join("\n");
        ensure!(all.contains(words), "{lie:?} was taken for: {all}");
    }
    Ok(())
}

fn found(guest: &Guest, lie: Lie, number: u64) -> Result<Findings> {
    let round = Round {
        block: BLOCK,
        store: Store::Ram,
        ..Round::draw(1, number)
    };
    let disk = guest.disk(&round.keys())?;
    let name = format!("liar-{number}");
    let liar = Liar {
        memory: Ram::open(&name, Round::BYTES)?,
        lie,
        count: AtomicU64::new(0),
        kept: Mutex::default(),
    };
    let worker = Worker::new(Device::open(disk.control())?).harden(false);
    let stop = worker.stop_handle();
    let served = std::thread::spawn(move || worker.run(liar));
    let clients = Clients::start(&round, 4, &disk.path(), OPERATIONS)?;
    wait_until("the jobs to end", PATIENCE * 2, || clients.are_over())?;
    let found = clients.finish(PATIENCE)?;
    stop.stop();
    served
        .join()
        .map_err(|_| anyhow!("the worker panicked"))??;
    disk.device().reset(true, Some(Duration::MAX))?;
    Ok(found)
}

/// Where, and what.
type Piece = Option<(u64, Vec<u8>)>;

struct Liar {
    memory: Ram,
    lie: Lie,
    count: AtomicU64,
    /// What was there earlier, or was written.
    kept: Mutex<Piece>,
}

impl Liar {
    fn lies(&self) -> bool {
        self.count.fetch_add(1, Relaxed) % SELDOM == SELDOM - 1
    }

    fn kept(&self) -> io::Result<MutexGuard<'_, Piece>> {
        self.kept.lock().map_err(|_| io::ErrorKind::Other.into())
    }
}

impl Backend for Liar {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, buf)?;
        if self.lie == Lie::Old {
            // Of the place whose old contents are known: as long as it takes.
            if let Some((at, bytes)) = &*self.kept()? {
                let overlap = at.checked_sub(offset).map(|from| from as usize);
                if let Some(place) = overlap.and_then(|from| buf.get_mut(from..)) {
                    let length = place.len().min(bytes.len());
                    place[..length].copy_from_slice(&bytes[..length]);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], durable: bool) -> io::Result<()> {
        let lies = self.lies();
        match self.lie {
            Lie::Forget if lies => return Ok(()),
            Lie::Half if lies => {
                return self.memory.write(offset, &buf[..buf.len() / 2], durable);
            }
            Lie::Elsewhere if lies => {
                let there = (offset + BLOCK) % (Round::BYTES - buf.len() as u64);
                return self.memory.write(there, buf, durable);
            }
            Lie::Old if lies => {
                let mut before = vec![0; buf.len()];
                self.memory.read(offset, &mut before)?;
                *self.kept()? = Some((offset, before));
            }
            Lie::Late if lies => {
                let mut kept = self.kept()?;
                if let Some((at, bytes)) = kept.take() {
                    self.memory.write(at, &bytes, false)?;
                }
                *kept = Some((offset, buf.to_vec()));
            }
            _ => {}
        }
        self.memory.write(offset, buf, durable)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }
}
