// SPDX-License-Identifier: MIT

//! Backing files: sizes, creation, direct and buffered I/O, holes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use super::super::{Backend, File, FileOptions};
use super::{keeps_what_is_written, pattern, TempDir};
use crate::{Failure, Setup};

const SIZE: u64 = 1 << 20;

fn options() -> FileOptions {
    let setup = Setup {
        logical_block: 512,
        ..Setup::new(SIZE)
    };
    FileOptions {
        create: true,
        ..FileOptions::for_disk(&setup)
    }
}

/// A path in a directory of its own, both ways to open it.
fn both_ways(test: impl Fn(PathBuf, &FileOptions)) {
    for buffered in [false, true] {
        let directory = TempDir::new();
        let options = FileOptions {
            buffered,
            ..options()
        };
        test(directory.path().join("disk"), &options);
    }
}

#[test]
fn keeps_data() {
    both_ways(|path, options| keeps_what_is_written(&File::open(path, options).unwrap()));
}

#[test]
fn direct_wherever_the_file_system_can_and_buffered_when_asked() {
    let directory = TempDir::new();
    let path = directory.path().join("disk");
    let file = File::open(&path, &options()).unwrap();
    if !file.is_direct() {
        eprintln!("skipped: {} has no direct I/O", path.display());
        return;
    }
    // Memory that direct I/O cannot use goes round by way of memory that it can.
    let memory = pattern(0, 4097);
    file.write(512, &memory[1..], true).unwrap();
    let mut back = vec![0; 4097];
    file.read(512, &mut back[1..]).unwrap();
    assert_eq!(back[1..], memory[1..]);

    let buffered = FileOptions {
        buffered: true,
        ..options()
    };
    let file = File::open(&path, &buffered).unwrap();
    assert!(!file.is_direct());
    file.read(512, &mut back[1..]).unwrap();
    assert_eq!(back[1..], memory[1..]);
}

#[test]
fn a_file_is_made_sparse_and_private_and_its_data_stay() {
    both_ways(|path, options| {
        let file = File::open(&path, options).unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.len(), made.blocks()), (SIZE, 0));
        assert_eq!(made.mode() & 0o777, 0o600);
        file.write(4096, &[5; 4096], true).unwrap();
        drop(file);
        let file = File::open(&path, options).unwrap();
        let mut back = [0; 4096];
        file.read(4096, &mut back).unwrap();
        assert_eq!(back, [5; 4096]);
    });
}

#[test]
fn a_smaller_file_is_refused_with_both_sizes_unless_it_may_grow() {
    let directory = TempDir::new();
    let path = directory.path().join("disk");
    fs::write(&path, [7; 512]).unwrap();
    let keep = FileOptions {
        create: false,
        ..options()
    };
    let error = File::open(&path, &keep).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("the file has 512 bytes and the disk has 1048576"),
        "{error}"
    );
    assert!(error.hint().is_some());
    assert_eq!(fs::metadata(&path).unwrap().len(), 512);

    let file = File::open(&path, &options()).unwrap();
    let mut back = [0; 1024];
    file.read(0, &mut back).unwrap();
    assert_eq!((back[511], back[512]), (7, 0));
}

#[test]
fn a_larger_file_stays_as_large_as_it_is() {
    let directory = TempDir::new();
    let path = directory.path().join("disk");
    let larger = FileOptions {
        bytes: 3 * SIZE,
        ..options()
    };
    File::open(&path, &larger).unwrap();
    let file = File::open(&path, &options()).unwrap();
    assert_eq!(file.bytes(), 3 * SIZE);
    assert_eq!(file.capabilities().size_bytes, Some(3 * SIZE));
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 * SIZE);
}

#[test]
fn workers_that_start_together_make_one_file() {
    let directory = TempDir::new();
    let path = directory.path().join("disk");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let file = File::open(&path, &options()).unwrap();
                assert_eq!(file.bytes(), SIZE);
            });
        }
    });
}

#[test]
fn what_cannot_hold_a_disk_is_refused_by_name() {
    let directory = TempDir::new();
    let missing = FileOptions {
        create: false,
        ..options()
    };
    let error = File::open(directory.path().join("none"), &missing)
        .err()
        .unwrap();
    assert_eq!(error.errno(), Some(libc::ENOENT));
    assert!(error.hint().is_some());
    assert!(File::open(directory.path(), &options()).is_err());
    let error = File::open("/dev/null", &options()).err().unwrap();
    assert!(error.to_string().contains("neither"), "{error}");
}

