//! The table of workers: found, entered, grown, and used again when nothing is held any more.

use crate::fixture::{vacant, Disk, Life};
use crate::ledger::{Op, Who, Why};

fn who(number: u64) -> Who {
    Who {
        file: number,
        token: number + 100,
        process: number as usize,
    }
}

#[test]
fn a_worker_is_found_by_file_token_and_process() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(3);
    assert_eq!(disk.ledger.holder_find(&worker.who), Some(worker.index));
    assert!(disk.ledger.holder_is(worker.index, &worker.who));
    for other in [
        Who {
            file: 4,
            ..worker.who
        },
        Who {
            token: 4,
            ..worker.who
        },
        Who {
            process: 4,
            ..worker.who
        },
    ] {
        assert_eq!(disk.ledger.holder_find(&other), None);
        assert!(!disk.ledger.holder_is(worker.index, &other));
    }
    assert!(!disk.ledger.holder_is(worker.index + 1, &worker.who));
    assert!(!disk.ledger.holder_is(u32::MAX, &worker.who));
}

#[test]
fn a_vacant_entry_is_nobodys() {
    let disk = Disk::new(2);
    let nobody = Who {
        file: 0,
        token: 0,
        process: 0,
    };
    assert_eq!(disk.ledger.holder_find(&nobody), None);
    assert!(!disk.ledger.holder_is(0, &nobody));
    assert_eq!(disk.ledger.workers(), 0);
}

#[test]
fn who_is_dead_and_holds_nothing_makes_room_although_his_file_is_open() {
    let mut disk = Disk::new(16);
    let workers: Vec<_> = (1..=8).map(|number| disk.worker(number)).collect();
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.take(&workers[0]);
    workers[0].life.die();
    let life = Life::new();
    assert!(disk.ledger.holder_add(who(9), life.clone()).is_err());
    assert_eq!(disk.ledger.workers(), 7);
    workers[3].life.die();
    assert_eq!(disk.ledger.holder_add(who(9), life).ok(), Some(3));
    assert_eq!(disk.ledger.holder_find(&workers[3].who), None);
    assert_eq!(disk.ledger.workers(), 7);
}

#[test]
fn a_full_table_gives_the_process_back_and_grows_without_losing_anybody() {
    let mut disk = Disk::new(16);
    let workers: Vec<_> = (1..=8).map(|number| disk.worker(number)).collect();
    let late = Life::new();
    assert!(disk.ledger.holder_add(who(9), late.clone()).is_err());
    assert_eq!(late.references(), 1);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.take(&workers[7]);
    assert_eq!(disk.ledger.holders_len(), 8);
    assert_eq!(disk.ledger.holders_grow(vacant(16)).len(), 8);
    assert_eq!(disk.ledger.holders_len(), 16);
    assert_eq!(disk.ledger.holder_add(who(9), late).ok(), Some(8));
    for worker in &workers {
        assert_eq!(disk.ledger.holder_find(&worker.who), Some(worker.index));
    }
    assert_eq!(disk.ledger.workers(), 9);
    assert_eq!(
        disk.death(&workers[7]).requeued,
        1,
        "and it still knows who holds what"
    );
}

#[test]
fn a_table_that_is_not_longer_is_not_taken() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    assert_eq!(disk.ledger.holders_grow(vacant(7)).len(), 7);
    assert_eq!(disk.ledger.holders_len(), 8);
    assert_eq!(disk.ledger.holder_find(&worker.who), Some(worker.index));
    assert_eq!(disk.ledger.holders_grow(vacant(8)).len(), 8);
    assert_eq!(disk.ledger.holder_find(&worker.who), Some(worker.index));
}

#[test]
fn an_entry_is_used_again_when_its_file_is_closed_and_its_hands_are_empty() {
    let mut disk = Disk::new(4);
    let one = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&one);
    let _ = disk.ledger.close(1, false, None, 0, |_| ());
    assert_eq!(disk.ledger.workers(), 0);
    assert_eq!(
        disk.ledger.holder_find(&one.who),
        None,
        "its file is closed"
    );
    assert!(!disk.ledger.holder_is(one.index, &one.who));
    let two = disk.worker(2);
    assert_ne!(two.index, one.index, "it still holds a request");
    assert_eq!(one.life.references(), 2, "and must be known to live or not");
    assert!(disk.put(id).is_ok());
    assert_eq!(one.life.references(), 1);
    let three = disk.worker(3);
    assert_eq!(three.index, one.index);
}

