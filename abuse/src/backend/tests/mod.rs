// SPDX-License-Identifier: MIT

//! What every backend promises, and a place for files of tests.

mod file;
mod ram;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Backend, Null};

/// A directory that goes with its test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("abuse-test-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that say where they are, so that a swapped or shifted block shows.
fn pattern(offset: u64, length: usize) -> Vec<u8> {
    (offset..)
        .take(length)
        .map(|at| (at % 251) as u8 ^ (at / 4096) as u8)
        .collect()
}

/// What every backend that keeps data promises, on a disk of 1 MiB.
fn keeps_what_is_written(backend: &dyn Backend) {
    for length in [512, 4096, 12288, 65536] {
        for offset in [0, 4096, 512 * 1024, (1 << 20) - length as u64] {
            for durable in [false, true] {
                let data = pattern(offset, length);
                backend.write(offset, &data, durable).unwrap();
                backend.flush().unwrap();
                let mut back = vec![0xee; length];
                backend.read(offset, &mut back).unwrap();
                assert_eq!(back, data, "{length} bytes at {offset}");
            }
        }
    }
}

#[test]
fn null_reads_zeros_and_lacks_nothing() {
    let mut buffer = [7; 512];
    Null.read(4096, &mut buffer).unwrap();
    assert_eq!(buffer, [0; 512]);
    Null.write(0, &buffer, true).unwrap();
    Null.flush().unwrap();
    Null.discard(0, 4096).unwrap();
    assert!(Null.capabilities().no_data);
}

#[test]
fn a_backend_in_a_box_is_the_same_backend() {
    let boxed: Box<dyn Backend> = Box::new(Null);
    assert_eq!(Backend::capabilities(&boxed), Null.capabilities());
    boxed.secure_erase(0, 512).unwrap();
}