#[test]
fn a_read_only_file_is_read_and_nothing_else() {
    both_ways(|path, options| {
        File::open(&path, options)
            .unwrap()
            .write(0, &[3; 512], true)
            .unwrap();
        let read_only = FileOptions {
            read_only: true,
            ..options.clone()
        };
        let file = File::open(&path, &read_only).unwrap();
        let mut back = [0; 512];
        file.read(0, &mut back).unwrap();
        assert_eq!(back, [3; 512]);
        assert!(file.write(0, &[4; 512], false).is_err());
        assert!(file.capabilities().read_only);
        file.flush().unwrap();
    });
}

#[test]
fn a_file_that_shrank_under_the_worker_is_an_error_and_no_zeros() {
    both_ways(|path, options| {
        let file = File::open(&path, options).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(4096)
            .unwrap();
        let error = file.read(8192, &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(Failure::from(&error), Failure::Io);
    });
}

#[test]
fn forgotten_ranges_read_as_zeros_and_give_their_space_back() {
    both_ways(|path, options| {
        let file = File::open(&path, options).unwrap();
        file.write(0, &vec![1; SIZE as usize], true).unwrap();
        let full = fs::metadata(&path).unwrap().blocks();
        file.discard(0, SIZE / 2).unwrap();
        file.write_zeroes(SIZE / 2, SIZE / 4, true).unwrap();
        file.flush().unwrap();
        let left = fs::metadata(&path).unwrap();
        assert!(left.blocks() * 3 < full, "{} of {full}", left.blocks());
        assert_eq!(left.len(), SIZE);
        let mut back = vec![9; SIZE as usize];
        file.read(0, &mut back).unwrap();
        let (zeros, data) = back.split_at(3 * SIZE as usize / 4);
        assert!(zeros.iter().all(|&byte| byte == 0));
        assert!(data.iter().all(|&byte| byte == 1));
    });
}

#[test]
fn zeroed_ranges_that_must_stay_allocated_do() {
    both_ways(|path, options| {
        let file = File::open(&path, options).unwrap();
        file.write(0, &vec![1; SIZE as usize], true).unwrap();
        file.write_zeroes(4096, SIZE - 8192, false).unwrap();
        file.flush().unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= SIZE);
        let mut back = vec![9; SIZE as usize];
        file.read(0, &mut back).unwrap();
        assert!(back[4096..][..SIZE as usize - 8192]
            .iter()
            .all(|&byte| byte == 0));
        assert_eq!((back[4095], back[SIZE as usize - 4096]), (1, 1));
    });
}

/// A scratch disk is given in `ABUSE_TEST_DISK`; everything on it is lost.
#[test]
fn a_block_device_is_a_file_of_its_own_size() {
    let Some(path) = std::env::var_os("ABUSE_TEST_DISK") else {
        eprintln!("skipped: ABUSE_TEST_DISK names no scratch disk");
        return;
    };
    let existing = FileOptions {
        create: false,
        ..options()
    };
    let file = File::open(&path, &existing).unwrap();
    assert!(file.is_direct());
    assert!(file.bytes() >= SIZE);
    keeps_what_is_written(&file);
    file.write(0, &vec![1; SIZE as usize], false).unwrap();
    file.write_zeroes(4096, SIZE - 8192, true).unwrap();
    let mut back = vec![9; SIZE as usize];
    file.read(0, &mut back).unwrap();
    assert!(back[4096..][..SIZE as usize - 8192]
        .iter()
        .all(|&byte| byte == 0));
    assert_eq!((back[4095], back[SIZE as usize - 4096]), (1, 1));
    if let Err(error) = file.discard(0, SIZE) {
        assert_eq!(Failure::from(&error), Failure::NotSupported, "{error}");
    }
    let larger = FileOptions {
        bytes: file.bytes() + 512,
        ..options()
    };
    let error = File::open(&path, &larger).err().unwrap();
    assert!(
        error.to_string().contains("the block device has"),
        "{error}"
    );
}
