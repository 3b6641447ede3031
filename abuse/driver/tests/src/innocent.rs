//! Rule 18 again: a process dies with everything that it holds, through whichever file, and however
//! slowly that comes back.

use crate::fixture::{attempts, Disk};
use crate::ledger::{Op, Why};

#[test]
fn sixty_four_requests_that_share_every_death_are_all_innocent() {
    let mut disk = Disk::with(64, attempts(2));
    for tag in 0..64 {
        let _ = disk.arrive(tag, Op::Write);
    }
    for number in 0..2 {
        let worker = disk.worker(number + 1);
        assert_eq!(disk.take_all(&worker).len(), 64);
        let outcome = disk.death(&worker);
        assert_eq!((outcome.requeued, outcome.condemned), (64, 0));
    }
}

#[test]
fn the_guilty_one_is_found_among_many() {
    let mut disk = Disk::with(8, attempts(2));
    for tag in 0..6 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let mut ended = Vec::new();
    for number in 1.. {
        // Number 3 kills whoever holds it; the rest are served.
        let worker = disk.worker(number);
        let mut killed = false;
        let mut hands = Vec::new();
        while let Some((id, request)) = disk.try_take(&worker) {
            killed |= request == 3;
            hands.push((id, request));
        }
        if killed {
            let _ = disk.death(&worker);
        } else {
            for (id, request) in hands {
                assert!(disk.put(id).is_ok());
                ended.push(request);
            }
        }
        let _ = disk
            .ledger
            .close(number, true, killed.then_some(number as usize), 0, |_| ());
        if disk.ledger.summary(0).queued == 0 {
            break;
        }
        assert!(number < 50, "it goes on for ever");
    }
    assert_eq!(disk.condemned(), [3]);
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2, 4, 5]);
}

#[test]
fn requests_held_through_several_files_of_one_process_share_its_death() {
    let mut disk = Disk::with(4, attempts(1));
    let one = disk.worker(1);
    let two = disk.second_file(&one, 2);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let _ = disk.take(&one);
    let _ = disk.take(&two);
    let outcome = disk.death(&one);
    assert_eq!((outcome.requeued, outcome.condemned), (2, 0));
}

#[test]
fn files_that_are_closed_one_by_one_make_nobody_lonely() {
    let mut disk = Disk::with(4, attempts(1));
    let one = disk.worker(1);
    let files = [disk.second_file(&one, 2), disk.second_file(&one, 3)];
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let _ = disk.take(&one);
    let _ = disk.take(&files[0]);
    let _ = disk.take(&files[1]);
    for file in 1..=3 {
        let outcome = disk.ledger.close(file, true, Some(1), 0, |_| ());
        assert_eq!((outcome.requeued, outcome.condemned), (1, 0), "file {file}");
    }
}

#[test]
fn requests_that_are_asked_back_one_by_one_make_nobody_lonely() {
    let mut disk = Disk::with(4, attempts(1));
    let worker = disk.worker(1);
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let ids = [0; 3].map(|_| disk.take(&worker));
    worker.life.die();
    for id in ids {
        let outcome = disk
            .ledger
            .requeue(Why::Asked, 0, |held| held.id == id, |_| ());
        assert_eq!((outcome.requeued, outcome.condemned), (1, 0));
    }
}

#[test]
fn a_suspect_is_alone_in_its_whole_process() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    for number in 1..=2 {
        let victim = disk.worker(number);
        let _ = disk.take(&victim);
        assert_eq!(disk.death(&victim).requeued, 1);
    }
    let one = disk.worker(3);
    let two = disk.second_file(&one, 4);
    let suspect = disk.take(&one);
    let _ = disk.arrive(1, Op::Write);
    assert!(
        disk.try_take(&two).is_none(),
        "its other file must not take anything beside it"
    );
    assert!(!disk.ready(&two));
    let other = disk.worker(5);
    assert!(disk.ready(&other), "another process may");
    assert!(disk.put(suspect).is_ok());
    assert_eq!(disk.take_all(&two), [1]);
}

#[test]
fn a_process_that_holds_anything_through_another_file_is_not_given_a_suspect() {
    let mut disk = Disk::with(4, attempts(9));
    let one = disk.worker(3);
    let two = disk.second_file(&one, 4);
    let victims = [disk.worker(1), disk.worker(2)];
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let _ = disk.take(&victims[0]);
    let held = disk.take(&one);
    assert_eq!(disk.death(&victims[0]).requeued, 1);
    let _ = disk.take(&victims[1]);
    assert_eq!(disk.death(&victims[1]).requeued, 1);
    assert!(disk.try_take(&two).is_none());
    assert!(disk.put(held).is_ok());
    assert_eq!(disk.take_all(&two), [0]);
}

#[test]
fn a_worker_that_lives_on_after_a_crowded_close_dies_alone_later() {
    // Only the file was said to close in a dying process; this entry took something afterwards, so
    // that the old crowd says nothing about its own end.
    let mut disk = Disk::with(4, attempts(1));
    let one = disk.worker(1);
    let two = disk.second_file(&one, 2);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let _ = disk.take(&one);
    let held = disk.take(&two);
    assert_eq!(disk.ledger.close(1, true, Some(1), 0, |_| ()).condemned, 0);
    assert!(disk.put(held).is_ok());
    let _ = disk.take(&two);
    assert_eq!(disk.death(&two).condemned, 1);
}

#[test]
fn what_only_another_process_holds_does_not_excuse() {
    let mut disk = Disk::with(4, attempts(1));
    let (one, two) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let _ = disk.take(&one);
    let _ = disk.take(&two);
    let outcome = disk.death(&one);
    assert_eq!((outcome.requeued, outcome.condemned), (0, 1));
}
