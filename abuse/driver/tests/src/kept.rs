//! Workers that are kept waiting because of a suspect: they sleep without being woken for what they
//! cannot take, and without being forgotten when they can.

use crate::fixture::{attempts, Disk, Worker};
use crate::ledger::{Op, Why};

/// A disk whose request 0 has survived two owners and is queued, and two workers, of which the
/// second holds request 1.
fn scene() -> (Disk, Worker, Worker, u64) {
    let mut disk = Disk::with(8, attempts(9));
    let (idle, busy) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Write);
    let first = disk.worker(3);
    let _ = disk.take(&first);
    assert_eq!(disk.death(&first).requeued, 1);
    let second = disk.worker(4);
    let _ = disk.take(&second);
    let _ = disk.arrive(1, Op::Write);
    let held = disk.take(&busy);
    assert_eq!(disk.death(&second).requeued, 1);
    (disk, idle, busy, held)
}

/// A disk whose request 0 has survived two owners and is queued, a worker that holds request 1, and
/// one that holds request 3, which is older than both.
fn suspect_before_older() -> (Disk, Worker, Worker) {
    let mut disk = Disk::with(8, attempts(9));
    let (busy, old) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(3, Op::Read);
    let _ = disk.take(&old);
    let _ = disk.arrive(0, Op::Read);
    for number in 3..=4 {
        let victim = disk.worker(number);
        let _ = disk.take(&victim);
        if number == 4 {
            let _ = disk.arrive(1, Op::Read);
            let _ = disk.take(&busy);
        }
        assert_eq!(disk.death(&victim).requeued, 1);
    }
    (disk, busy, old)
}

#[test]
fn whoever_would_ask_in_vain_may_sleep() {
    let (mut disk, idle, busy, _) = scene();
    assert!(disk.ledger.is_ready(1), "for whoever polls");
    assert!(disk.ready(&idle));
    assert!(!disk.ready(&busy));
    assert!(disk.try_take(&busy).is_none());
}

#[test]
fn a_kept_worker_is_not_woken_in_the_place_of_one_that_can_work() {
    let (mut disk, idle, busy, _) = scene();
    assert!(disk.sleep(&busy, 1), "it sleeps apart");
    assert!(!disk.sleep(&idle, 1));
    let wake = disk.ledger.wake();
    assert!(wake.one, "this one wakes the other");
}

#[test]
fn kept_workers_do_not_keep_each_other_awake() {
    let (mut disk, _, busy, _) = scene();
    assert!(disk.sleep(&busy, 1));
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    for _ in 0..2 {
        // Woken by mistake, each looks, leaves the suspect behind, says so, and sleeps again.
        disk.ledger.rise(true);
        assert!(!disk.ready(&busy));
        let wake = disk.ledger.wake();
        assert!(!wake.one && !wake.patient);
        assert!(disk.sleep(&busy, 1));
    }
}

#[test]
fn a_kept_worker_is_woken_when_its_hands_are_empty() {
    let (mut disk, _, busy, held) = scene();
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    assert!(disk.put(held).is_ok());
    assert!(disk.ledger.wake_the_kept().patient);
    disk.ledger.rise(true);
    assert!(disk.ready(&busy));
}

#[test]
fn a_kept_worker_is_woken_when_somebody_else_takes_the_suspect() {
    let (mut disk, idle, busy, _) = scene();
    let _ = disk.arrive(2, Op::Write);
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    let _ = disk.take(&idle);
    let wake = disk.ledger.wake();
    assert!(wake.patient, "one is left behind that it can have");
    disk.ledger.rise(true);
    assert!(disk.ready(&busy));
}

#[test]
fn a_worker_kept_by_its_own_suspect_is_woken_when_that_is_gone() {
    let (mut disk, idle, _, _) = scene();
    let suspect = disk.take(&idle);
    assert!(disk.sleep(&idle, 1), "a second thread of it sleeps apart");
    let wake = disk.arrive(2, Op::Write);
    assert!(!wake.one, "nobody sleeps who could take it");
    if wake.patient {
        // It may have to look once too often.
        disk.ledger.rise(true);
        assert!(disk.sleep(&idle, 1));
    }
    assert!(disk.put(suspect).is_ok());
    assert!(disk.ledger.wake_the_kept().patient);
}

#[test]
fn a_worker_freed_while_the_queue_was_empty_is_woken_by_the_next_arrival() {
    let (mut disk, idle, _, _) = scene();
    let suspect = disk.take(&idle);
    assert!(disk.sleep(&idle, 1));
    assert!(disk.put(suspect).is_ok());
    assert!(!disk.ledger.wake_the_kept().patient, "there is nothing");
    assert!(disk.arrive(2, Op::Write).patient);
}

