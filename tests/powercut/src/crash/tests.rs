// SPDX-License-Identifier: MIT

//! The generator: that it makes every state that may be, and none that may not.

use super::*;
use crate::log::Log;

const BLOCK: usize = 512;

fn disk(write_through: bool) -> Log {
    Log::in_memory(&Shape::new(8 * BLOCK as u64, BLOCK as u64, write_through)).unwrap()
}

fn write(log: &Log, block: u64, byte: u8, fua: bool) -> u64 {
    log.write(block * BLOCK as u64, &[byte; BLOCK], fua)
        .unwrap()
}

fn written(log: &Log, block: u64, byte: u8) {
    let id = write(log, block, byte, false);
    log.done(id).unwrap();
}

fn flushed(log: &Log) {
    let id = log.flush().unwrap();
    log.done(id).unwrap();
}

fn history(log: Log) -> History {
    History::parse(log.into_bytes()).unwrap()
}

/// The first byte of each block.
fn shown(state: &State<'_>) -> Vec<u8> {
    let image = state.image();
    image.chunks(BLOCK).map(|block| block[0]).collect()
}

/// All states at a position that many seeds find.
fn reachable(history: &History, at: usize) -> HashSet<Vec<u8>> {
    (0..2000)
        .map(|seed| shown(&history.state(at, Pick::Random(seed))))
        .collect()
}

fn end(history: &History) -> usize {
    history.positions().end - 1
}

#[test]
fn what_a_flush_covers_is_always_there_and_the_rest_in_every_subset() {
    let log = disk(false);
    written(&log, 0, 1);
    flushed(&log);
    written(&log, 1, 2);
    written(&log, 2, 3);
    let history = history(log);
    let mut expected = HashSet::new();
    for (second, third) in [(0, 0), (2, 0), (0, 3), (2, 3)] {
        expected.insert(vec![1, second, third, 0, 0, 0, 0, 0]);
    }
    assert_eq!(reachable(&history, end(&history)), expected);
}

#[test]
fn a_flush_that_is_not_done_covers_nothing() {
    let log = disk(false);
    written(&log, 0, 1);
    log.flush().unwrap();
    let history = history(log);
    assert!(reachable(&history, end(&history)).contains(&vec![0; 8]));
}

#[test]
fn a_flush_does_not_cover_a_write_that_was_in_flight_when_it_was_taken() {
    let log = disk(false);
    let late = write(&log, 0, 1, false);
    let flush = log.flush().unwrap();
    log.done(late).unwrap();
    log.done(flush).unwrap();
    let history = history(log);
    assert_eq!(reachable(&history, end(&history)).len(), 2);
}

#[test]
fn fua_covers_itself_and_nothing_else() {
    let log = disk(false);
    written(&log, 0, 1);
    let fua = write(&log, 1, 2, true);
    log.done(fua).unwrap();
    let history = history(log);
    let found = reachable(&history, end(&history));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|blocks| blocks[1] == 2), "{found:?}");
    // Before it was done it was like any other.
    assert_eq!(reachable(&history, end(&history) - 1).len(), 4);
}

#[test]
fn without_a_cache_only_what_is_in_flight_is_uncertain() {
    let log = disk(true);
    written(&log, 0, 1);
    write(&log, 1, 2, false);
    let history = history(log);
    let found = reachable(&history, end(&history));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|blocks| blocks[0] == 1), "{found:?}");
}

#[test]
fn an_older_write_never_lies_over_a_newer_one() {
    let log = disk(false);
    written(&log, 0, 1);
    let newer = write(&log, 0, 2, true);
    log.done(newer).unwrap();
    let history = history(log);
    let found = reachable(&history, end(&history));
    assert_eq!(found, HashSet::from([vec![2, 0, 0, 0, 0, 0, 0, 0]]));
}

#[test]
fn a_newer_write_that_is_lost_shows_the_older_one() {
    let log = disk(false);
    written(&log, 0, 1);
    flushed(&log);
    written(&log, 0, 2);
    let history = history(log);
    let first: HashSet<u8> = reachable(&history, end(&history))
        .iter()
        .map(|blocks| blocks[0])
        .collect();
    assert_eq!(first, HashSet::from([1, 2]));
}

