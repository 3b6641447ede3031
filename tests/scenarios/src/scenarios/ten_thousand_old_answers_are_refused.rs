// SPDX-License-Identifier: MIT

//! One tag is used for one request after the other, ten thousand times. Whenever it is in use again
//! the last answer is given once more, and at the end all of them: each is refused with ESTALE, none
//! completes anything, and no id comes twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use abuse::abi::Done;
use abuse::Operation;
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{well, within, Memory, Raw};
use crate::kit::{Direct, Guest};

const ANSWERS: usize = 10_000;
const STALE: i32 = -(Errno::ESTALE as i32);

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let disk = guest.disk("size=16M,depth=1")?;
    let (raw, arena) = (Raw::open(&disk.control())?, Memory::new(1 << 20)?);
    let file = Direct::open(disk.path())?;
    let answers = guest.times(ANSWERS);
    let before = disk.counts(Operation::Write)?.done;
    let over = AtomicBool::new(false);
    let given = thread::scope(|scope| -> Result<Vec<Done>> {
        let client = scope.spawn(|| -> Result<usize> {
            let mut writes = 0;
            while !over.load(Relaxed) {
                file.write(0, &[writes as u8; 4096])?;
                writes += 1;
            }
            Ok(writes)
        });
        let given = answer(&raw, &arena, answers);
        over.store(true, Relaxed);
        // The write that waits now; none comes after it.
        while !client.is_finished() {
            let mut take = [Default::default()];
            let how = within(&arena, Duration::from_millis(10));
            if raw.exchange(&mut [], &mut take, how)?.taken == 1 {
                raw.finish(&take[0])?;
            }
        }
        let writes = client.join().ok().context("the client panicked")??;
        let done = disk.counts(Operation::Write)?.done - before;
        ensure!(
            done == writes as u64,
            "{writes} writes, and {done} were completed"
        );
        given
    })?;

    let ids: HashSet<u64> = given.iter().map(|done| done.id).collect();
    ensure!(ids.len() == answers, "an id was given twice");
    for answers in given.chunks(4096) {
        let mut again = answers.to_vec();
        let refused = raw.put(&mut again)?;
        ensure!(refused as usize == again.len(), "{refused} were refused");
        ensure!(again.iter().all(|done| done.status == STALE));
    }
    let status = disk.status()?;
    ensure!(
        status.stale == 2 * answers as u64 - 1 && status.errors == 0,
        "{status:?}"
    );
    Ok(())
}

/// Takes one request after the other, and before it completes one repeats the answer before.
fn answer(raw: &Raw, arena: &Memory, answers: usize) -> Result<Vec<Done>> {
    let mut given: Vec<Done> = Vec::with_capacity(answers);
    while given.len() < answers {
        let take = raw.take_one(arena)?;
        if let Some(last) = given.last() {
            let mut again = [*last];
            ensure!(raw.put(&mut again)? == 1, "an old answer was accepted");
            ensure!(again[0].status == STALE, "it got {}", again[0].status);
        }
        raw.finish(&take)?;
        given.push(well(&take));
    }
    Ok(given)
}
