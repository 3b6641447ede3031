// SPDX-License-Identifier: MIT

//! Failures on request: of one allocation, or one copy from or to user memory, of one thread.
//!
//! A sweep does something again and again, the first time with the first of its allocations and
//! copies failing, then with the second, until there is none left to fail.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use super::kernel_log::KernelLog;

const DEBUG: &str = "/sys/kernel/debug";

/// What is told to the kernel: everything may fail, also what would usually be tried for long; one
/// line for each, and no stack.
const SETTINGS: &[(&str, &str)] = &[
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/cache-filter", "Y"),
    ("failslab/verbose", "1"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "1"),
    ("fail_usercopy/verbose", "1"),
];

/// More failures than any one call has room for.
const TOO_MANY: u32 = 5000;

/// A kernel that fails on request.
#[derive(Debug)]
pub struct Faults {
    log: KernelLog,
}

impl Faults {
    /// `None`: this kernel does not.
    pub fn new() -> Result<Option<Faults>> {
        let kinds = ["failslab", "fail_page_alloc", "fail_usercopy"];
        if !kinds
            .iter()
            .all(|kind| Path::new(DEBUG).join(kind).exists())
        {
            return Ok(None);
        }
        for (setting, value) in SETTINGS {
            let path = Path::new(DEBUG).join(setting);
            fs::write(&path, value).with_context(|| path.display().to_string())?;
        }
        choose_slabs()?;
        let log = KernelLog::begin("abuse-scenarios: failures begin")?;
        Ok(Some(Faults { log }))
    }

    /// Does `attempt` until it comes to its end without a failure. How many failures there were.
    pub fn sweep(what: &str, mut attempt: impl FnMut(&Fault) -> Result<()>) -> Result<u32> {
        for nth in 1..TOO_MANY {
            let fault = Fault {
                nth,
                hit: Cell::new(false),
            };
            attempt(&fault).with_context(|| format!("{what}, failure {nth}"))?;
            if !fault.hit.get() {
                return Ok(nth - 1);
            }
        }
        anyhow::bail!("{what}: {TOO_MANY} things could fail, and no end of it")
    }

    /// What the kernel says it failed: of slabs, pages, and copies.
    pub fn counts(&mut self) -> Result<[usize; 3]> {
        let lines = self.log.lines()?;
        Ok(
            ["failslab,", "fail_page_alloc,", "fail_usercopy,"].map(|kind| {
                let name = format!("name {kind}");
                lines.iter().filter(|line| line.contains(&name)).count()
            }),
        )
    }
}

/// Lets slabs fail, all but those of a checker that keeps a record of each allocation, which would be
/// what fails every other time, and those of which the kernel's tracing warns when it has none for a
/// module that comes, as of a fault of its own.
fn choose_slabs() -> Result<()> {
    const SLABS: &str = "/sys/kernel/slab";
    const NEVER: [&str; 2] = ["kmemleak", "ftrace_event_field"];
    for slab in fs::read_dir(SLABS).context(SLABS)? {
        let slab = slab?;
        let name = slab.file_name().to_string_lossy().into_owned();
        let may = !NEVER.iter().any(|never| name.starts_with(never));
        let path = slab.path().join("failslab");
        fs::write(&path, if may { "1" } else { "0" })
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// One failure to come.
#[derive(Debug)]
pub struct Fault {
    nth: u32,
    hit: Cell<bool>,
}

impl Fault {
    /// Does this with the failure lying in wait for this thread.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/proc/thread-self/fail-nth")
            .context("/proc/thread-self/fail-nth")?;
        file.write_all_at(self.nth.to_string().as_bytes(), 0)?;
        let result = work();
        // Looking may itself be what fails: then the call had come to its end before.
        let mut left = [0; 16];
        let hit = file
            .read_at(&mut left, 0)
            .is_ok_and(|bytes| left[..bytes].trim_ascii() == b"0");
        disarm(&file)?;
        self.hit.set(self.hit.get() || hit);
        Ok(result)
    }

    /// Whether it came about.
    pub fn hit(&self) -> bool {
        self.hit.get()
    }
}

fn disarm(file: &File) -> Result<()> {
    // The failure may lie in wait for this, too, but only once.
    let disarmed = file.write_at(b"0", 0).or_else(|_| file.write_at(b"0", 0));
    ensure!(disarmed.context("disarming a failure")? == 1);
    Ok(())
}