#[test]
fn a_write_is_torn_between_blocks_and_never_within_one() {
    let log = disk(false);
    let data: Vec<u8> = [1, 2, 3]
        .into_iter()
        .flat_map(|byte| [byte; BLOCK])
        .collect();
    let id = log.write(0, &data, false).unwrap();
    log.done(id).unwrap();
    let history = history(log);
    let found = reachable(&history, end(&history));
    assert_eq!(found.len(), 8, "{found:?}");
    for seed in 0..200 {
        for block in history
            .state(end(&history), Pick::Random(seed))
            .image()
            .chunks(BLOCK)
        {
            assert!(block.iter().all(|&byte| byte == block[0]));
        }
    }
}

#[test]
fn zeros_are_a_write_like_any_other() {
    let log = disk(false);
    written(&log, 0, 1);
    flushed(&log);
    let id = log.zeroes(0, BLOCK as u64, false).unwrap();
    log.done(id).unwrap();
    let history = history(log);
    assert_eq!(reachable(&history, end(&history)).len(), 2);
    assert_eq!(shown(&history.state(end(&history), Pick::Begun))[0], 0);
}

#[test]
fn the_named_picks_are_what_they_say() {
    let log = disk(false);
    written(&log, 0, 1);
    flushed(&log);
    written(&log, 1, 2);
    write(&log, 2, 3, false);
    let history = history(log);
    let at = end(&history);
    let shown = |pick| shown(&history.state(at, pick))[..3].to_vec();
    assert_eq!(shown(Pick::Durable), [1, 0, 0]);
    assert_eq!(shown(Pick::Completed), [1, 2, 0]);
    assert_eq!(shown(Pick::Begun), [1, 2, 3]);
}

#[test]
fn the_schedule_has_every_prefix_no_state_twice_and_is_repeatable() {
    let log = disk(false);
    log.base().unwrap();
    for number in 0..20 {
        written(&log, number % 8, number as u8 + 1);
        if number % 5 == 4 {
            flushed(&log);
            log.mark(0, number).unwrap();
        }
    }
    let history = history(log);
    let schedule = history.schedule(200, 7);
    assert_eq!(schedule, history.schedule(200, 7));
    assert_ne!(schedule, history.schedule(200, 8));
    let states: HashSet<u64> = schedule
        .iter()
        .map(|&(at, pick)| history.state(at, pick).fingerprint())
        .collect();
    assert_eq!(states.len(), schedule.len());
    for at in history.positions() {
        let prefix = history.state(at, Pick::Completed).fingerprint();
        assert!(states.contains(&prefix), "no prefix of {at} events");
    }
    assert_eq!(history.schedule(10, 7).len(), 10);
}

#[test]
fn power_is_not_cut_before_the_file_system_is_made() {
    let log = disk(false);
    written(&log, 0, 1);
    log.base().unwrap();
    written(&log, 1, 1);
    let history = history(log);
    assert_eq!(history.positions(), 3..6);
    assert!(history.schedule(50, 1).iter().all(|&(at, _)| at >= 3));
}

#[test]
fn a_log_that_cannot_be_is_refused() {
    let log = disk(false);
    log.done(77).unwrap();
    assert!(History::parse(log.into_bytes()).is_err());
    let log = disk(false);
    log.write(100, &[1; BLOCK], false).unwrap();
    assert!(History::parse(log.into_bytes()).is_err());
    let log = disk(false);
    log.write(8 * BLOCK as u64, &[1; BLOCK], false).unwrap();
    assert!(History::parse(log.into_bytes()).is_err());
}

/// A user of a disk as simple as can be: it writes a block, flushes, and says so. With an honest
/// disk no state lacks what it said; with one that only says it flushed, some do.
#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let lost = |honest: bool| {
        let log = disk(false);
        for block in 0..8 {
            written(&log, block, 1);
            if honest {
                flushed(&log);
            }
            log.mark(0, block + 1).unwrap();
        }
        let history = history(log);
        let schedule = history.schedule(100, 1);
        let broken = schedule.iter().filter(|&&(at, pick)| {
            let synced = history.synced(at).get(&0).copied().unwrap_or(0) as usize;
            let blocks = shown(&history.state(at, pick));
            blocks[..synced].iter().any(|&byte| byte != 1)
        });
        broken.count()
    };
    assert_eq!(lost(true), 0);
    assert!(lost(false) > 20, "{}", lost(false));
}
