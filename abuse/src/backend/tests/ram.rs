// SPDX-License-Identifier: MIT

//! Memory that outlives its workers.

use std::fs;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::thread;

use super::super::ram::Places;
use super::super::{Backend, Pages, Ram};
use super::{keeps_what_is_written, TempDir};

const SIZE: u64 = 1 << 20;

#[test]
fn keeps_data() {
    let directory = TempDir::new();
    keeps_what_is_written(&Ram::open_in(directory.path(), "a", SIZE).unwrap());
}

#[test]
fn data_outlive_the_worker_and_are_shared_with_others() {
    let directory = TempDir::new();
    let first = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    let second = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    first.write(4096, &[7; 4096], false).unwrap();
    drop(first);
    let mut back = [0; 4096];
    second.read(4096, &mut back).unwrap();
    assert_eq!(back, [7; 4096]);
    drop(second);
    let third = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    third.read(4096, &mut back).unwrap();
    assert_eq!(back, [7; 4096]);
}

#[test]
fn all_of_it_is_allocated_when_it_is_made_and_only_its_owner_may_look() {
    let directory = TempDir::new();
    Ram::open_in(directory.path(), "a", SIZE).unwrap();
    let made = fs::metadata(directory.path().join("abuse-a")).unwrap();
    assert!(made.blocks() * 512 >= SIZE);
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
}

#[test]
fn holes_in_memory_that_is_there_are_filled_before_it_is_mapped() {
    let directory = TempDir::new();
    let path = directory.path().join("abuse-a");
    let file = fs::File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    Ram::open_in(directory.path(), "a", SIZE).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= SIZE);
}

#[test]
fn too_little_memory_is_a_refused_set_up() {
    let name = format!("full-{}", std::process::id());
    let error = Ram::open(&name, 1 << 50).err().unwrap();
    assert_eq!(error.errno(), Some(libc::ENOSPC), "{error}");
    assert!(error.hint().unwrap().contains("/dev/shm"));
    Ram::remove(&name).unwrap();
}

#[test]
fn memory_of_another_size_is_refused_with_both_sizes() {
    let directory = TempDir::new();
    Ram::open_in(directory.path(), "a", SIZE).unwrap();
    let error = Ram::open_in(directory.path(), "a", 2 * SIZE).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("it has 1048576 bytes and the disk has 2097152"),
        "{error}"
    );
    assert!(Ram::open_in(directory.path(), "b", 0).is_err());
    assert!(Ram::open_in(directory.path(), "b", u64::MAX).is_err());
}

#[test]
fn workers_that_start_together_get_the_same_memory() {
    let directory = TempDir::new();
    let open = || Ram::open_in(directory.path(), "a", SIZE).unwrap();
    let all: Vec<Ram> = thread::scope(|scope| {
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        opening.into_iter().map(|one| one.join().unwrap()).collect()
    });
    all[0].write(0, &[9; 512], false).unwrap();
    for ram in &all {
        let mut back = [0; 512];
        ram.read(0, &mut back).unwrap();
        assert_eq!(back, [9; 512]);
    }
}

#[test]
fn a_link_somebody_laid_is_not_followed() {
    let directory = TempDir::new();
    let victim = directory.path().join("victim");
    // Of the right size and ours: nothing but the link speaks against it.
    fs::write(&victim, vec![7; SIZE as usize]).unwrap();
    symlink(&victim, directory.path().join("abuse-a")).unwrap();
    let error = Ram::open_in(directory.path(), "a", SIZE).err().unwrap();
    assert_eq!(error.errno(), Some(libc::ELOOP), "{error}");
}

#[test]
fn a_name_cannot_lead_out_of_the_directory() {
    for name in ["", "a/b", "../a", "a\0b", &"x".repeat(300)] {
        assert!(Ram::open(name, SIZE).is_err(), "{name:?}");
        assert!(Ram::remove(name).is_err(), "{name:?}");
    }
}

#[test]
fn removed_memory_is_gone_for_the_next_and_kept_by_who_has_it() {
    let directory = TempDir::new();
    let old = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    old.write(0, &[1; 512], false).unwrap();
    assert!(Ram::remove_in(directory.path(), "a").unwrap());
    assert!(!Ram::remove_in(directory.path(), "a").unwrap());
    let new = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    let mut back = [7; 512];
    new.read(0, &mut back).unwrap();
    assert_eq!(back, [0; 512]);
    old.read(0, &mut back).unwrap();
    assert_eq!(back, [1; 512]);
}

/// Memory of a disk with discard.
fn holed(directory: &TempDir) -> Ram {
    Ram::with_holes_in(directory.path(), "a", SIZE, true).unwrap()
}

#[test]
fn memory_with_holes_keeps_data() {
    keeps_what_is_written(&holed(&TempDir::new()));
}

