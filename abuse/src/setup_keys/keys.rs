// SPDX-License-Identifier: MIT

//! The keys of `setup`: one table for parsing, for `setup --help` and for the man page.

use std::time::Duration;

use crate::Setup;

/// What stands behind `=`, and where it goes.
pub enum Value {
    /// Nothing: the key alone says it.
    Word(fn(&mut Setup)),
    /// Nothing, or yes or no.
    Switch(fn(&mut Setup, bool)),
    /// A size of the disk's order.
    Bytes(fn(&mut Setup, u64)),
    /// A size of a request's order.
    Bytes32(fn(&mut Setup, u32)),
    /// A number.
    Count(fn(&mut Setup, u32)),
    /// A time, or off.
    Time(fn(&mut Setup, Option<Duration>)),
}

/// One key.
pub struct Key {
    /// The name used in messages.
    pub name: &'static str,
    /// Other spellings, those of 2009 among them.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub value: Value,
    /// One line for `--help`.
    pub help: &'static str,
}

impl Key {
    /// The key as `--help` shows it: `size|sz=SIZE`.
    pub fn grammar(&self) -> String {
        let mut text = self.name.to_string();
        for alias in self.aliases {
            text.push('|');
            text.push_str(alias);
        }
        text + match self.value {
            Value::Word(_) => "",
            Value::Switch(_) => "[=yes|no]",
            Value::Bytes(_) | Value::Bytes32(_) => "=SIZE",
            Value::Count(_) => "=N",
            Value::Time(_) => "=TIME",
        }
    }
}

/// Finds a key by any of its spellings.
pub fn find(word: &str) -> Option<&'static Key> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    KEYS.iter()
        .find(|key| key.name == word || key.aliases.contains(&word.as_str()))
}

/// Every spelling of every key.
pub fn spellings() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
}

/// The table as lines for `setup --help`.
pub fn help() -> String {
    let mut text = String::from("Keys:\n");
    for key in KEYS {
        text.push_str(&format!("  {:<34} {}\n", key.grammar(), key.help));
    }
    text
}

macro_rules! key {
    ($name:literal $([$($alias:literal),*])?, $value:ident($set:expr), $help:literal) => {
        Key { name: $name, aliases: &[$($($alias),*)?], value: Value::$value($set), help: $help }
    };
}

/// Keeps the disk; looked for by name in [`plan`](super::plan).
pub const RECONNECT: &str = "reconnect";

/// The keys, in the order of `--help`.
pub const KEYS: &[Key] = &[
    key!(
        "size"["sz"],
        Bytes(|setup, bytes| setup.bytes = bytes),
        "capacity of the disk; a multiple of the block size"
    ),
    key!(
        "blocksize"["bs"],
        Bytes32(|setup, bytes| setup.logical_block = bytes),
        "logical block size, 512 to 64K (default 4096)"
    ),
    key!(
        "depth" ["qs", "queuesize", "queusize"],
        Count(|setup, n| setup.depth = n),
        "requests per hardware queue, up to 4096 (default 128)"
    ),
    key!(
        "ro",
        Word(|setup| setup.read_only = true),
        "the disk refuses writes"
    ),
    key!(
        "rw",
        Word(|setup| setup.read_only = false),
        "the disk takes writes (default)"
    ),
    key!(
        "reconnect",
        Word(|_| ()),
        "keep the disk and offer what was taken again; with ro, rw and the policies: change them"
    ),
    key!(
        "physical"["pbs"],
        Bytes32(|setup, bytes| setup.physical_block = bytes),
        "physical block size (default: the block size)"
    ),
    key!(
        "io_min",
        Bytes32(|setup, bytes| setup.io_min = bytes),
        "smallest I/O without a penalty"
    ),
    key!(
        "io_opt",
        Bytes32(|setup, bytes| setup.io_opt = bytes),
        "best I/O size"
    ),
    key!(
        "max_bytes",
        Bytes32(|setup, bytes| setup.max_bytes = bytes),
        "largest request, up to 16M (default 1M)"
    ),
    key!(
        "queues",
        Count(|setup, n| setup.queues = n),
        "hardware queues (default 1)"
    ),
    key!(
        "segments",
        Count(|setup, n| setup.max_segments = n),
        "pieces of one request, up to 256 (default 256)"
    ),
    key!(
        "write_through"["wt"],
        Switch(|setup, on| setup.write_through = on),
        "no volatile cache: every write is durable when it is completed"
    ),
    key!(
        "nofua",
        Switch(|setup, on| setup.fua = !on),
        "the kernel turns FUA into a write and a flush"
    ),
    key!(
        "rotational",
        Switch(|setup, on| setup.rotational = on),
        "seeks are expensive"
    ),
    key!(
        "partscan",
        Switch(|setup, on| setup.partscan = on),
        "look for partitions once a worker waits"
    ),
    key!(
        "discard",
        Switch(|setup, on| setup.discard = on),
        "offer discard (fstrim)"
    ),
    key!(
        "write_zeroes",
        Switch(|setup, on| setup.write_zeroes = on),
        "offer write-zeroes"
    ),
    key!(
        "secure_erase",
        Switch(|setup, on| setup.secure_erase = on),
        "offer secure erase"
    ),
    key!(
        "discard_granularity",
        Bytes32(|setup, bytes| setup.discard_granularity = bytes),
        "smallest discard (default: the physical block size)"
    ),
    key!(
        "max_discard",
        Bytes32(|setup, bytes| setup.max_discard_bytes = bytes),
        "largest discard, zeroing or erase (default 1G)"
    ),
    key!(
        "requeue_on_close",
        Switch(|setup, on| setup.requeue_on_close = on),
        "offer again what a worker held when it closed the device (default yes)"
    ),
    key!(
        "fenced_backend",
        Switch(|setup, on| setup.fenced_backend = on),
        "the backend rejects old writers: offer writes of living workers again too"
    ),
    key!(
        "max_attempts",
        Count(|setup, n| setup.max_attempts = n),
        "fail a request after so many workers died holding it (0: never)"
    ),
    key!(
        "lease",
        Time(|setup, time| setup.lease = time),
        "offer again what was taken longer ago (default off)"
    ),
    key!(
        "no_server",
        Time(|setup, time| setup.no_server = time),
        "fail what nobody takes for so long (default off: queue for ever)"
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_spelling_is_unique_and_finds_its_key() {
        let all: Vec<&str> = spellings().collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        for word in all {
            let key = find(word).expect(word);
            assert!(key.name == word || key.aliases.contains(&word));
        }
        assert!(find(RECONNECT).is_some());
        assert_eq!(find("Write-Through").expect("a key").name, "write_through");
    }

    #[test]
    fn the_spellings_of_2009_still_work() {
        for word in [
            "sz",
            "size",
            "bs",
            "blocksize",
            "qs",
            "queusize",
            "ro",
            "rw",
            "reconnect",
        ] {
            assert!(find(word).is_some(), "{word}");
        }
    }
}
