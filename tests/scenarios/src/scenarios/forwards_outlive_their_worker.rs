// SPDX-License-Identifier: MIT

//! A worker is killed while what it has forwarded is under way, direct and buffered: nothing is
//! offered again, nothing is lost, and each request ends once, when its I/O does. Meanwhile a new
//! worker serves what comes.

use abuse::abi;
use abuse::{Operation, Selection};
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::forward::Stuck;
use crate::kit::raw::{node, Memory, Raw};
use crate::kit::{refused, Direct, Guest, PATIENCE};

const BYTES: u64 = 16 << 20;
const MANY: usize = 6;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let stuck = Stuck::new(guest, BYTES)?;
    let _quiet = guest.hold_udev()?;
    for direct in [true, false] {
        let disk = guest.disk("size=16M")?;
        let mode = if direct { "direct" } else { "buffered" };
        let backend = format!("file:{},{mode}", stuck.path().display());
        let mut server = disk.serve_with(&backend, &["--forward"])?;
        let file = Direct::open(disk.path())?;
        file.write(BYTES / 2, &[1; 4096])?;

        stuck.hold()?;
        // A buffered write waits until it is durable, and a read for what nobody has read or written.
        let writes: Vec<_> = (0..MANY)
            .map(|n| file.start_write(n as u64 * 65536, vec![n as u8 + 1; 65536]))
            .collect();
        let reads: Vec<_> = (1..=MANY)
            .map(|n| file.start_read(BYTES / 2 + n as u64 * 65536, 4096))
            .collect();
        let under_way = 2 * MANY as u32;
        disk.wait_status("forwards under way", |status| {
            status.forwarding == under_way && status.taken + status.queued == 0
        })?;
        server.kill()?;
        disk.wait_status("the worker to be gone", |status| status.workers == 0)?;
        let status = disk.status()?;
        ensure!(
            (status.forwarding, status.draining) == (under_way, under_way),
            "{status:?}"
        );
        // Nobody gets them: no new worker, no operator.
        let all = Selection::all().force();
        ensure!(disk.device().requeue(&all)?.requeued == 0);
        let raw = Raw::open(&node(disk.device()))?;
        let arena = Memory::new(1 << 20)?;
        let mut take = [abi::Take::default(); 4];
        let nothing = raw.exchange(
            &mut [],
            &mut take,
            abi::Exchange {
                arena: arena.address(),
                arena_bytes: arena.len(),
                ..abi::Exchange::default()
            },
        )?;
        ensure!(nothing.taken == 0, "{nothing:?}");
        refused(disk.device().reset(false, None), Errno::EBUSY)?;

        let _server = disk.serve("null")?;
        let late = file.start_read(0, 4096);
        ensure!(late.finish(PATIENCE)?? == [0; 4096], "nobody serves");

        stuck.go_on()?;
        for write in writes {
            write.finish(PATIENCE)??;
        }
        for read in reads {
            ensure!(read.finish(PATIENCE)?? == [0; 4096], "other bytes came");
        }
        let below = Direct::open(stuck.path())?;
        below.flush()?;
        for n in 0..MANY {
            let there = below.read(n as u64 * 65536, 65536)?;
            ensure!(there == vec![n as u8 + 1; 65536], "write {n}");
        }
        let status = disk.status()?;
        ensure!((status.forwarding, status.errors) == (0, 0), "{status:?}");
        for operation in [Operation::Read, Operation::Write] {
            let counts = status.counts(operation);
            ensure!(
                counts.requeued == 0 && counts.taken == counts.done,
                "{operation}: {counts:?}"
            );
        }
        drop(file);
        disk.device().reset(true, Some(PATIENCE))?;
    }
    Ok(())
}
