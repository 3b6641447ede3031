// SPDX-License-Identifier: MIT

//! Makes states of logs, has each looked at, and counts what was found.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{anyhow, Context, Result};

use crate::crash::{History, Pick, State};
use crate::fsck::{Found, Kind, Tools};
use crate::plan::Plan;

/// How to check.
#[derive(Clone, Debug)]
pub struct How {
    /// States altogether.
    pub states: usize,
    /// Which.
    pub seed: u64,
    /// Threads. Mounting takes one.
    pub jobs: usize,
    /// Mount the images, instead of looking from outside.
    pub mount: bool,
    /// Where the images are made; best in memory.
    pub place: PathBuf,
    /// What looks at them.
    pub tools: Tools,
}

/// A log and what its words say is on the disk.
#[derive(Debug)]
pub struct Case {
    name: String,
    history: History,
    kind: Kind,
    options: String,
}

impl Case {
    /// Reads a log.
    pub fn read(path: &Path) -> Result<Case> {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| name.clone())?;
        let history = History::parse(bytes).with_context(|| name.clone())?;
        let about = history.shape().about.clone();
        let (kind, options) = about.split_once(' ').unwrap_or((&about, ""));
        Ok(Case {
            kind: kind.parse().with_context(|| name.clone())?,
            options: options.to_string(),
            name,
            history,
        })
    }

    /// How many writes, flushes and syncs of the load it has.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.history.counts()
    }

    /// Writes one state into a new image.
    pub fn write(&self, at: usize, pick: Pick, image: &Path) -> Result<()> {
        write(
            &self.history.state(at, pick),
            self.history.shape().bytes,
            image,
        )
    }
}

fn write(state: &State<'_>, bytes: u64, image: &Path) -> Result<()> {
    // A new file each time: what a tool did to the last one is gone, and it is sparse.
    let _ = fs::remove_file(image);
    let file = File::create_new(image).with_context(|| image.display().to_string())?;
    file.set_len(bytes)?;
    state
        .pieces(|offset, data| file.write_all_at(data, offset))
        .with_context(|| image.display().to_string())
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States that were made and looked at, no two alike.
    pub states: usize,
    /// Of disks with a volatile cache.
    pub cached: usize,
    /// Of which the files were read, too.
    pub read: usize,
    /// Steps that had been synced in those, altogether.
    pub steps: u64,
    /// States whose file system was not whole.
    pub damaged: usize,
    /// States in which something that had been synced was lost.
    pub lost: usize,
    /// What was wrong with the first few.
    pub words: Vec<String>,
}

/// How many are described.
const WORDS: usize = 5;

impl Tally {
    /// Whether nothing is wrong, and something was looked at.
    pub fn good(&self) -> bool {
        self.states > 0 && self.damaged == 0 && self.lost == 0
    }

    fn say(&mut self, words: String) {
        if self.words.len() < WORDS {
            self.words.push(words);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states ({} with a volatile cache, {} without): {} file systems not whole; \
             {} read back, {} synced steps in them: {} with a synced step lost",
            self.states,
            self.cached,
            self.states - self.cached,
            self.damaged,
            self.read,
            self.steps,
            self.lost
        )
    }
}

/// Checks states of all cases, an equal share of each.
pub fn check(cases: &[Case], how: &How) -> Result<Tally> {
    let mut work = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let share = (how.states + number) / cases.len();
        for (at, pick) in case.history.schedule(share, how.seed) {
            work.push((case, at, pick));
        }
    }
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let jobs = match how.mount {
        // States of one log have one UUID: xfs refuses a second mount, and btrfs takes the images of
        // two for devices of one file system.
        true => 1,
        false => how.jobs.clamp(1, work.len().max(1)),
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|job| {
                let (next, work, tally) = (&next, &work, &tally);
                let place = how.place.join(format!("job{job}"));
                scope.spawn(move || -> Result<()> {
                    fs::create_dir_all(&place)?;
                    while let Some(&(case, at, pick)) =
                        work.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        one(case, at, pick, how, &place, tally)
                            .with_context(|| format!("{}: position {at}, {pick:?}", case.name))?;
                    }
                    Ok(fs::remove_dir_all(place)?)
                })
            })
            .collect();
        let mut result = Ok(());
        for thread in threads {
            let ended = thread.join().map_err(|_| anyhow!("a thread panicked"));
            result = result.and(ended.and_then(|ended| ended));
        }
        result
    })?;
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn one(
    case: &Case,
    at: usize,
    pick: Pick,
    how: &How,
    place: &Path,
    tally: &Mutex<Tally>,
) -> Result<()> {
    let (image, spare) = (place.join("disk"), place.join("files"));
    case.write(at, pick, &image)?;
    let found = if how.mount {
        how.tools.mount(case.kind, &case.options, &image, &spare)?
    } else {
        how.tools.look(case.kind, &case.options, &image, &spare)?
    };
    if spare.exists() {
        fs::remove_dir_all(&spare)?;
    }
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    count(case, at, pick, &found, &mut tally);
    Ok(())
}

fn count(case: &Case, at: usize, pick: Pick, found: &Found, tally: &mut Tally) {
    let here = format!("{}: position {at}, {pick:?}", case.name);
    tally.states += 1;
    tally.cached += usize::from(!case.history.shape().write_through);
    if let Some(words) = &found.damage {
        tally.damaged += 1;
        tally.say(format!("{here}: not whole: {words}"));
    }
    let Some(files) = &found.files else {
        return;
    };
    let synced = case.history.synced(at);
    tally.read += 1;
    tally.steps += synced.values().sum::<u64>();
    let judged = match files {
        Err(error) => Err(anyhow!("{error:#}")),
        Ok(files) => files.iter().zip(0..).try_for_each(|(files, thread)| {
            let mut plan = Plan::new(case.history.shape().seed, thread);
            plan.advance(synced.get(&thread).copied().unwrap_or(0));
            plan.judge(files)
                .with_context(|| format!("thread {thread} after {} synced steps", plan.steps()))
        }),
    };
    if let Err(error) = judged {
        tally.lost += 1;
        tally.say(format!("{here}: lost: {error:#}"));
    }
}
