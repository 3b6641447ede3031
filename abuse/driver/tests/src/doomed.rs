//! Reset and v1's device failure: what is pending ends with an error, and what is in the middle of a
//! copy is ended by its own completion and by nobody else.

use crate::fixture::{Disk, Request};
use crate::ledger::{Op, Policies, Refusal, Why};

/// The two ways in which everything pending is ended.
fn both_ways(test: impl Fn(&mut Disk, fn(&mut Disk))) {
    test(&mut Disk::new(4), |disk| {
        let _ = disk.ledger.kill();
    });
    test(&mut Disk::new(4), |disk| {
        let _ = disk.ledger.fail_all();
    });
}

#[test]
fn queued_and_taken_requests_are_condemned() {
    both_ways(|disk, end| {
        let worker = disk.worker(1);
        for tag in 0..4 {
            let _ = disk.arrive(tag, Op::Write);
        }
        let (first, second) = (disk.take(&worker), disk.take(&worker));
        end(disk);
        assert_eq!(disk.refusal(first), Some(Refusal::Stale));
        assert_eq!(disk.refusal(second), Some(Refusal::Stale));
        assert!(disk.begin(&worker).is_none());
        let summary = disk.ledger.summary(0);
        assert_eq!((summary.queued, summary.taken, summary.busy), (0, 0, 0));
        assert_eq!(disk.condemned(), [0, 1, 2, 3]);
        assert!(disk.ledger.condemned_pop().is_none());
    });
}

#[test]
fn a_claim_in_the_middle_of_its_copy_is_ended_by_its_commit() {
    both_ways(|disk, end| {
        let worker = disk.worker(1);
        let _ = disk.arrive(0, Op::Write);
        let claim = disk.begin(&worker).expect("it is queued");
        let id = claim.id;
        end(disk);
        assert!(disk.condemned().is_empty(), "its pages are in use");
        assert_eq!(disk.ledger.busy(), 1, "still draining");
        let ended = disk.ledger.take_commit(claim, 0).expect("it is doomed");
        assert_eq!((ended.request, ended.doomed), (Request(0), true));
        assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (0, 0));
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
        assert_eq!(disk.ledger.counts()[1].taken, 0);
    });
}

#[test]
fn a_claim_in_the_middle_of_its_copy_is_ended_by_its_abort() {
    both_ways(|disk, end| {
        let worker = disk.worker(1);
        let _ = disk.arrive(0, Op::Write);
        let claim = disk.begin(&worker).expect("it is queued");
        end(disk);
        let ended = disk.ledger.take_abort(claim).expect_err("it is doomed");
        assert_eq!((ended.request, ended.doomed), (Request(0), true));
        assert_eq!(disk.ledger.summary(0).queued, 0, "it is not offered again");
    });
}

#[test]
fn a_completion_in_the_middle_of_its_copy_ends_with_an_error() {
    both_ways(|disk, end| {
        let worker = disk.worker(1);
        let _ = disk.arrive(0, Op::Read);
        let id = disk.take(&worker);
        let finish = disk.finish(id);
        end(disk);
        assert!(disk.condemned().is_empty());
        let ended = disk.ledger.finish_commit(finish, true, 0);
        assert_eq!((ended.request, ended.doomed), (Request(0), true));
        let counts = disk.ledger.counts()[0];
        assert_eq!((counts.done, counts.failed, counts.bytes), (0, 1, 0));
    });
}

#[test]
fn a_completion_in_the_middle_of_its_copy_is_ended_by_its_abort() {
    both_ways(|disk, end| {
        let worker = disk.worker(1);
        let _ = disk.arrive(0, Op::Read);
        let id = disk.take(&worker);
        let finish = disk.finish(id);
        end(disk);
        let ended = disk.ledger.finish_abort(finish).expect_err("it is doomed");
        assert_eq!((ended.request, ended.doomed), (Request(0), true));
        assert_eq!(disk.ledger.pending(), 0, "it is not with its owner either");
    });
}

#[test]
fn a_v1_completion_from_the_queue_is_doomed_too() {
    for commit in [true, false] {
        both_ways(|disk, end| {
            let _ = disk.arrive(0, Op::Write);
            let id = disk.ledger.v1_next(|id, _| id).expect("it is queued");
            let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
            end(disk);
            let ended = if commit {
                disk.ledger.finish_commit(finish, true, 0)
            } else {
                disk.ledger.finish_abort(finish).expect_err("it is doomed")
            };
            assert_eq!((ended.request, ended.doomed), (Request(0), true));
            assert_eq!((disk.ledger.pending(), disk.ledger.busy()), (0, 0));
        });
    }
}

#[test]
fn doomed_requests_stay_doomed_when_everything_is_failed_again() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let claim = disk.begin(&worker).expect("it is queued");
    assert_eq!(disk.ledger.fail_all(), 0);
    let _ = disk.arrive(1, Op::Write);
    assert_eq!(disk.ledger.fail_all(), 1);
    let _ = disk.ledger.kill();
    assert!(disk
        .ledger
        .take_commit(claim, 0)
        .is_some_and(|ended| ended.doomed));
    assert_eq!(disk.condemned(), [1]);
}

