// SPDX-License-Identifier: MIT

//! Where the threads of a worker run: beside those who use the disk.
//!
//! A hardware queue collects the requests of some processors. A thread that keeps to these is woken
//! where the requests were made, and finds them in that processor's caches.

use std::fs;
use std::io;
use std::path::Path;

use nix::sched::{sched_getaffinity, sched_setaffinity, CpuSet};
use nix::unistd::Pid;

const CALLER: Pid = Pid::from_raw(0);

/// For each of so many threads, the processors of the hardware queues that are its own. Threads take
/// turns at queues; where there are fewer threads, at several each.
pub(super) fn places(disk: &Path, threads: usize) -> io::Result<Vec<CpuSet>> {
    let mut queues = queues(&disk.join("mq"))?;
    queues.sort();
    let allowed = sched_getaffinity(CALLER)?;
    let mut places = Vec::with_capacity(threads);
    for processors in shares(&queues, threads) {
        let mut place = CpuSet::new();
        for processor in processors {
            if allowed.is_set(processor).unwrap_or(false) {
                place.set(processor)?;
            }
        }
        places.push(place);
    }
    Ok(places)
}

/// Keeps the calling thread there; anywhere if it may go to none of these.
pub(super) fn keep_to(place: &CpuSet) -> nix::Result<bool> {
    let none = (0..CpuSet::count()).all(|cpu| !place.is_set(cpu).unwrap_or(false));
    if none {
        return Ok(false);
    }
    sched_setaffinity(CALLER, place).map(|()| true)
}

/// Number and processors of each hardware queue.
fn queues(directory: &Path) -> io::Result<Vec<(u32, Vec<usize>)>> {
    let mut queues = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let list = fs::read_to_string(entry.path().join("cpu_list"))?;
        queues.push((number, processors(&list)));
    }
    Ok(queues)
}

/// `0, 2, 3`
fn processors(list: &str) -> Vec<usize> {
    let numbers = list.split(',').map(|number| number.trim().parse());
    numbers.filter_map(Result::ok).collect()
}

/// What of the queues is whose.
fn shares(queues: &[(u32, Vec<usize>)], threads: usize) -> Vec<Vec<usize>> {
    let turns = queues.len().max(threads);
    let mut shares = vec![Vec::new(); threads];
    for turn in 0..turns {
        if let (Some((_, processors)), false) =
            (queues.get(turn % queues.len().max(1)), threads == 0)
        {
            shares[turn % threads].extend(processors);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns_at_queues_and_queues_at_threads() {
        let queues = [(0, vec![0, 1]), (1, vec![2, 3]), (2, vec![4])];
        let of = |threads| shares(&queues, threads);
        assert_eq!(of(1), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(of(2), [vec![0, 1, 4], vec![2, 3]]);
        assert_eq!(of(4), [vec![0, 1], vec![2, 3], vec![4], vec![0, 1]]);
        assert_eq!(shares(&[], 2), [vec![], vec![]]);
        assert!(of(0).is_empty());
    }

    #[test]
    fn processors_are_read_as_sysfs_writes_them() {
        assert_eq!(processors("0, 2, 11\n"), [0, 2, 11]);
        assert!(processors("\n").is_empty());
    }

    #[test]
    fn a_thread_is_kept_where_it_may_be_and_nowhere_else() {
        let allowed = sched_getaffinity(CALLER).unwrap();
        let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap());
        let mut place = CpuSet::new();
        assert_eq!(keep_to(&place), Ok(false));
        place.set(first.unwrap()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(keep_to(&place), Ok(true));
                assert_eq!(sched_getaffinity(CALLER).unwrap(), place);
            });
        });
        assert_eq!(sched_getaffinity(CALLER).unwrap(), allowed);
    }
}
