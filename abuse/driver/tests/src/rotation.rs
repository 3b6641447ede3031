//! The interface of 2009: GET never claims and keeps rotating, PUT also ends what is merely queued.

use crate::fixture::{Disk, Request};
use crate::ledger::{Arrival, Op, Refusal, Why};

fn next(disk: &mut Disk) -> Option<u32> {
    disk.ledger.v1_next(|_, request| request.0)
}

#[test]
fn everybody_sees_every_request_in_turn() {
    let mut disk = Disk::new(4);
    assert_eq!(next(&mut disk), None);
    for tag in [2, 0, 3] {
        let _ = disk.arrive(tag, Op::Read);
    }
    let seen: Vec<_> = (0..7).filter_map(|_| next(&mut disk)).collect();
    assert_eq!(seen, [2, 0, 3, 2, 0, 3, 2]);
    assert_eq!(disk.ledger.summary(0).queued, 3, "and all of them stay");
}

#[test]
fn what_arrives_later_is_seen_in_its_turn() {
    let mut disk = Disk::new(4);
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.arrive(1, Op::Read);
    assert_eq!(next(&mut disk), Some(0));
    let _ = disk.arrive(2, Op::Read);
    let seen: Vec<_> = (0..4).filter_map(|_| next(&mut disk)).collect();
    assert_eq!(seen, [1, 2, 0, 1]);
}

#[test]
fn the_unclaimed_come_first_and_the_claimed_only_when_there_are_none() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for tag in 0..4 {
        let _ = disk.arrive(tag, Op::Read);
    }
    let _ = disk.take(&worker);
    let _ = disk.take(&worker);
    let seen: Vec<_> = (0..4).filter_map(|_| next(&mut disk)).collect();
    assert_eq!(seen, [2, 3, 2, 3]);
    let _ = disk.take(&worker);
    let _ = disk.take(&worker);
    let seen: Vec<_> = (0..5).filter_map(|_| next(&mut disk)).collect();
    assert_eq!(seen, [0, 1, 2, 3, 0], "in turn, from where it was");
}

#[test]
fn what_is_being_copied_is_not_shown() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let claim = disk.begin(&worker).expect("it is queued");
    assert_eq!(next(&mut disk), None);
    let id = claim.id;
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    assert_eq!(next(&mut disk), Some(0));
    let finish = disk.finish(id);
    assert_eq!(next(&mut disk), None);
    let _ = disk.ledger.finish_commit(finish, true, 0);
    assert_eq!(next(&mut disk), None);
}

#[test]
fn what_it_cannot_understand_is_not_shown_and_not_its_to_end() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let arrival = Arrival {
        op: Op::Write,
        bytes: 512,
        durable: false,
        v1: false,
    };
    assert!(disk.ledger.enqueue(0, &arrival, Request(0), 0).is_ok());
    assert_eq!(next(&mut disk), None);
    let claim = disk.begin(&worker).expect("it is queued");
    let id = claim.id;
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert_eq!(
        disk.ledger.finish_begin(id, true).err(),
        Some(Refusal::Unknown)
    );
    let _ = disk.take(&worker);
    assert_eq!(next(&mut disk), None);
}

#[test]
fn a_queued_request_can_be_put_by_v1_only() {
    let mut disk = Disk::new(4);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.ledger.v1_next(|id, _| id).expect("it is queued");
    assert_eq!(disk.refusal(id), Some(Refusal::Unknown));
    let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
    assert_eq!((disk.ledger.busy(), disk.ledger.summary(0).queued), (1, 0));
    let worker = disk.worker(1);
    assert!(
        disk.begin(&worker).is_none(),
        "nobody can take it meanwhile"
    );
    assert_eq!(
        disk.ledger.finish_begin(id, true).err(),
        Some(Refusal::Stale)
    );
    let ended = disk.ledger.finish_commit(finish, true, 0);
    assert_eq!((ended.request, ended.doomed), (Request(0), false));
    assert_eq!(
        disk.ledger.finish_begin(id, true).err(),
        Some(Refusal::Stale)
    );
    assert_eq!(disk.ledger.counts()[1].taken, 0);
}

#[test]
fn a_queued_request_whose_put_faults_stays_queued_and_wakes() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    disk.now = 5;
    let _ = disk.arrive(0, Op::Write);
    let id = disk.ledger.v1_next(|id, _| id).expect("it is queued");
    let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
    assert!(!disk.sleep(&worker, 1));
    disk.now = 9;
    let wake = disk
        .ledger
        .finish_abort(finish)
        .map_err(|_| ())
        .expect("it is not doomed");
    assert!(wake.one && wake.pollers);
    assert_eq!(
        disk.ledger.summary(9).oldest_queued,
        4,
        "it has waited all the time"
    );
    let again = disk.ledger.v1_next(|id, _| id).expect("it is queued");
    assert_eq!(again, id, "under the same id");
    assert_eq!(disk.requeue(Why::Forced).requeued, 0, "nobody held it");
}

#[test]
fn after_a_put_by_v1_that_faults_a_request_is_as_any_other() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let id = disk.ledger.v1_next(|id, _| id).expect("it is queued");
    let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
    assert!(disk.ledger.finish_abort(finish).is_ok());
    let id = disk.take(&worker);
    assert_eq!(disk.refusal(id), None);
    assert_eq!(disk.refusal(id), None, "it stays with its owner");
    disk.now = 7;
    assert!(disk.put(id).is_ok());
    assert_eq!(disk.ledger.counts()[0].service, 7, "who held it");
}

#[test]
fn v1_may_put_what_a_worker_took() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    assert_eq!(disk.ledger.v1_next(|id, _| id), Some(id));
    let finish = disk
        .ledger
        .finish_begin(id, true)
        .expect("the id is current");
    let _ = disk.ledger.finish_abort(finish);
    assert_eq!(
        disk.ledger.summary(0).taken,
        1,
        "a fault leaves it with its owner"
    );
    let finish = disk
        .ledger
        .finish_begin(id, true)
        .expect("the id is current");
    let _ = disk.ledger.finish_commit(finish, true, 0);
    assert_eq!(disk.refusal(id), Some(Refusal::Stale));
}

#[test]
fn rotation_begins_anew_with_a_new_disk() {
    let mut disk = Disk::new(4);
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Read);
    }
    let _ = (next(&mut disk), next(&mut disk));
    let _ = disk.ledger.kill();
    assert_eq!(disk.condemned(), [0, 1, 2]);
    disk.configure(4, Default::default());
    let _ = disk.arrive(2, Op::Read);
    let _ = disk.arrive(1, Op::Read);
    assert_eq!((next(&mut disk), next(&mut disk)), (Some(2), Some(1)));
}

#[test]
fn what_comes_from_the_queue_is_nobodys_to_give_back() {
    // A worker had it once. A v1 client now completes it from the queue while that worker is asked
    // to give back all it holds.
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.arrive(1, Op::Read);
    let _ = disk.take(&worker);
    assert_eq!(disk.requeue(Why::Asked).requeued, 1);
    let id = disk.ledger.v1_next(|id, _| id).expect("it is queued");
    let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
    let other = disk.take(&worker);
    assert_eq!(disk.requeue(Why::Forced).requeued, 1);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(
        disk.ledger.v1_next(|id, request| (id, request.0)),
        Some((other + (1 << 16), 1))
    );
    assert_eq!(
        disk.ledger.v1_next(|id, _| id),
        Some(id),
        "under the same id"
    );
    assert_eq!(disk.ledger.counts()[0].requeued, 2);
}
