// SPDX-License-Identifier: MIT

//! The checker against a simulated disk, whose histories are legal, and against one that tries all
//! orders, on any history at all.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::history::Time;
use crate::{Cell, History, Model, Seen, Tag, Value};

/// One operation of a small history on one block.
#[derive(Clone, Copy, Debug)]
struct Op {
    start: Time,
    /// `None`: a write that was not told to have ended.
    end: Option<Time>,
    /// A write puts its own number there; a read saw that of a write, or 0.
    write: bool,
    saw: usize,
}

impl Op {
    fn precedes(&self, other: &Op) -> bool {
        self.end.is_some_and(|end| end < other.start)
    }
}

fn history_of(ops: &[Op]) -> History {
    let mut history = History::new(1);
    for (index, op) in ops.iter().enumerate() {
        let tag = Tag::new(0, index as u64 + 1);
        match op.write {
            true => history.write(tag, 0..1, op.start, op.end),
            false => {
                let seen = Seen::Whole(Value::from_bits(op.saw as u64));
                history.read(tag, 0, op.start, op.end.unwrap_or(op.start), vec![seen]);
            }
        }
    }
    history
}

/// Whether some order explains it: every one is tried.
fn explained(ops: &[Op], once: bool) -> bool {
    // What has had its last effect, and what is in the register.
    let mut seen = HashSet::new();
    let mut open = vec![(0u32, 0usize)];
    let must = |index: &usize| !ops[*index].write || ops[*index].end.is_some();
    while let Some((closed, value)) = open.pop() {
        if !seen.insert((closed, value)) {
            continue;
        }
        let is_closed = |index: usize| closed & (1 << index) != 0;
        if (0..ops.len()).filter(must).all(is_closed) {
            return true;
        }
        for (index, op) in ops.iter().enumerate() {
            let before = |other: usize| is_closed(other) || !ops[other].precedes(op);
            if is_closed(index) || !(0..ops.len()).all(before) {
                continue;
            }
            let after = closed | (1 << index);
            if op.write {
                open.push((after, index + 1));
                if !once {
                    open.push((closed, index + 1));
                }
            } else if op.saw == value {
                open.push((after, value));
            }
        }
    }
    false
}

fn any_op(ops: usize) -> impl Strategy<Value = Op> {
    (0..12u64, 0..8u64, 0..8u8, any::<bool>(), 0..=ops).prop_map(
        |(start, length, ended, write, saw)| Op {
            start,
            end: (ended > 0 || !write).then_some(start + length),
            write,
            saw,
        },
    )
}

fn any_history() -> impl Strategy<Value = Vec<Op>> {
    (2..8usize).prop_flat_map(|ops| {
        proptest::collection::vec(any_op(ops), ops).prop_map(|mut ops| {
            // A read sees a write; which is what makes histories that are nearly legal.
            let writes: Vec<usize> = (0..ops.len()).filter(|&index| ops[index].write).collect();
            for op in ops.iter_mut().filter(|op| !op.write && op.saw > 0) {
                op.saw = match writes.is_empty() {
                    true => 0,
                    false => writes[op.saw % writes.len()] + 1,
                };
            }
            ops
        })
    })
}

const CELLS: usize = 3;
const BLOCKS: u64 = 3;

/// An operation on the simulated disk: when it begins, when it ends, where, and when it has effect
/// on each cell; a write perhaps more than once.
#[derive(Clone, Debug)]
struct Job {
    write: bool,
    first: u64,
    blocks: u64,
    start: Time,
    end: Time,
    told: bool,
    effects: Vec<Time>,
}

/// One effect of a job on one cell, at a moment.
#[derive(Clone, Copy)]
struct Effect {
    at: Time,
    job: usize,
    block: u64,
    cell: usize,
}

fn any_job() -> impl Strategy<Value = Job> {
    let moments = proptest::collection::vec(0..100u64, 2 * CELLS);
    (
        any::<bool>(),
        0..BLOCKS,
        1..=BLOCKS,
        0..60u64,
        1..25u64,
        0..10u8,
        moments,
    )
        .prop_map(|(write, first, blocks, start, length, told, moments)| Job {
            write,
            first,
            blocks: blocks.min(BLOCKS - first),
            start,
            end: start + length,
            told: !write || told > 0,
            effects: moments
                .into_iter()
                .map(|at| start + at * length / 100)
                .collect(),
        })
}

