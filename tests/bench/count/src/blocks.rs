// SPDX-License-Identifier: MIT

//! The counters, one for each block that was ever translated, and the files they go to.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fs, io};

/// What the guest may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A phase begins.
    Begin,
    /// The phase ends, and is written.
    End,
}

impl Mark {
    /// Whether an instruction is one: `nopl imm32(%rax,%rax,1)` with one of two displacements.
    pub(crate) fn of(instruction: &[u8]) -> Option<Mark> {
        match instruction {
            [0x0f, 0x1f, 0x84, 0x00, 0x01, 0x00, 0xab, 0x5e] => Some(Mark::Begin),
            [0x0f, 0x1f, 0x84, 0x00, 0x02, 0x00, 0xab, 0x5e] => Some(Mark::End),
            _ => None,
        }
    }
}

/// All counters. The emulator forgets its translations now and then; a block that is translated
/// again goes on with the counter it had.
pub(crate) struct Blocks {
    directory: PathBuf,
    phases: u64,
    counters: HashMap<(u64, u64), &'static AtomicU64>,
}

impl Blocks {
    pub(crate) fn new(directory: PathBuf) -> Blocks {
        Blocks {
            directory,
            phases: 0,
            counters: HashMap::new(),
        }
    }

    /// The counter of the block of that many instructions at an address. It stays for ever, as
    /// translated code has its address.
    pub(crate) fn counter(&mut self, address: u64, instructions: u64) -> *mut u64 {
        let counter = self
            .counters
            .entry((address, instructions))
            .or_insert_with(|| Box::leak(Box::new(AtomicU64::new(0))));
        ptr::from_ref(*counter).cast_mut().cast()
    }

    /// The guest has said something.
    pub(crate) fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Begin => {
                for counter in self.counters.values() {
                    counter.store(0, Relaxed);
                }
            }
            Mark::End => {
                if let Err(error) = self.write() {
                    eprintln!(
                        "abuse-count: {}: cannot write phase {}: {error}",
                        self.directory.display(),
                        self.phases
                    );
                }
                self.phases += 1;
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for (&(address, instructions), counter) in &self.counters {
            let times = counter.load(Relaxed);
            if times > 0 {
                for number in [address, instructions, times] {
                    records.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        let name = self.directory.join(self.phases.to_string());
        fs::File::create(name)?.write_all(&records)
    }
}
