// SPDX-License-Identifier: MIT

//! The load: threads that change files and sync each change, beside one that never does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{anyhow, Context, Result};
use nix::fcntl::OFlag;

use crate::plan::{Files, Plan, Step, THREADS};
use crate::random::Random;

/// Where the files are that nobody syncs.
const NOISE: &str = "noise";

/// Makes the directories of a load. They are durable when the file system is next synced.
pub fn prepare(place: &Path) -> Result<()> {
    for thread in 0..THREADS {
        fs::create_dir(place.join(Plan::directory(thread)))?;
    }
    fs::create_dir(place.join(NOISE))?;
    let directory = File::open(place)?;
    nix::unistd::syncfs(&directory).context("syncing the file system")?;
    Ok(())
}

/// Has every thread take so many steps, or go on for ever. `synced` is told of each step when its
/// sync has returned: which thread, how many it has taken.
pub fn run(
    place: &Path,
    seed: u64,
    steps: Option<u64>,
    synced: &(impl Fn(u64, u64) -> io::Result<()> + Sync),
) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let noise = scope.spawn(|| make_noise(&place.join(NOISE), seed, &over));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || follow(place, seed, thread, steps, synced)))
            .collect();
        let mut result = Ok(());
        for thread in threads {
            let ended = thread.join().map_err(|_| anyhow!("a thread panicked"));
            result = result.and(ended.and_then(|ended| ended));
        }
        over.store(true, Ordering::Relaxed);
        let noise = noise.join().map_err(|_| anyhow!("a thread panicked"));
        result.and(noise.and_then(|noise| noise))
    })
}

fn follow(
    place: &Path,
    seed: u64,
    thread: u64,
    steps: Option<u64>,
    synced: &impl Fn(u64, u64) -> io::Result<()>,
) -> Result<()> {
    let place = place.join(Plan::directory(thread));
    let mut plan = Plan::new(seed, thread);
    while steps.is_none_or(|steps| plan.steps() < steps) {
        let step = plan.next();
        perform(&place, &step)
            .with_context(|| format!("thread {thread}, step {}: {}", plan.steps(), step.name()))?;
        plan.take();
        synced(thread, plan.steps())?;
    }
    Ok(())
}

/// Does one step; it is synced when this returns.
fn perform(place: &Path, step: &Step) -> io::Result<()> {
    let path = place.join(step.name());
    match step {
        Step::Create { data, .. } => {
            create(&path, data)?;
            sync_directory(place)
        }
        Step::Append { data, .. } => {
            let mut file = OpenOptions::new().append(true).open(path)?;
            file.write_all(data)?;
            file.sync_data()
        }
        Step::Patch { at, data, .. } => patch(&path, *at as u64, data),
        Step::Replace { name, data } => {
            let spare = step.spare().unwrap_or_else(|| format!("{name}.new"));
            let spare = place.join(spare);
            create(&spare, data)?;
            fs::rename(spare, path)?;
            sync_directory(place)
        }
        Step::Delete { .. } => {
            fs::remove_file(path)?;
            sync_directory(place)
        }
    }
}

fn create(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(data)?;
    file.sync_all()
}

fn sync_directory(place: &Path) -> io::Result<()> {
    File::open(place)?.sync_all()
}

fn patch(path: &Path, at: u64, data: &[u8]) -> io::Result<()> {
    const ALIGN: usize = 4096;
    let flags = OFlag::O_DIRECT | OFlag::O_DSYNC;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let mut buffer = vec![0; data.len() + ALIGN];
    let start = buffer.as_ptr().align_offset(ALIGN);
    buffer[start..start + data.len()].copy_from_slice(data);
    file.write_all_at(&buffer[start..start + data.len()], at)
}

/// Writes that nobody waits for: what a cache may lose, and may write back in any order.
fn make_noise(place: &Path, seed: u64, over: &AtomicBool) -> Result<()> {
    let mut random = Random::of(seed, u64::MAX);
    while !over.load(Ordering::Relaxed) {
        let path = place.join(format!("noise{}", random.below(16)));
        if random.percent(30) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => continue,
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        let data = random.bytes(1 + random.clone().below(32 << 10) as usize);
        let written = file.write_all_at(&data, random.below(256 << 10));
        match written {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error.into()),
            _ => {}
        }
        // Not a wait for anything: so that what is synced has its share of the disk.
        thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
}

/// The files of each thread below a place.
pub fn find(place: &Path) -> Result<Vec<Files>> {
    let mut all = Vec::new();
    for thread in 0..THREADS {
        let mut files = Files::new();
        let place = place.join(Plan::directory(thread));
        let entries = fs::read_dir(&place)
            .with_context(|| format!("{}, which was synced, is gone", Plan::directory(thread)))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name.clone(), fs::read(entry.path()).context(name)?);
        }
        all.push(files);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn what_a_load_leaves_is_what_its_plan_says() {
        let place = std::env::temp_dir().join(format!("powercut-load-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let told = Mutex::new(Vec::new());
        let result = prepare(&place).and_then(|()| {
            run(&place, 3, Some(40), &|thread, steps| {
                told.lock().unwrap().push((thread, steps));
                Ok(())
            })
        });
        match result {
            // A file system without direct I/O, as tmpfs of old.
            Err(error)
                if error
                    .downcast_ref::<io::Error>()
                    .is_some_and(|error| error.kind() == io::ErrorKind::InvalidInput) =>
            {
                eprintln!("skipped: {}: {error:#}", place.display());
            }
            result => {
                result.unwrap();
                for (thread, files) in find(&place).unwrap().into_iter().enumerate() {
                    let mut plan = Plan::new(3, thread as u64);
                    plan.advance(40);
                    plan.judge(&files).unwrap();
                }
                assert_eq!(told.lock().unwrap().len(), 120);
            }
        }
        fs::remove_dir_all(&place).unwrap();
    }
}
