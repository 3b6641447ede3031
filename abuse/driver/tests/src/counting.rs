//! Statistics add up.

use crate::fixture::Disk;
use crate::ledger::{Counts, Op, Policies, Why};

#[test]
fn each_step_is_counted_where_it_belongs() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    for tag in 0..4 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let _ = disk.arrive(4, Op::Flush);
    disk.now = 100;
    let first = disk.take(&worker);
    let second = disk.take(&worker);
    disk.now = 130;
    assert!(disk.put(first).is_ok());
    let finish = disk.finish(second);
    let _ = disk.ledger.finish_commit(finish, false, 0);
    let _ = disk.take(&worker);
    let _ = disk.requeue(Why::Forced);
    let _ = disk.take(&worker);
    let counts = disk.ledger.counts();
    let writes = Counts {
        queued: 4,
        taken: 4,
        done: 1,
        requeued: 1,
        failed: 1,
        bytes: 4096,
        total: 130,
        service: 30,
    };
    assert_eq!(counts[1], writes);
    assert_eq!(
        counts[2],
        Counts {
            queued: 1,
            ..Counts::default()
        }
    );
    assert_eq!(counts[0], Counts::default());
    assert_eq!(disk.ledger.fail_all(), 3);
    assert_eq!(disk.ledger.counts()[1].failed, 1, "not yet ended");
    assert_eq!(disk.condemned().len(), 3);
    assert_eq!(disk.ledger.counts()[1].failed, 3);
    assert_eq!(disk.ledger.counts()[2].failed, 1);
}

#[test]
fn an_aborted_claim_was_never_taken() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let claim = disk.begin(&worker).expect("it is queued");
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert_eq!(
        disk.ledger.counts()[0],
        Counts {
            queued: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_new_disk_counts_from_nought() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let _ = disk.requeue(Why::Asked);
    assert!(disk.put(id).is_ok());
    assert_eq!(disk.refusal(id), Some(crate::ledger::Refusal::Stale));
    assert_eq!(disk.ledger.refusals(), (1, 1));
    let _ = disk.ledger.kill();
    assert_eq!(
        disk.ledger.counts()[1].done,
        1,
        "a dead disk can still be asked"
    );
    disk.configure(2, Policies::default());
    assert_eq!(disk.ledger.counts(), &[Counts::default(); 6]);
    assert_eq!(disk.ledger.refusals(), (0, 0));
}

#[test]
fn the_summary_says_what_waits_where_and_for_how_long() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    for tag in 0..4 {
        disk.now = u64::from(tag) * 10;
        let _ = disk.arrive(tag, Op::Read);
    }
    disk.now = 100;
    let id = disk.take(&worker);
    disk.now = 130;
    let _ = disk.take(&worker);
    let summary = disk.ledger.summary(150);
    assert_eq!(
        (summary.queued, summary.taken, summary.busy, summary.workers),
        (2, 2, 0, 1)
    );
    assert_eq!((summary.oldest_queued, summary.oldest_taken), (130, 50));
    let finish = disk.finish(id);
    let summary = disk.ledger.summary(150);
    assert_eq!(
        (summary.taken, summary.busy, summary.oldest_taken),
        (1, 1, 20)
    );
    disk.now = 160;
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(
        disk.ledger.summary(170).oldest_taken,
        70,
        "a fault does not make it younger"
    );
    assert_eq!(disk.requeue(Why::Asked).requeued, 2);
    let summary = disk.ledger.summary(170);
    assert_eq!(
        (summary.queued, summary.taken, summary.oldest_taken),
        (4, 0, 0)
    );
    assert_eq!(
        summary.oldest_queued, 150,
        "that of the third, which was never taken"
    );
    let _ = disk.take_all(&worker);
    let _ = disk.requeue(Why::Asked);
    assert_eq!(
        disk.ledger.summary(170).oldest_queued,
        10,
        "unclaimed since it came back"
    );
}

