// SPDX-License-Identifier: MIT

//! A program that takes memory or processors away for a while: `abuse-scenarios hog`.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

const PAGE: usize = 4096;

/// What it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hog {
    /// So many percent of the memory that is free.
    Memory(u64),
    /// All processors, with so many threads.
    Processors(u64),
    /// So many MiB, which it looks at again and again; each time it has seen that all is what it
    /// wrote, it says so in a line.
    Pages(u64),
}

impl Hog {
    /// Its arguments.
    pub fn words(self, time: Duration) -> Vec<String> {
        let (what, amount) = match self {
            Hog::Memory(percent) => ("memory", percent),
            Hog::Processors(threads) => ("processors", threads),
            Hog::Pages(mebibytes) => ("pages", mebibytes),
        };
        let time = time.as_millis();
        vec![
            "hog".into(),
            what.into(),
            amount.to_string(),
            time.to_string(),
        ]
    }
}

/// What `abuse-scenarios hog WHAT AMOUNT MILLISECONDS` does.
pub fn play(words: &[&str]) -> ExitCode {
    match take(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn take(words: &[&str]) -> Result<()> {
    let [what, amount, milliseconds] = *words else {
        bail!("what, how much and how long?");
    };
    let (amount, time) = (
        amount.parse()?,
        Duration::from_millis(milliseconds.parse()?),
    );
    // If anybody is to be killed for want of memory, this one is.
    std::fs::write("/proc/self/oom_score_adj", "1000").context("oom_score_adj")?;
    match what {
        "memory" => memory(amount, time),
        "processors" => processors(amount, time),
        "pages" => pages(amount, time),
        _ => bail!("{what}: what is that?"),
    }
}

fn memory(percent: u64, time: Duration) -> Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("MemAvailable")?
        .parse()?;
    let bytes = usize::try_from(kib * 1024 / 100 * percent)?;
    let until = Instant::now() + time;
    let mut memory: Vec<u8> = Vec::new();
    while memory.len() < bytes && Instant::now() < until {
        // Zeros that were never touched would be no memory.
        let piece = memory.len();
        memory.try_reserve(64 * PAGE)?;
        memory.resize(piece + 64 * PAGE, 1);
    }
    thread::sleep(until.saturating_duration_since(Instant::now()));
    std::hint::black_box(&memory);
    Ok(())
}

fn pages(mebibytes: u64, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    let bytes = usize::try_from(mebibytes << 20)?;
    let mut memory = vec![0_u8; bytes];
    let stamp = |page: usize| (page as u64 ^ 0x6162_7573_6520_7067).to_ne_bytes();
    for (number, page) in memory.chunks_exact_mut(PAGE).enumerate() {
        page[..8].copy_from_slice(&stamp(number));
        page[PAGE - 8..].copy_from_slice(&stamp(!number));
    }
    while Instant::now() < until {
        for (number, page) in std::hint::black_box(&memory).chunks_exact(PAGE).enumerate() {
            let whole = page[..8] == stamp(number) && page[PAGE - 8..] == stamp(!number);
            ensure!(whole, "page {number} is not what was written to it");
        }
        println!("all {mebibytes} MiB are there");
    }
    Ok(())
}

fn processors(threads: u64, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    let spin = move || {
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    };
    let spinning: Vec<_> = (0..threads).map(|_| thread::spawn(spin)).collect();
    for thread in spinning {
        thread.join().ok().context("a thread panicked")?;
    }
    Ok(())
}