#[test]
fn a_kept_worker_is_woken_when_something_older_comes_back_before_the_suspect() {
    let (mut disk, busy, old) = suspect_before_older();
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    assert!(disk.requeue_token(Why::Asked, old.who.token).wake.patient);
    disk.ledger.rise(true);
    assert!(disk.ready(&busy));
}

#[test]
fn a_kept_worker_is_woken_when_a_v1_completion_before_the_suspect_faults() {
    let (mut disk, busy, old) = suspect_before_older();
    assert_eq!(disk.requeue_token(Why::Asked, old.who.token).requeued, 1);
    let id = disk
        .ledger
        .v1_next(|id, _| id)
        .expect("the oldest is queued");
    let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
    assert!(disk.sleep(&busy, 1), "meanwhile the suspect is the next");
    let _ = disk.ledger.wake();
    disk.ledger.rise(true);
    assert!(disk.sleep(&busy, 1));
    let wake = disk
        .ledger
        .finish_abort(finish)
        .map_err(|_| ())
        .expect("it is not doomed");
    assert!(wake.patient && disk.ready(&busy));
}

#[test]
fn a_suspect_that_a_v1_client_ends_frees_those_who_were_kept() {
    let (mut disk, _, busy, _) = scene();
    let _ = disk.arrive(2, Op::Write);
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    let id = disk
        .ledger
        .v1_next(|id, _| id)
        .expect("the suspect is queued");
    let finish = disk.ledger.finish_begin(id, true).expect("v1 never claims");
    assert_eq!(finish.request.0, 0);
    let _ = disk.ledger.finish_commit(finish, true, 0);
    assert!(disk.ledger.wake_the_kept().patient);
    assert!(disk.ready(&busy));
}

#[test]
fn without_a_limit_nobody_is_kept() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    worker.life.die();
    let _ = disk.arrive(0, Op::Read);
    for _ in 0..5 {
        let _ = disk.take(&worker);
        let _ = disk.requeue(Why::Asked);
    }
    let _ = disk.take(&worker);
    let _ = disk.arrive(1, Op::Read);
    assert!(disk.ready(&worker));
    assert!(!disk.sleep(&worker, 1));
}

#[test]
fn a_kept_worker_is_woken_when_the_suspect_is_given_up() {
    for behind in [true, false] {
        let (mut disk, _, busy, _) = scene();
        if behind {
            disk.now = 50;
            let _ = disk.arrive(2, Op::Write);
        }
        assert!(disk.sleep(&busy, 1));
        let _ = disk.ledger.wake();
        disk.ledger.rise(true);
        assert!(disk.sleep(&busy, 1));
        disk.now = 60;
        let (failed, wake) = disk.ledger.fail_unclaimed(50, disk.now);
        assert_eq!((failed, wake.patient), (1, behind));
        assert_eq!(disk.condemned(), [0]);
        if !behind {
            assert!(disk.arrive(2, Op::Write).patient);
        }
        disk.ledger.rise(true);
        assert!(disk.ready(&busy));
    }
}

#[test]
fn the_patient_are_not_woken_on_account_of_one_who_was_kept_once() {
    let (mut disk, idle, busy, held) = scene();
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    assert!(disk.put(held).is_ok());
    assert!(disk.ledger.wake_the_kept().patient);
    disk.ledger.rise(true);
    let suspect = disk.take(&busy);
    assert!(disk.sleep(&idle, 3));
    let _ = disk.arrive(2, Op::Write);
    assert!(disk.put(suspect).is_ok());
    assert!(
        !disk.ledger.wake_the_kept().patient,
        "one request is not three"
    );
}

#[test]
fn kept_workers_do_not_keep_each_other_awake_when_there_is_enough_for_the_patient() {
    let (mut disk, _, busy, _) = scene();
    for tag in 2..5 {
        let _ = disk.arrive(tag, Op::Write);
    }
    assert!(
        disk.sleep(&busy, 2),
        "one of them wants two, and four are there"
    );
    assert!(disk.sleep(&busy, 1));
    let _ = disk.ledger.wake();
    for min in [2, 1, 2, 1] {
        disk.ledger.rise(true);
        assert!(!disk.ledger.is_ready_for(busy.index, min));
        assert!(!disk.ledger.wake().patient);
        assert!(disk.sleep(&busy, min));
    }
}