#[test]
fn what_is_discarded_is_given_back_and_stays_so_for_the_next_worker() {
    let directory = TempDir::new();
    let blocks = || {
        fs::metadata(directory.path().join("abuse-a"))
            .unwrap()
            .blocks()
            * 512
    };
    let ram = holed(&directory);
    assert!(ram.capabilities().discard);
    assert!(blocks() >= SIZE, "made with holes");
    ram.write(0, &[1; SIZE as usize], false).unwrap();
    ram.discard(0, SIZE / 2).unwrap();
    ram.write_zeroes(SIZE / 2, SIZE / 4, true).unwrap();
    ram.write_zeroes(3 * SIZE / 4, SIZE / 8, false).unwrap();
    assert!(blocks() <= SIZE / 4 + 4096, "{} bytes are left", blocks());
    let next = holed(&directory);
    assert!(blocks() <= SIZE / 4 + 4096, "the next one filled the holes");
    let mut back = vec![9; SIZE as usize];
    next.read(0, &mut back).unwrap();
    let (zeros, data) = back.split_at(7 * SIZE as usize / 8);
    assert!(zeros.iter().all(|&byte| byte == 0));
    assert!(data.iter().all(|&byte| byte == 1));
    next.write(4096, &[3; 512], false).unwrap();
    ram.read(4096, &mut back[..512]).unwrap();
    assert_eq!(back[..512], [3; 512]);
}

#[test]
fn memory_that_was_promised_whole_has_no_discard() {
    let directory = TempDir::new();
    drop(holed(&directory));
    let ram = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    assert!(!ram.capabilities().discard);
    assert!(ram.discard(0, SIZE).is_err());
}

#[test]
fn nothing_beyond_the_end_of_memory_with_holes_is_reached() {
    let directory = TempDir::new();
    let ram = holed(&directory);
    let mut buffer = [0; 512];
    assert!(ram.read(SIZE - 511, &mut buffer).is_err());
    assert!(ram.write(SIZE - 511, &buffer, false).is_err());
    assert!(ram.write(u64::MAX, &buffer, false).is_err());
    assert!(ram.write_zeroes(0, SIZE + 1, false).is_err());
    let length = fs::metadata(directory.path().join("abuse-a"))
        .unwrap()
        .len();
    assert_eq!(length, SIZE);
}

#[test]
fn nothing_beyond_the_end_is_reached() {
    let directory = TempDir::new();
    let ram = Ram::open_in(directory.path(), "a", SIZE).unwrap();
    let mut buffer = [0; 512];
    assert!(ram.read(SIZE - 511, &mut buffer).is_err());
    assert!(ram.write(SIZE, &buffer, false).is_err());
    assert!(ram.write(u64::MAX, &buffer, false).is_err());
    assert!(ram.write_zeroes(0, SIZE + 1, true).is_err());
    ram.write(0, &[1; 512], false).unwrap();
    ram.write_zeroes(0, 512, false).unwrap();
    ram.read(0, &mut buffer).unwrap();
    assert_eq!(buffer, [0; 512]);
}

/// A directory that stands for one of huge pages: nothing but the size of a page is another.
fn places<'a>(shared: &'a TempDir, huge: &'a TempDir) -> Places<'a> {
    Places {
        shared: shared.path(),
        huge: Some(huge.path()),
    }
}

#[test]
fn huge_pages_that_were_set_aside_are_used_by_every_worker() {
    let (shared, huge) = (TempDir::new(), TempDir::new());
    let first = Ram::open_in(places(&shared, &huge), "a", SIZE).unwrap();
    assert!(
        matches!(first.pages(), Pages::Reserved(_)),
        "{:?}",
        first.pages()
    );
    first.write(4096, &[7; 4096], false).unwrap();
    let made = fs::metadata(huge.path().join("abuse-a")).unwrap();
    assert!(made.blocks() * 512 >= SIZE && made.permissions().mode() & 0o777 == 0o600);
    let second = Ram::open_in(places(&shared, &huge), "a", SIZE).unwrap();
    let mut back = [0; 4096];
    second.read(4096, &mut back).unwrap();
    assert_eq!(back, [7; 4096]);
    let error = Ram::open_in(places(&shared, &huge), "a", 2 * SIZE)
        .err()
        .unwrap();
    assert!(error.to_string().contains(&SIZE.to_string()), "{error}");
    assert!(Ram::remove_in(places(&shared, &huge), "a").unwrap());
    assert!(!huge.path().join("abuse-a").exists() && !shared.path().join("abuse-a").exists());
}

#[test]
fn memory_that_is_there_stays_what_it_is() {
    let (shared, huge) = (TempDir::new(), TempDir::new());
    let first = Ram::open_in(shared.path(), "a", SIZE).unwrap();
    first.write(0, &[7; 512], false).unwrap();
    let second = Ram::open_in(places(&shared, &huge), "a", SIZE).unwrap();
    assert!(!matches!(second.pages(), Pages::Reserved(_)));
    let mut back = [0; 512];
    second.read(0, &mut back).unwrap();
    assert_eq!(back, [7; 512]);
}

#[test]
fn without_enough_huge_pages_small_ones_are_taken_and_it_is_said() {
    let shared = TempDir::new();
    let nowhere = Places {
        shared: shared.path(),
        huge: Some(std::path::Path::new("/nonexistent")),
    };
    let ram = Ram::open_in(nowhere, "a", SIZE).unwrap();
    let words = ram.pages().to_string();
    assert!(words.contains("small pages (no huge ones: ") || words.contains("transparent"));
    keeps_what_is_written(&ram);
    let holed = Ram::with_holes_in(shared.path(), "b", SIZE, true).unwrap();
    assert!(holed.pages().to_string().contains("given back"));
}