#[test]
fn an_entry_with_an_open_file_is_never_used_again() {
    let mut disk = Disk::new(4);
    let one = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&one);
    assert!(disk.put(id).is_ok());
    assert_eq!(one.life.references(), 2);
    assert_ne!(disk.worker(2).index, one.index);
    assert!(disk.ledger.holder_is(one.index, &one.who));
}

#[test]
fn hands_count_what_is_being_copied() {
    let mut disk = Disk::new(4);
    let one = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&one);
    let finish = disk.finish(id);
    let _ = disk.ledger.close(1, false, None, 0, |_| ());
    assert_ne!(disk.worker(2).index, one.index);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_ne!(disk.worker(3).index, one.index);
    let finish = disk.finish(id);
    let _ = disk.ledger.finish_commit(finish, true, 0);
    assert_eq!(disk.worker(4).index, one.index);
}

#[test]
fn every_way_out_of_a_workers_hands_empties_them() {
    let ways: [fn(&mut Disk, u64); 5] = [
        |disk, id| assert!(disk.put(id).is_ok()),
        |disk, _| assert_eq!(disk.requeue(Why::Forced).requeued, 1),
        |disk, _| assert_eq!(disk.ledger.fail_all(), 1),
        |disk, _| assert_eq!(disk.ledger.kill(), 1),
        |disk, id| {
            let finish = disk.finish(id);
            let _ = disk.requeue(Why::Forced);
            assert!(disk.ledger.finish_abort(finish).is_ok());
        },
    ];
    for way in ways {
        let mut disk = Disk::new(4);
        let one = disk.worker(1);
        let _ = disk.arrive(0, Op::Write);
        let id = disk.take(&one);
        let _ = disk.ledger.close(1, false, None, 0, |_| ());
        way(&mut disk, id);
        assert_eq!(one.life.references(), 1);
        assert_eq!(disk.worker(2).index, one.index);
    }
}

#[test]
fn a_claim_that_is_aborted_empties_the_hands_too() {
    let mut disk = Disk::new(4);
    let one = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let claim = disk.begin(&one).expect("it is queued");
    assert!(disk.ledger.take_abort(claim).is_ok());
    let _ = disk.ledger.close(1, false, None, 0, |_| ());
    assert_eq!(one.life.references(), 1);
    assert_eq!(disk.worker(2).index, one.index);
}

#[test]
fn closing_one_file_of_a_process_leaves_the_others() {
    let mut disk = Disk::new(4);
    let one = disk.worker(1);
    let two = disk.second_file(&one, 7);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let _ = disk.take(&one);
    let id = disk.take(&two);
    assert_eq!(disk.ledger.close(1, true, Some(1), 0, |_| ()).requeued, 1);
    assert_eq!(disk.refusal(id), None);
    assert!(disk.ledger.holder_is(two.index, &two.who));
    assert_eq!(disk.ledger.workers(), 1);
}

#[test]
fn a_worker_is_entered_once() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let again = disk.ledger.holder_add(worker.who, worker.life.clone());
    assert_eq!(again.ok(), Some(worker.index));
    assert_eq!((disk.ledger.workers(), worker.life.references()), (1, 2));
}

#[test]
fn the_dead_that_hold_nothing_make_room_and_no_others() {
    let mut disk = Disk::new(16);
    let workers: Vec<_> = (1..=8).map(|number| disk.worker(number)).collect();
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&workers[3]);
    workers[3].life.die();
    let late = Life::new();
    assert!(
        disk.ledger.holder_add(who(9), late.clone()).is_err(),
        "it holds a request"
    );
    assert_eq!(disk.ledger.workers(), 7, "but is not there any more");
    workers[5].life.die();
    assert_eq!(disk.ledger.holder_add(who(9), late).ok(), Some(5));
    assert_eq!(workers[5].life.references(), 1);
    assert_eq!(
        disk.ledger
            .close(workers[5].who.file, true, Some(6), 0, |_| ())
            .requeued,
        0
    );
    assert!(
        disk.ledger.holder_is(5, &who(9)),
        "a late close is not this worker's"
    );
    assert!(disk.put(id).is_ok());
    let next = disk.ledger.holder_add(who(10), Life::new());
    assert_eq!(next.ok(), Some(3), "now its hands are empty");
}
