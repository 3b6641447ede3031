// SPDX-License-Identifier: MIT

//! Clients write and read at random, several at once on the same blocks, while workers are killed,
//! stopped, told to end, robbed, and their requests offered again: a checker looks at every start, end
//! and value of forty thousand operations, and each read is one that a disk could have returned; TIMES=25 makes it
//! a million.
//! `make torture` plays such rounds for as long as one likes.

use anyhow::Result;

use crate::kit::Guest;
use crate::torture::round::{Store, Work};
use crate::torture::{play, Limit, Round, Tally};

const OPERATIONS: u64 = 20_000;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let mut tally = Tally::default();
    for (number, store, supervised) in [(1, Store::Ram, false), (2, Store::File, true)] {
        let round = Round {
            store,
            supervised,
            workers: 2,
            threads: 1,
            batch: 32,
            block: 4096,
            depth: 128,
            max_kib: 1024,
            write_through: false,
            work: Work::Register(8),
            ..Round::draw(20_261_121, number)
        };
        let operations = guest.times(usize::try_from(OPERATIONS)?) as u64;
        play(guest, &round, Limit::Operations(operations), &mut tally)?;
    }
    guest.figure(format!("{tally}"));
    Ok(())
}
