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

/// What nobody refers to any more, each told once; nothing on kernels that cannot tell.
pub(crate) fn leaks() -> Result<Vec<String>> {
    /// What is younger is not looked at, as its address may still be in a register.
    const AGE: Duration = Duration::from_millis(5100);
    if !Path::new(KMEMLEAK).exists() {
        return Ok(Vec::new());
    }
    thread::sleep(AGE);
    tell_kmemleak("scan")?;
    if found()?.is_empty() {
        return Ok(Vec::new());
    }
    // An address on its way from one place to the other is missed by one scan, not by two.
    tell_kmemleak("scan")?;
    let found = found()?;
    tell_kmemleak("clear")?;
    Ok(found)
}

fn tell_kmemleak(word: &str) -> Result<()> {
    fs::write(KMEMLEAK, word).with_context(|| format!("{word} to {KMEMLEAK}"))
}

/// One line for each object: what it is, and who allocated it.
fn found() -> Result<Vec<String>> {
    let text = fs::read_to_string(KMEMLEAK).context(KMEMLEAK)?;
    Ok(objects(&text))
}

fn objects(text: &str) -> Vec<String> {
    let objects = text.split("unreferenced object ").skip(1);
    objects
        .map(|object| {
            let lines = object.lines().map(str::trim);
            let telling = lines.filter(|line| !line.contains(" .") && !line.is_empty());
            telling.take(14).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_a_line_with_its_allocator() {
        let text = "unreferenced object 0xffff88800a (size 32):\n  \
                    comm \"insmod\", pid 9, jiffies 42\n  \
                    hex dump (first 32 bytes):\n    \
                    00 01 02  ........\n  \
                    backtrace (crc 0):\n    \
                    kmalloc+0x1/0x2\n    \
                    leak+0x3/0x4\n\
                    unreferenced object 0xffff88800b (size 8):\n  \
                    comm \"x\"\n";
        let objects = objects(text);
        assert_eq!(objects.len(), 2);
        assert!(objects[0].starts_with("0xffff88800a (size 32): comm \"insmod\""));
        assert!(
            objects[0].ends_with("kmalloc+0x1/0x2 leak+0x3/0x4"),
            "{}",
            objects[0]
        );
        assert!(!objects[0].contains("..."));
    }
}