#[test]
fn a_clock_that_stands_still_or_steps_back_is_survived() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    disk.now = 100;
    let _ = disk.arrive(0, Op::Read);
    disk.now = 50;
    let claim = disk.begin(&worker).expect("it is queued");
    assert_eq!(claim.told.age, 0);
    assert!(disk.ledger.take_commit(claim, 50).is_none());
    assert_eq!(disk.ledger.summary(0).oldest_taken, 0);
    assert_eq!(
        disk.ledger
            .requeue(Why::Asked, 0, |held| held.held_for > 0, |_| ())
            .requeued,
        0
    );
}

#[test]
fn age_counts_from_arrival_also_after_deaths() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    disk.now = 100;
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.take(&worker);
    disk.now = 300;
    assert_eq!(disk.death(&worker).requeued, 1);
    let claim = disk.begin(&worker).expect("it is queued again");
    assert_eq!((claim.told.age, claim.told.attempt), (200, 1));
    let _ = disk.ledger.take_commit(claim, 300);
}

#[test]
fn times_are_those_of_requests_that_went_well_and_of_their_last_owner() {
    let mut disk = Disk::new(2);
    let (first, second) = (disk.worker(1), disk.worker(2));
    disk.now = 100;
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.take(&first);
    disk.now = 400;
    assert_eq!(disk.death(&first).requeued, 1);
    disk.now = 500;
    let id = disk.take(&second);
    disk.now = 510;
    assert!(disk.put(id).is_ok());
    let reads = disk.ledger.counts()[0];
    assert_eq!((reads.total, reads.service), (410, 10));

    // One that fails, and one that is ended with the disk.
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&second);
    disk.now = 600;
    let finish = disk.finish(id);
    let _ = disk.ledger.finish_commit(finish, false, 600);
    let _ = disk.arrive(0, Op::Read);
    disk.ledger.kill();
    assert_eq!(disk.condemned().len(), 1);
    let reads = disk.ledger.counts()[0];
    assert_eq!((reads.done, reads.failed), (1, 2));
    assert_eq!((reads.total, reads.service), (410, 10));
}

#[test]
fn onlookers_hear_the_ids_and_the_owner_of_what_is_offered_again() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(7);
    let foreseen = disk.ledger.next_id(0);
    let _ = disk.arrive(0, Op::Read);
    assert_eq!(disk.ledger.next_id(0), None, "the tag is in use");
    assert_eq!(disk.ledger.next_id(9), None, "there is no such tag");
    let id = disk.take(&worker);
    assert_eq!(Some(id), foreseen);
    disk.now = 50;
    worker.life.die();
    let mut told = Vec::new();
    let outcome = disk.ledger.requeue(
        Why::Asked,
        50,
        |_| true,
        |again| {
            told.push((again.id, again.new, again.attempt, again.held_for));
            assert_eq!((again.op, again.bytes), (Op::Read, 4096));
            assert_eq!(*again.holder.who(), worker.who);
        },
    );
    assert_eq!(outcome.requeued, 1);
    let new = disk.ledger.id_now(id);
    assert_ne!(new, Some(id));
    assert_eq!(told, [(id, new, 1, 50)]);
}

#[test]
fn what_ends_for_too_many_deaths_is_told_without_a_new_id() {
    let mut disk = Disk::new(1);
    disk.configure(
        1,
        Policies {
            max_attempts: 1,
            ..Policies::default()
        },
    );
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let mut told = Vec::new();
    let file = worker.who.file;
    let outcome = disk
        .ledger
        .close(file, true, Some(file as usize), 0, |again| {
            told.push((again.id, again.new))
        });
    assert_eq!((outcome.condemned, told), (1, vec![(id, None)]));
    let ended = disk.ledger.condemned_pop().expect("it ends");
    assert_eq!((ended.id, ended.doomed), (id, true), "under its last id");
}

/// A disk with a write, durable or not, and a flush; the worker that serves both; their ids.
fn written_and_flushed(durable: bool) -> (Disk, u64, u64) {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive_durable(0, Op::Write, durable);
    let write = disk.take(&worker);
    let _ = disk.arrive(1, Op::Flush);
    let flush = disk.take(&worker);
    (disk, write, flush)
}

