// SPDX-License-Identifier: MIT

//! What a thread of the load does to its files, step by step, each step synced before the next.
//!
//! The seed says it all: whoever knows how many steps had been synced knows every file byte for
//! byte, and which one step may have been going on. So nothing but that number has to survive.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Result};

use crate::random::Random;

/// Threads of a load.
pub const THREADS: u64 = 3;
/// What a patch writes, in one piece, past the page cache.
pub const PATCH: usize = 4096;
/// What a disk writes whole, at the least.
const SECTOR: usize = 512;
/// The longest file.
const LONGEST: usize = 64 << 10;
/// The most files of a thread.
const FILES: usize = 12;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// One change of one file. It has happened when its sync has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new file: written, synced, and its directory synced.
    Create {
        /// Its name.
        name: String,
        /// What is in it.
        data: Vec<u8>,
    },
    /// Bytes at its end, and fdatasync.
    Append {
        /// Its name.
        name: String,
        /// How long it was.
        length: usize,
        /// What is added.
        data: Vec<u8>,
    },
    /// Bytes in its middle, with O_DIRECT and O_DSYNC: FUA, where the file system can.
    Patch {
        /// Its name.
        name: String,
        /// Where.
        at: usize,
        /// What is written.
        data: Vec<u8>,
    },
    /// Other contents under the same name: a new file, synced, renamed over it, and the directory
    /// synced.
    Replace {
        /// Its name.
        name: String,
        /// What is in it.
        data: Vec<u8>,
    },
    /// No file any more, and the directory synced.
    Delete {
        /// Its name.
        name: String,
    },
}

impl Step {
    /// Whose contents change.
    pub fn name(&self) -> &str {
        match self {
            Step::Create { name, .. }
            | Step::Append { name, .. }
            | Step::Patch { name, .. }
            | Step::Replace { name, .. }
            | Step::Delete { name } => name,
        }
    }

    /// Where a replacement is made ready.
    pub fn spare(&self) -> Option<String> {
        match self {
            Step::Replace { name, .. } => Some(format!("{name}.new")),
            _ => None,
        }
    }

    fn apply(&self, files: &mut Files) {
        match self {
            Step::Create { name, data } | Step::Replace { name, data } => {
                files.insert(name.clone(), data.clone());
            }
            Step::Append { name, data, .. } => {
                files.entry(name.clone()).or_default().extend(data);
            }
            Step::Patch { name, at, data } => {
                if let Some(file) = files.get_mut(name) {
                    file[*at..at + data.len()].copy_from_slice(data);
                }
            }
            Step::Delete { name } => {
                files.remove(name);
            }
        }
    }

    /// Whether a file may look like this while the step is going on.
    fn may_leave(&self, before: Option<&[u8]>, found: Option<&[u8]>) -> bool {
        if before == found {
            return true;
        }
        match (self, before, found) {
            (Step::Create { data, .. }, None, Some(found)) => partly(found, data),
            (Step::Append { data, length, .. }, Some(before), Some(found)) => {
                found.starts_with(before) && partly(&found[*length..], data)
            }
            (Step::Patch { at, data, .. }, Some(before), Some(found)) => {
                let end = at + data.len();
                found.len() == before.len()
                    && found[..*at] == before[..*at]
                    && found[end..] == before[end..]
                    && (0..data.len()).step_by(SECTOR).all(|sector| {
                        let range = sector..sector + SECTOR;
                        let sector = &found[at + range.start..at + range.end];
                        sector == &data[range.clone()]
                            || sector == &before[at + range.start..at + range.end]
                    })
            }
            (Step::Replace { data, .. }, Some(_), Some(found)) => found == data,
            (Step::Delete { .. }, Some(_), None) => true,
            _ => false,
        }
    }
}

/// Whether `found` is a beginning of `data`, or zeros where that has not arrived. Never anything
/// else: a file that grows must not show what was on the disk before.
fn partly(found: &[u8], data: &[u8]) -> bool {
    found.len() <= data.len()
        && found
            .iter()
            .zip(data)
            .all(|(&found, &wanted)| found == wanted || found == 0)
}

/// The steps of one thread, and its files as they are after each.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    steps: u64,
    files: Files,
}

impl Plan {
    /// The plan of a thread, before its first step.
    pub fn new(seed: u64, thread: u64) -> Plan {
        Plan {
            seed: Random::of(seed, thread).next(),
            steps: 0,
            files: Files::new(),
        }
    }

    /// The directory of a thread.
    pub fn directory(thread: u64) -> String {
        format!("thread{thread}")
    }