/// Plays the jobs on a disk. `model` says whether a block changes all at once, and whether a write
/// may come twice.
fn simulate(jobs: &[Job], model: Model) -> History {
    let mut effects = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        for block in job.first..job.first + job.blocks {
            for cell in 0..CELLS {
                let own = if model.whole { 0 } else { cell };
                let rounds = if job.write && !model.once { 2 } else { 1 };
                for round in 0..rounds {
                    let at = job.effects[own + round * CELLS];
                    effects.push(Effect {
                        at,
                        job: number,
                        block,
                        cell,
                    });
                }
            }
        }
    }
    // Effects at one moment come in the order of the jobs; any would do, but for all cells the same.
    effects.sort_by_key(|effect| (effect.at, effect.job));
    let mut disk = [[Value::BLANK; CELLS]; BLOCKS as usize];
    let mut seen = vec![[[Value::BLANK; CELLS]; BLOCKS as usize]; jobs.len()];
    let tag = |number: usize| Tag::new(1, number as u64 + 1);
    for effect in effects {
        let (block, cell) = (effect.block as usize, effect.cell);
        match jobs[effect.job].write {
            true => disk[block][cell] = tag(effect.job).value(),
            false => seen[effect.job][block][cell] = disk[block][cell],
        }
    }
    let mut history = History::new(CELLS);
    for (number, job) in jobs.iter().enumerate() {
        let blocks = job.first..job.first + job.blocks;
        if job.write {
            history.write(tag(number), blocks, job.start, job.told.then_some(job.end));
            continue;
        }
        let found = blocks
            .map(|block| Seen::of(&seen[number][block as usize].map(Cell::Value)))
            .collect();
        history.read(tag(number), job.first, job.start, job.end, found);
    }
    history
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    proptest::collection::vec(any_job(), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_verdict_is_that_of_trying_all_orders(ops in any_history()) {
        let history = history_of(&ops);
        for once in [true, false] {
            let model = Model { whole: true, once };
            let verdict = history.check(model);
            prop_assert_eq!(verdict.is_ok(), explained(&ops, once), "{:?}: {:?}", model, verdict);
        }
    }

    #[test]
    fn what_a_disk_does_is_accepted(jobs in jobs()) {
        for (whole, once) in [(true, true), (true, false), (false, true), (false, false)] {
            let model = Model { whole, once };
            let verdict = simulate(&jobs, model).check(model);
            prop_assert!(verdict.is_ok(), "{:?}: {:?}", model, verdict);
        }
    }

    #[test]
    fn a_read_of_another_time_is_rejected(jobs in jobs(), which in any::<prop::sample::Index>()) {
        // Behind everything: a write, another one, and a read of the first.
        let mut history = simulate(&jobs, Model::REDELIVERED);
        let block = which.index(BLOCKS as usize) as u64;
        let (old, new) = (Tag::new(2, 1), Tag::new(2, 2));
        history.write(old, block..block + 1, 200, Some(210));
        history.write(new, block..block + 1, 220, Some(230));
        history.read(Tag::new(3, 1), block, 240, 250, vec![Seen::Whole(old.value())]);
        let violations = history.check(Model::REDELIVERED).unwrap_err();
        prop_assert_eq!(violations.len(), 1);
        prop_assert_eq!(violations[0].block, block);
    }
}

#[test]
fn a_long_history_is_checked_in_the_time_it_takes_to_sort() {
    // All on one block: for each pair of operations to be compared takes sixteen times as long for
    // four times as many. The shortest of three times, as others use the machine, too.
    let time = |steps: u64| {
        let mut history = History::new(1);
        for step in 1..=steps {
            let (start, end) = (step * 10, step * 10 + 15);
            history.write(Tag::new(0, step), 0..1, start, Some(end));
            let seen = vec![Seen::Whole(Tag::new(0, step).value())];
            history.read(Tag::new(1, step), 0, end + 1, end + 2, seen);
        }
        let check = |_| {
            let started = std::time::Instant::now();
            history.check(Model::REDELIVERED).unwrap();
            started.elapsed()
        };
        (0..3).map(check).min().unwrap_or_default()
    };
    let (short, long) = (time(25_000), time(100_000));
    assert!(long < short * 10, "{short:?}, then {long:?}");
}