#[test]
fn a_flush_covers_what_was_completed_before_it_came() {
    let (mut disk, write, flush) = written_and_flushed(false);
    assert_eq!(disk.ledger.unflushed(), 0, "nothing is completed");
    assert!(disk.put(write).is_ok());
    assert_eq!(disk.ledger.unflushed(), 1);
    assert!(disk.put(flush).is_ok());
    assert_eq!(
        disk.ledger.unflushed(),
        1,
        "the flush came before the end of the write"
    );

    let worker = disk.worker(2);
    let _ = disk.arrive(2, Op::Flush);
    let _ = disk.arrive(3, Op::Discard);
    let (flush, discard) = (disk.take(&worker), disk.take(&worker));
    assert!(disk.put(discard).is_ok());
    assert_eq!(disk.ledger.unflushed(), 2);
    assert!(disk.put(flush).is_ok());
    assert_eq!(disk.ledger.unflushed(), 1, "the discard was under way");
}

#[test]
fn an_old_flush_takes_nothing_back() {
    let (mut disk, write, old) = written_and_flushed(false);
    assert!(disk.put(write).is_ok());
    let worker = disk.worker(2);
    let _ = disk.arrive(2, Op::Flush);
    let new = disk.take(&worker);
    assert!(disk.put(new).is_ok());
    assert_eq!(disk.ledger.unflushed(), 0);
    assert!(disk.put(old).is_ok());
    assert_eq!(disk.ledger.unflushed(), 0);
}

#[test]
fn what_is_durable_or_failed_needs_no_flush_and_a_failed_flush_covers_nothing() {
    let (mut disk, write, _) = written_and_flushed(true);
    assert!(disk.put(write).is_ok());
    assert_eq!(disk.ledger.unflushed(), 0);

    let (mut disk, write, _) = written_and_flushed(false);
    let finish = disk.finish(write);
    let _ = disk.ledger.finish_commit(finish, false, 0);
    assert_eq!(disk.ledger.unflushed(), 0);

    let (mut disk, write, _) = written_and_flushed(false);
    assert!(disk.put(write).is_ok());
    let worker = disk.worker(2);
    let _ = disk.arrive(2, Op::Flush);
    let flush = disk.take(&worker);
    let finish = disk.finish(flush);
    let _ = disk.ledger.finish_commit(finish, false, 0);
    assert_eq!(disk.ledger.unflushed(), 1);
}

#[test]
fn a_flush_that_is_offered_again_covers_what_it_did() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let write = disk.take(&worker);
    assert!(disk.put(write).is_ok());
    let _ = disk.arrive(1, Op::Flush);
    let _ = disk.take(&worker);
    let _ = disk.requeue(Why::Forced);
    let again = disk.take(&worker);
    assert!(disk.put(again).is_ok());
    assert_eq!(disk.ledger.unflushed(), 0);
}

#[test]
fn a_new_disk_has_nothing_to_be_flushed() {
    let (mut disk, write, _) = written_and_flushed(false);
    assert!(disk.put(write).is_ok());
    let _ = disk.ledger.kill();
    assert_eq!(disk.condemned().len(), 1);
    disk.configure(4, Policies::default());
    assert_eq!(disk.ledger.unflushed(), 0);
}

#[test]
fn what_nobody_has_taken_is_counted_one_by_one() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    assert_eq!(disk.ledger.queued(), 0);
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Read);
        assert_eq!(disk.ledger.queued(), tag + 1);
    }
    let _ = disk.take(&worker);
    assert_eq!(disk.ledger.queued(), 2);
    let _ = disk.requeue(Why::Forced);
    assert_eq!(disk.ledger.queued(), 3);
}

#[test]
fn a_read_only_disk_refuses_all_after_which_it_would_read_differently() {
    let changing = [Op::Write, Op::Discard, Op::WriteZeroes, Op::SecureErase];
    assert!(changing.into_iter().all(Op::changes_data));
    assert!(![Op::Read, Op::Flush].into_iter().any(Op::changes_data));
}
