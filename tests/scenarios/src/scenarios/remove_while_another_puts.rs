// SPDX-License-Identifier: MIT

//! Three workers complete reads without a pause, each of which copies a quarter of a megabyte, while
//! the device is removed: in whatever moment that comes, the removal ends, whoever reads gets the data
//! or an error, and the workers get ENODEV.

use std::io::ErrorKind;
use std::time::Duration;

use abuse::abi::{Done, Take};
use abuse::{Registry, Setup};
use anyhow::{bail, ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{node, within, Memory, Raw};
use crate::kit::{Direct, Guest, Pending, PATIENCE};

const ROUNDS: usize = 20;
const LENGTH: usize = 256 << 10;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let registry = Registry::open()?;
    let mut caught = 0;
    for round in 0..ROUNDS {
        let device = guest.add()?;
        let setup = Setup {
            depth: 16,
            ..Setup::new(8 << 20)
        };
        let disk = guest.disk_on(device.clone(), &setup)?;
        let file = Direct::open(disk.path())?;
        let readers: Vec<_> = (0..6u64)
            .map(|reader| {
                let file = file.clone();
                Pending::start("a reader", move || loop {
                    match file.read(reader << 20, LENGTH) {
                        Ok(data) if data.iter().all(|&byte| byte == 5) => {}
                        Ok(_) => bail!("a read that ended well got other data"),
                        Err(error) => return Ok(error),
                    }
                })
            })
            .collect();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let raw = Raw::open(&node(&device))?;
                Ok(Pending::start("a worker", move || work(&raw)))
            })
            .collect::<Result<_>>()?;
        // Each time in another moment.
        disk.wait_status("reads", |status| {
            status.counts(abuse::Operation::Read).done >= 3 + round as u64
        })?;
        let sequence = Some(device.status()?.sequence);
        let gone = registry.remove(device.number(), sequence, true, Some(PATIENCE))?;
        caught += gone.draining;
        for worker in workers {
            worker.finish(PATIENCE)??;
        }
        for reader in readers {
            let end = reader.finish(PATIENCE)??;
            // The size of a disk that is gone is 0.
            let over = end.kind() == ErrorKind::UnexpectedEof;
            let failed = end.raw_os_error() == Some(Errno::EIO as i32);
            ensure!(over || failed, "round {round}: {end:?}");
        }
    }
    guest.figure(format!(
        "{ROUNDS} removals caught {caught} requests in a copy"
    ));
    ensure!(caught > 0, "no removal came into a copy; it proves nothing");
    Ok(())
}

fn work(raw: &Raw) -> Result<()> {
    let arena = Memory::new(LENGTH * 8)?;
    arena.fill(5);
    let mut done: Vec<Done> = Vec::new();
    loop {
        let mut take = [Take::default(); 4];
        match raw.exchange(&mut done, &mut take, within(&arena, Duration::from_secs(1))) {
            Ok(exchange) => {
                let taken = take.iter().take(exchange.taken as usize);
                done = taken
                    .map(|take| Done {
                        id: take.id,
                        buffer: take.buffer,
                        length: take.length,
                        ..Done::default()
                    })
                    .collect();
            }
            Err(Errno::ENODEV) => return Ok(()),
            Err(other) => bail!("EXCHANGE: {other}"),
        }
    }
}