    /// Steps that were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes steps until so many are taken.
    pub fn advance(&mut self, steps: u64) {
        while self.steps < steps {
            self.take();
        }
    }

    /// Takes one step, after it was done.
    pub fn take(&mut self) {
        let step = self.next();
        step.apply(&mut self.files);
        self.steps += 1;
    }

    /// The step to be taken.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&self) -> Step {
        let mut random = Random::of(self.seed, self.steps);
        let fresh = || format!("file{}", self.steps);
        if self.files.len() < 3 {
            let data = contents(&mut random, LONGEST / 2);
            return Step::Create {
                name: fresh(),
                data,
            };
        }
        let number = random.below(self.files.len() as u64) as usize;
        // There are at least three.
        let (name, file) = self
            .files
            .iter()
            .nth(number)
            .unwrap_or_else(|| unreachable!());
        let name = name.clone();
        let full = self.files.len() >= FILES;
        match random.below(100) {
            0..=24 if !full => Step::Create {
                name: fresh(),
                data: contents(&mut random, LONGEST / 2),
            },
            25..=49 if file.len() < LONGEST / 2 => Step::Append {
                name,
                length: file.len(),
                data: contents(&mut random, LONGEST / 4),
            },
            50..=74 if file.len() >= PATCH => Step::Patch {
                at: random.below((file.len() / PATCH) as u64) as usize * PATCH,
                data: random.bytes(PATCH),
                name,
            },
            75..=89 => Step::Replace {
                name,
                data: contents(&mut random, LONGEST / 2),
            },
            _ if full || random.percent(50) => Step::Delete { name },
            _ => Step::Replace {
                name,
                data: contents(&mut random, LONGEST / 2),
            },
        }
    }

    /// Fails unless these may be the files of this thread when all steps so far have been synced,
    /// and the next may be going on.
    pub fn judge(&self, found: &Files) -> Result<()> {
        let next = self.next();
        for (name, wanted) in &self.files {
            let there = found.get(name).map(Vec::as_slice);
            if name == next.name() {
                continue;
            }
            match there {
                None => bail!("{name}, {} bytes that were synced, is gone", wanted.len()),
                Some(there) if there != wanted => bail!("{name}: {}", difference(wanted, there)),
                Some(_) => {}
            }
        }
        let before = self.files.get(next.name()).map(Vec::as_slice);
        let there = found.get(next.name()).map(Vec::as_slice);
        ensure!(
            next.may_leave(before, there),
            "{}, which was being changed, is neither as it was nor as it is to be: {}",
            next.name(),
            match (before, there) {
                (Some(before), Some(there)) => difference(before, there),
                (None, Some(there)) => format!("{} bytes", there.len()),
                (_, None) => "it is gone".into(),
            }
        );
        let spare = next.spare();
        for name in found.keys() {
            ensure!(
                self.files.contains_key(name)
                    || name == next.name()
                    || Some(name) == spare.as_ref(),
                "{name} is there and should not be: its removal was synced"
            );
        }
        Ok(())
    }

    /// The same, when it is only known that `steps` or more have been synced. How many had.
    pub fn judge_from(&mut self, steps: u64, most: u64, found: &Files) -> Result<u64> {
        self.advance(steps);
        let first = match self.judge(found) {
            Ok(()) => return Ok(self.steps),
            Err(error) => error,
        };
        while self.steps < steps + most {
            self.take();
            if self.judge(found).is_ok() {
                return Ok(self.steps);
            }
        }
        Err(first)
    }
}

/// Any length, short ones as often as long ones; never none.
fn contents(random: &mut Random, longest: usize) -> Vec<u8> {
    let limit = longest >> random.below(6);
    let length = 1 + random.below(limit as u64) as usize;
    let mut bytes = random.bytes(length);
    // A zero could be one that never arrived.
    for byte in &mut bytes {
        *byte |= 1;
    }
    bytes
}

