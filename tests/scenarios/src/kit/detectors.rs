// SPDX-License-Identifier: MIT

//! What a debug kernel can do that others cannot: look for memory that nobody refers to any more,
//! fail on request; and how much slower it is for it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Only there where locks are proved.
const LOCKDEP: &str = "/proc/lockdep_stats";
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// What the debug kernel needs for what others do in the same time, with something to spare.
const SLOWER: u32 = 4;

/// Whether this is the debug kernel.
pub fn present() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    *PRESENT.get_or_init(|| Path::new(LOCKDEP).exists())
}

/// A time limit, as long as it has to be for this kernel.
pub fn patience(limit: Duration) -> Duration {
    limit * if present() { SLOWER } else { 1 }
}

/// Memory that nobody refers to any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leak {
    /// When it was allocated, in jiffies.
    pub(crate) when: u64,
    /// What it is, and who allocated it.
    pub(crate) what: String,
}

/// The kernel's clock, as leaks know it; 0 where nobody looks for leaks.
pub(crate) fn jiffies() -> Result<u64> {
    const TIMERS: &str = "/proc/timer_list";
    if !Path::new(KMEMLEAK).exists() {
        return Ok(0);
    }
    let text = fs::read_to_string(TIMERS).context(TIMERS)?;
    let found = text.lines().find_map(|line| line.strip_prefix("jiffies: "));
    Ok(found
        .context("no jiffies in /proc/timer_list")?
        .trim()
        .parse()?)
}

/// What leaked, each told once; nothing on kernels that cannot tell. Takes several seconds.
pub(crate) fn leaks() -> Result<Vec<Leak>> {
    /// What is younger is not looked at, as its address may still be in a register.
    const AGE: Duration = Duration::from_millis(5100);
    if !Path::new(KMEMLEAK).exists() {
        return Ok(Vec::new());
    }
    thread::sleep(AGE);
    // The first only learns what everything looks like: what has changed since is in use.
    tell_kmemleak("scan")?;
    tell_kmemleak("scan")?;
    let found = found()?;
    tell_kmemleak("clear")?;
    Ok(found)
}

fn tell_kmemleak(word: &str) -> Result<()> {
    fs::write(KMEMLEAK, word).with_context(|| format!("{word} to {KMEMLEAK}"))
}

fn found() -> Result<Vec<Leak>> {
    let text = fs::read_to_string(KMEMLEAK).context(KMEMLEAK)?;
    Ok(objects(&text))
}

fn objects(text: &str) -> Vec<Leak> {
    let objects = text.split("unreferenced object ").skip(1);
    objects.map(leak).collect()
}

fn leak(object: &str) -> Leak {
    let behind = object.split_once("jiffies ").map(|(_, behind)| behind);
    let number = behind.and_then(|behind| behind.split(|c: char| !c.is_ascii_digit()).next());
    // Without the bytes, and not the whole of a long way there.
    let bytes = |line: &str| line.contains("  ") || line.starts_with("hex dump");
    let lines = object.lines().map(str::trim);
    let telling = lines.filter(|line| !line.is_empty() && !bytes(line));
    Leak {
        when: number.and_then(|number| number.parse().ok()).unwrap_or(0),
        what: telling.take(14).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_a_line_with_its_allocator_and_its_time() {
        let text = "unreferenced object 0xffff88800a (size 32):\n  \
                    comm \"insmod\", pid 9, jiffies 4294942\n  \
                    hex dump (first 32 bytes):\n    \
                    00 01 02 03 04 05 06 07  ........\n  \
                    backtrace (crc 0):\n    \
                    kmalloc+0x1/0x2\n    \
                    leak+0x3/0x4 [abuse]\n\
                    unreferenced object 0xffff88800b (size 8):\n  \
                    comm \"x\"\n";
        let objects = objects(text);
        let what = "0xffff88800a (size 32): comm \"insmod\", pid 9, jiffies 4294942 \
                    backtrace (crc 0): kmalloc+0x1/0x2 leak+0x3/0x4 [abuse]";
        let first = Leak {
            when: 4_294_942,
            what: what.to_string(),
        };
        assert_eq!(objects[0], first);
        assert_eq!((objects.len(), objects[1].when), (2, 0));
    }
}
