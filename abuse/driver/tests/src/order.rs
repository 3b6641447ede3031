//! Requests are handed out in order of arrival, also after they were offered again.

use crate::fixture::Disk;
use crate::ledger::{Op, Why};

#[test]
fn first_come_first_served() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    for tag in [5, 0, 7, 3] {
        let _ = disk.arrive(tag, Op::Read);
    }
    assert_eq!(disk.take_all(&worker), [5, 0, 7, 3]);
}

#[test]
fn what_is_offered_again_comes_in_order_of_arrival() {
    let mut disk = Disk::new(8);
    let (one, two) = (disk.worker(1), disk.worker(2));
    for tag in [5, 0, 7, 3, 1, 6] {
        let _ = disk.arrive(tag, Op::Read);
    }
    for _ in 0..3 {
        let _ = disk.take(&one);
        let _ = disk.take(&two);
    }
    assert_eq!(disk.requeue(Why::Forced).requeued, 6);
    assert_eq!(disk.take_all(&one), [5, 0, 7, 3, 1, 6]);
}

#[test]
fn what_is_offered_again_comes_before_what_arrived_later() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    let _ = disk.arrive(4, Op::Read);
    let _ = disk.arrive(2, Op::Read);
    let (_, _) = (disk.take(&worker), disk.take(&worker));
    let _ = disk.arrive(0, Op::Read);
    assert_eq!(disk.requeue(Why::Forced).requeued, 2);
    let _ = disk.arrive(1, Op::Read);
    assert_eq!(disk.take_all(&worker), [4, 2, 0, 1]);
}

#[test]
fn what_is_offered_again_finds_its_place_among_the_waiting() {
    // Two workers take turns; one dies, and what it held belongs between what waits.
    let mut disk = Disk::new(8);
    let (one, two) = (disk.worker(1), disk.worker(2));
    for tag in 0..6 {
        let _ = disk.arrive(tag, Op::Read);
    }
    for _ in 0..2 {
        let _ = disk.take(&one);
        let _ = disk.take(&two);
    }
    let _ = disk.take(&one);
    assert_eq!(disk.death(&two).requeued, 2);
    assert_eq!(disk.death(&one).requeued, 3);
    let three = disk.worker(3);
    assert_eq!(disk.take_all(&three), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn an_aborted_claim_goes_back_to_its_place() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    for tag in 0..4 {
        let _ = disk.arrive(tag, Op::Read);
    }
    let claims = [0; 3].map(|_| disk.begin(&worker).expect("four are queued"));
    let _ = disk.arrive(4, Op::Read);
    let [first, second, third] = claims;
    assert!(disk.ledger.take_abort(second).is_ok());
    assert!(disk.ledger.take_abort(third).is_ok());
    assert!(disk.ledger.take_abort(first).is_ok());
    assert_eq!(disk.take_all(&worker), [0, 1, 2, 3, 4]);
}

#[test]
fn an_abort_between_two_deaths_keeps_the_order() {
    let mut disk = Disk::new(8);
    let (one, two, three) = (disk.worker(1), disk.worker(2), disk.worker(3));
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Read);
    }
    let _ = disk.take(&one);
    let claim = disk.begin(&two).expect("two are queued");
    let _ = disk.take(&three);
    assert_eq!(disk.death(&three).requeued, 1);
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert_eq!(disk.death(&one).requeued, 1);
    assert_eq!(disk.take_all(&two), [0, 1, 2]);
}

#[test]
fn a_v1_completion_that_faults_goes_back_to_its_place() {
    let mut disk = Disk::new(8);
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Read);
    }
    let ids = [0; 3].map(|_| disk.ledger.v1_next(|id, _| id).expect("three are queued"));
    for id in [ids[1], ids[0], ids[2]] {
        let finish = disk.ledger.finish_begin(id, true).expect("it is queued");
        assert!(disk.ledger.finish_abort(finish).is_ok());
        let summary = disk.ledger.summary(0);
        assert_eq!((summary.queued, summary.taken), (3, 0));
    }
    let worker = disk.worker(1);
    assert_eq!(disk.take_all(&worker), [0, 1, 2]);
}

#[test]
fn a_request_taken_out_of_the_middle_leaves_the_rest_in_order() {
    for gone in 0..3usize {
        let mut disk = Disk::new(8);
        for tag in 0..3 {
            let _ = disk.arrive(tag, Op::Read);
        }
        let ids = [0; 3].map(|_| disk.ledger.v1_next(|id, _| id).expect("three are queued"));
        let finish = disk
            .ledger
            .finish_begin(ids[gone], true)
            .expect("it is queued");
        let _ = disk.ledger.finish_commit(finish, true, 0);
        let _ = disk.arrive(3, Op::Read);
        let worker = disk.worker(1);
        let rest: Vec<u32> = (0..4).filter(|tag| *tag as usize != gone).collect();
        assert_eq!(disk.take_all(&worker), rest);
    }
}

#[test]
fn order_survives_a_second_interruption_after_any_number_of_redeliveries() {
    // The recovering worker dies after k of n redeliveries, for every k.
    for k in 0..=6 {
        let mut disk = Disk::new(8);
        let one = disk.worker(1);
        for tag in [3, 1, 4, 0, 5, 2] {
            let _ = disk.arrive(tag, Op::Write);
        }
        assert_eq!(disk.take_all(&one).len(), 6);
        assert_eq!(disk.death(&one).requeued, 6);
        let two = disk.worker(2);
        for _ in 0..k {
            let _ = disk.take(&two);
        }
        let _ = disk.arrive(6, Op::Write);
        assert_eq!(disk.death(&two).requeued, k);
        let three = disk.worker(3);
        assert_eq!(disk.take_all(&three), [3, 1, 4, 0, 5, 2, 6]);
    }
}

#[test]
fn order_survives_the_death_of_a_worker_with_very_much_in_its_hands() {
    const DEPTH: u32 = if cfg!(miri) { 40 } else { 1000 };
    for count in [1, 2, 3, 7, 8, 9, DEPTH - 1, DEPTH] {
        let mut disk = Disk::new(DEPTH as usize);
        let (one, two) = (disk.worker(1), disk.worker(2));
        let order: Vec<u32> = (0..count).map(|place| place * 617 % DEPTH).collect();
        for tag in &order {
            let _ = disk.arrive(*tag, Op::Write);
        }
        assert_eq!(disk.take_all(&one), order);
        assert_eq!(disk.death(&one).requeued, count);
        assert_eq!(disk.take_all(&two), order);
    }
}