fn difference(wanted: &[u8], found: &[u8]) -> String {
    let first = wanted.iter().zip(found).position(|(a, b)| a != b);
    match first {
        Some(at) => format!(
            "{} bytes instead of {}, the first other one at {at}",
            found.len(),
            wanted.len()
        ),
        None => format!("{} bytes instead of {}", found.len(), wanted.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: u64) -> Plan {
        let mut plan = Plan::new(5, 1);
        plan.advance(steps);
        plan
    }

    #[test]
    fn a_seed_repeats_a_plan_and_every_kind_of_step_comes() {
        let mut kinds = std::collections::HashSet::new();
        let mut plan = plan(0);
        for _ in 0..300 {
            assert_eq!(plan.next(), plan.clone().next());
            kinds.insert(std::mem::discriminant(&plan.next()));
            plan.take();
            assert!(plan.files.len() <= FILES);
            assert!(plan.files.values().all(|file| file.len() <= LONGEST));
        }
        assert_eq!(kinds.len(), 5);
        assert_ne!(Plan::new(5, 1).next(), Plan::new(5, 2).next());
        assert_ne!(Plan::new(5, 1).next(), Plan::new(6, 1).next());
    }

    #[test]
    fn what_was_synced_passes_before_and_after_the_step_that_goes_on() {
        for steps in 0..200 {
            let now = plan(steps);
            now.judge(&now.files).unwrap();
            now.judge(&plan(steps + 1).files).unwrap();
        }
    }

    #[test]
    fn anything_else_does_not() {
        for steps in 3..100 {
            let now = plan(steps);
            let next = now.next();
            for name in now.files.keys().filter(|name| *name != next.name()) {
                let mut found = now.files.clone();
                found.remove(name);
                assert!(now.judge(&found).is_err(), "{name} is gone");
                let mut found = now.files.clone();
                if let Some(file) = found.get_mut(name) {
                    file[0] ^= 2;
                }
                assert!(now.judge(&found).is_err(), "{name} was changed");
                if let Some(file) = found.get_mut(name) {
                    file[0] ^= 2;
                    file.pop();
                }
                assert!(now.judge(&found).is_err(), "{name} is shorter");
            }
            let mut found = now.files.clone();
            found.insert("file-of-old".into(), vec![1]);
            assert!(now.judge(&found).is_err(), "what was removed is back");
            // A step that was synced and is not there.
            if steps > 3 {
                let old = plan(steps - 1);
                let same_file = old.next().name() == next.name();
                assert!(same_file || now.judge(&old.files).is_err(), "step {steps}");
            }
        }
    }

    #[test]
    fn a_step_that_goes_on_may_leave_a_part_but_nothing_foreign() {
        let create = Step::Create {
            name: "a".into(),
            data: vec![3; 9],
        };
        assert!(create.may_leave(None, Some(&[3; 9])));
        assert!(create.may_leave(None, Some(&[3, 3, 0, 0])));
        assert!(create.may_leave(None, None));
        assert!(!create.may_leave(None, Some(&[3, 4])));
        assert!(!create.may_leave(None, Some(&[3; 10])));

        let append = Step::Append {
            name: "a".into(),
            length: 2,
            data: vec![3; 2],
        };
        assert!(append.may_leave(Some(&[1, 1]), Some(&[1, 1, 3])));
        assert!(!append.may_leave(Some(&[1, 1]), Some(&[1])));
        assert!(!append.may_leave(Some(&[1, 1]), Some(&[1, 0, 3])));
        assert!(!append.may_leave(Some(&[1, 1]), None));

        let patch = Step::Patch {
            name: "a".into(),
            at: PATCH,
            data: vec![3; PATCH],
        };
        let before = vec![1; 3 * PATCH];
        let mut torn = before.clone();
        torn[PATCH..PATCH + SECTOR].fill(3);
        assert!(patch.may_leave(Some(&before), Some(&torn)));
        torn[PATCH + SECTOR] = 3;
        assert!(!patch.may_leave(Some(&before), Some(&torn)));
        let mut outside = before.clone();
        outside[0] = 3;
        assert!(!patch.may_leave(Some(&before), Some(&outside)));

        let replace = Step::Replace {
            name: "a".into(),
            data: vec![3; 5],
        };
        assert!(replace.may_leave(Some(&[1]), Some(&[3; 5])));
        assert!(!replace.may_leave(Some(&[1]), Some(&[3; 4])));
        assert!(!replace.may_leave(Some(&[1]), None));

        let delete = Step::Delete { name: "a".into() };
        assert!(delete.may_leave(Some(&[1]), None));
        assert!(!delete.may_leave(Some(&[1]), Some(&[])));
    }

    #[test]
    fn more_than_was_heard_of_may_have_been_synced_but_not_less() {
        let later = plan(40).files;
        // Thirty-nine and the step that made it forty look the same.
        assert!((39..=40).contains(&plan(0).judge_from(30, 20, &later).unwrap()));
        assert!(plan(0).judge_from(30, 5, &later).is_err());
        assert!(plan(0).judge_from(45, 50, &later).is_err());
    }
}
