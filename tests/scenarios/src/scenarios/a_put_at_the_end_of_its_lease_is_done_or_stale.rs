// SPDX-License-Identifier: MIT

//! PUTs within a millisecond of the end of a lease, before and after: each either completes the read
//! with its own bytes, or is refused as stale and the read is offered again, to be completed with
//! another's. Never both, never neither.

use std::time::{Duration, Instant};

use abuse::abi::Done;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{Memory, Raw, PAGE};
use crate::kit::{Direct, Guest, PATIENCE};

const LEASE: Duration = Duration::from_millis(20);
const MOST: u32 = 200;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,lease=20ms")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    arena.fill(0);
    let file = Direct::open(disk.path())?;
    let data = Memory::new(PAGE)?;
    let (mut in_time, mut late) = (0u32, 0u32);
    // The delay is brought to where the two outcomes meet: shorter after one that was late.
    let mut delay = LEASE;
    let step = Duration::from_micros(500);
    for round in 0..MOST {
        data.fill(1);
        let read = file.start_read(0, PAGE);
        let held = raw.take_one(&arena)?;
        let until = Instant::now() + delay;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let mut done = [Done {
            id: held.id,
            buffer: data.address(),
            length: held.length,
            ..Done::default()
        }];
        raw.put(&mut done)?;
        let expected = match done[0].status {
            0 => {
                in_time += 1;
                delay += step;
                1
            }
            STALE => {
                late += 1;
                delay = delay.saturating_sub(step);
                // Offered again already, or it would have been somebody's yet.
                data.fill(2);
                let mut answered = false;
                while !answered {
                    let again = raw.take_one(&arena)?;
                    ensure!(again.id != held.id && again.attempt == 0, "{again:?}");
                    let mut done = [Done {
                        id: again.id,
                        ..done[0]
                    }];
                    done[0].status = 0;
                    answered = raw.put(&mut done)? == 0;
                }
                2
            }
            other => anyhow::bail!("round {round}: {other}"),
        };
        ensure!(
            read.finish(PATIENCE)?? == vec![expected; PAGE],
            "round {round}: not the bytes of the PUT that was accepted"
        );
        if in_time >= 40 && late >= 40 {
            break;
        }
    }
    ensure!(in_time > 0 && late > 0, "{in_time} in time, {late} late");
    let status = disk.status()?;
    ensure!(status.errors == 0 && status.taken == 0, "{status:?}");
    println!("    {in_time} in time, {late} late, around {delay:?}");
    Ok(())
}

const STALE: i32 = -(Errno::ESTALE as i32);