#[test]
fn what_arrives_after_a_failure_of_everything_is_served() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let old = disk.begin(&worker).expect("it is queued");
    let _ = disk.ledger.fail_all();
    let _ = disk.arrive(1, Op::Write);
    let id = disk.take(&worker);
    assert!(disk
        .ledger
        .take_commit(old, 0)
        .is_some_and(|ended| ended.doomed));
    assert!(disk.put(id).is_ok_and(|ended| !ended.doomed));
}

#[test]
fn a_doomed_request_leaves_its_owners_hands() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    let _ = disk.ledger.kill();
    let _ = disk.ledger.close(worker.who.file, true, Some(1), 0, |_| ());
    assert_eq!(
        worker.life.references(),
        2,
        "the process is held while its request drains"
    );
    let _ = disk.ledger.finish_commit(finish, true, 0);
    assert_eq!(worker.life.references(), 1);
}

#[test]
fn nothing_condemned_is_offered_again() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.take(&worker);
    assert_eq!(disk.ledger.fail_all(), 1);
    assert_eq!(disk.requeue(Why::Forced).requeued, 0);
    assert_eq!(disk.condemned(), [0]);
}

#[test]
fn requests_that_wait_to_be_ended_count_as_pending() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let _ = disk.take(&worker);
    let _ = disk.ledger.kill();
    for left in (0..3).rev() {
        assert!(disk.ledger.condemned_pop().is_some());
        assert_eq!(disk.ledger.pending(), left, "a set-up now would lose them");
    }
}

#[test]
fn a_disk_set_up_anew_remembers_nothing() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.take(&worker);
    let _ = disk.ledger.kill();
    assert_eq!(disk.condemned(), [0]);
    disk.configure(2, Policies::default());
    assert_eq!(disk.ledger.pending(), 0);
    assert!(disk.begin(&worker).is_none());
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    assert!(
        disk.put(id).is_ok_and(|ended| !ended.doomed),
        "the new disk lives"
    );
}

#[test]
fn a_dead_disk_says_how_many_it_condemned() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for tag in 0..4 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let _ = disk.take(&worker);
    let claim = disk.begin(&worker).expect("three are queued");
    assert_eq!(disk.ledger.kill(), 3);
    assert_eq!(disk.ledger.kill(), 0);
    assert!(disk.ledger.take_commit(claim, 0).is_some());
}

#[test]
fn a_retired_disk_gives_its_room_back_and_lets_no_id_come_to_life() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(3, Op::Write);
    let id = disk.take(&worker);
    let _ = disk.ledger.kill();
    assert_eq!(disk.condemned(), [3]);
    let old = disk.ledger.retire(Vec::new());
    assert_eq!(old.len(), 4);
    assert_eq!(disk.refusal(id), Some(Refusal::Stale));
    assert_eq!(disk.refusal(id + (1 << 20)), Some(Refusal::Unknown));
    assert!(disk.begin(&worker).is_none());
    assert!(disk.submit(0, Op::Read).is_err());
    assert_eq!(disk.requeue(Why::Forced).requeued, 0);
    assert!(disk.ledger.v1_next(|id, _| id).is_none());
    for depth in [1, 4] {
        disk.configure(depth, Policies::default());
        let tag = depth as u32 - 1;
        let _ = disk.arrive(tag, Op::Write);
        let new = disk.take(&worker);
        assert!(new >> 16 > id >> 16);
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
        let _ = disk.ledger.kill();
        assert_eq!(disk.condemned(), [tag]);
        let _ = disk.ledger.retire(Vec::new());
    }
}

#[test]
fn what_nobody_has_claimed_for_too_long_is_condemned_and_nothing_else() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    for tag in 0..5 {
        disk.now = u64::from(tag) * 10;
        let _ = disk.arrive(tag, Op::Read);
    }
    disk.now = 50;
    let _ = disk.take(&worker);
    let claim = disk.begin(&worker).expect("four are queued");
    // Tag 0 is taken, tag 1 is being taken, tags 2 to 4 wait since 20, 30 and 40.
    assert_eq!(disk.ledger.fail_unclaimed(31, 50).0, 0);
    assert_eq!(
        disk.ledger.fail_unclaimed(30, 50).0,
        1,
        "as old as that is old enough"
    );
    assert_eq!(disk.condemned(), [2]);
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert_eq!(disk.requeue(Why::Asked).requeued, 1);
    assert_eq!(
        disk.ledger.fail_unclaimed(15, 60).0,
        3,
        "what came back waits since then"
    );
    assert_eq!(disk.ledger.queued(), 1);
    assert_eq!(disk.condemned(), [1, 3, 4]);
    assert_eq!(disk.take_all(&worker), [0]);
    assert_eq!(disk.ledger.fail_unclaimed(0, 60).0, 0, "a server has it");
}
