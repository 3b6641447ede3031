//! A reconnect under other policies: what is offered again follows the new ones, and if nothing is,
//! the old ones stay.

use crate::fixture::{attempts, fenced, Disk};
use crate::ledger::{Op, Policies, Why};

#[test]
fn the_new_policies_decide_what_is_offered_again() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.take(&worker);
    let before = disk.ledger.epoch();
    let (outcome, old, new) = disk.ledger.reconnect(Why::Asked, 0, fenced(), |_| ());
    assert_eq!((outcome.requeued, outcome.refused), (1, 0));
    assert_eq!((old, new), (before, before + 1));
    assert_eq!(disk.ledger.epoch(), new);
    assert!(disk.ledger.policies().fenced_backend);
}

#[test]
fn in_vain_it_changes_nothing() {
    let mut disk = Disk::with(4, fenced());
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let before = disk.ledger.epoch();
    let (outcome, old, new) = disk.ledger.reconnect(Why::Asked, 0, attempts(3), |_| ());
    assert!(outcome.is_in_vain());
    assert_eq!((old, new, disk.ledger.epoch()), (before, before, before));
    assert!(disk.ledger.policies().fenced_backend);
    assert_eq!(disk.ledger.policies().max_attempts, 0);
    assert_eq!(disk.refusal(id), None);
}

#[test]
fn with_nothing_taken_it_changes_them_too() {
    let mut disk = Disk::new(4);
    let (outcome, old, new) = disk.ledger.reconnect(Why::Asked, 0, attempts(3), |_| ());
    assert_eq!((outcome.requeued, new), (0, old + 1));
    assert_eq!(disk.ledger.policies().max_attempts, 3);
}

#[test]
fn deaths_before_the_limit_was_set_count() {
    let mut disk = Disk::new(4);
    let _ = disk.arrive(0, Op::Write);
    for number in 1..=2 {
        let worker = disk.worker(number);
        let _ = disk.take(&worker);
        assert_eq!(disk.death(&worker).requeued, 1);
    }
    let _ = disk.ledger.reconnect(Why::Asked, 0, attempts(3), |_| ());
    let worker = disk.worker(3);
    let _ = disk.take(&worker);
    assert_eq!(disk.death(&worker).condemned, 1);
}

#[test]
fn a_limit_that_is_lifted_lets_kept_workers_go_on() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Read);
    for number in 1..=2 {
        let worker = disk.worker(number);
        let _ = disk.take(&worker);
        assert_eq!(disk.death(&worker).requeued, 1);
    }
    let worker = disk.worker(3);
    let _ = disk.take(&worker);
    let _ = disk.arrive(1, Op::Read);
    assert!(!disk.ready(&worker), "it holds a suspect");
    assert!(disk.sleep(&worker, 1));
    let (outcome, _, _) = disk
        .ledger
        .reconnect(Why::Asked, 0, Policies::default(), |_| ());
    assert!(outcome.wake.patient, "it was forgotten");
    disk.ledger.rise(true);
    assert_eq!(disk.take_all(&worker), [0, 1], "no suspects any more");
}
