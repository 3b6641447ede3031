//! No wake-up is lost: not with one in flight, not for the patient, not by time-outs and signals.

use crate::fixture::Disk;
use crate::ledger::{Op, Policies, Wake, Why};

const NOBODY: Wake = Wake {
    one: false,
    patient: false,
    pollers: false,
};
const POLLERS: Wake = Wake {
    one: false,
    patient: false,
    pollers: true,
};
const ONE: Wake = Wake {
    one: true,
    patient: false,
    pollers: true,
};
const PATIENT: Wake = Wake {
    one: false,
    patient: true,
    pollers: true,
};

#[test]
fn an_empty_queue_wakes_nobody() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    assert!(!disk.sleep(&worker, 1));
    assert!(disk.sleep(&worker, 2));
    assert_eq!(disk.ledger.wake(), NOBODY);
}

#[test]
fn an_arrival_wakes_one_sleeper_and_the_pollers() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    assert_eq!(disk.arrive(0, Op::Read), POLLERS, "nobody sleeps");
    let _ = disk.take(&worker);
    assert!(!disk.sleep(&worker, 1));
    assert!(!disk.sleep(&worker, 0), "a minimum of nought is one");
    assert_eq!(disk.ledger.summary(0).sleepers, 2);
    assert_eq!(disk.arrive(1, Op::Read), ONE);
}

#[test]
fn pollers_are_woken_once_somebody_has_polled() {
    let mut disk = Disk::blank();
    disk.configure(4, Policies::default());
    assert_eq!(disk.arrive(0, Op::Read), NOBODY);
    disk.ledger.polls();
    assert_eq!(disk.arrive(1, Op::Read), POLLERS);
    disk.configure(4, Policies::default());
    assert_eq!(disk.arrive(0, Op::Read), POLLERS, "whatever disk it is");
}

#[test]
fn one_wake_up_is_in_flight_at_a_time_and_whoever_leaves_some_behind_passes_it_on() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for _ in 0..3 {
        assert!(!disk.sleep(&worker, 1));
    }
    assert_eq!(disk.arrive(0, Op::Read), ONE);
    assert_eq!(disk.arrive(1, Op::Read), POLLERS, "one is on its way");
    assert_eq!(disk.arrive(2, Op::Read), POLLERS);
    disk.ledger.rise(false);
    let _ = disk.take(&worker);
    assert_eq!(disk.ledger.wake(), ONE, "two are left");
    disk.ledger.rise(false);
    let _ = disk.take(&worker);
    assert_eq!(disk.ledger.wake(), ONE, "one is left");
    disk.ledger.rise(false);
    let _ = disk.take(&worker);
    assert_eq!(disk.ledger.wake(), NOBODY);
    assert_eq!(disk.ledger.summary(0).sleepers, 0);
}

#[test]
fn a_sleeper_that_leaves_by_time_out_or_signal_hands_its_wake_up_on() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    assert!(!disk.sleep(&worker, 1));
    assert!(!disk.sleep(&worker, 1));
    assert_eq!(disk.arrive(0, Op::Read), ONE);
    // The woken one is killed before it looks, and says so as it leaves.
    disk.ledger.rise(false);
    assert_eq!(disk.ledger.wake(), ONE);
}

#[test]
fn a_time_out_beside_a_wake_up_in_flight_costs_at_most_one_wake_up_too_many() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for _ in 0..3 {
        assert!(!disk.sleep(&worker, 1));
    }
    assert_eq!(disk.arrive(0, Op::Read), ONE);
    disk.ledger.rise(false);
    assert_eq!(
        disk.ledger.wake(),
        ONE,
        "it cannot know that it was not the one"
    );
    assert_eq!(disk.ledger.wake(), POLLERS);
}

#[test]
fn every_way_into_the_queue_wakes() {
    type Way = fn(&mut Disk, u64) -> Wake;
    let ways: [Way; 3] = [
        |disk, _| disk.requeue(Why::Forced).wake,
        |disk, _| disk.ledger.close(1, true, Some(1), 0, |_| ()).wake,
        |disk, id| {
            let finish = disk.finish(id);
            let _ = disk.requeue(Why::Forced);
            disk.ledger
                .finish_abort(finish)
                .map_err(|_| ())
                .expect("not doomed")
        },
    ];
    for way in ways {
        let mut disk = Disk::new(4);
        let (worker, other) = (disk.worker(1), disk.worker(2));
        let _ = disk.arrive(0, Op::Write);
        let id = disk.take(&worker);
        assert!(!disk.sleep(&other, 1));
        assert_eq!(way(&mut disk, id), ONE);
    }
}

#[test]
fn an_aborted_claim_wakes() {
    let mut disk = Disk::new(4);
    let (worker, other) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Write);
    let claim = disk.begin(&worker).expect("it is queued");
    assert!(!disk.sleep(&other, 1));
    assert_eq!(disk.ledger.take_abort(claim).ok(), Some(ONE));
}

#[test]
fn a_fault_while_completing_wakes_nobody() {
    let mut disk = Disk::new(4);
    let (worker, other) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    assert!(!disk.sleep(&other, 1));
    let finish = disk.finish(id);
    assert_eq!(disk.ledger.finish_abort(finish).ok(), Some(NOBODY));
    assert!(disk.put(id).is_ok());
    assert_eq!(disk.ledger.wake_the_kept(), NOBODY);
}

#[test]
fn the_patient_are_woken_when_there_is_enough_for_the_least_patient() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    assert!(disk.sleep(&worker, 3));
    assert!(disk.sleep(&worker, 2));
    assert!(disk.sleep(&worker, 4));
    assert_eq!(disk.ledger.summary(0).sleepers, 3);
    assert_eq!(disk.arrive(0, Op::Read), POLLERS);
    assert!(!disk.ledger.is_ready(2));
    assert_eq!(disk.arrive(1, Op::Read), PATIENT);
    assert!(disk.ledger.is_ready(2) && !disk.ledger.is_ready(3));
    assert_eq!(
        disk.arrive(2, Op::Read),
        POLLERS,
        "all of them are on their way"
    );
    disk.ledger.rise(true);
    assert!(disk.sleep(&worker, 4), "one finds too little and sleeps on");
    assert_eq!(disk.arrive(3, Op::Read), PATIENT);
}

#[test]
fn patience_ends_with_the_last_of_the_patient() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    assert!(disk.sleep(&worker, 2));
    disk.ledger.rise(true);
    assert!(disk.sleep(&worker, 4));
    for tag in 0..3 {
        assert_eq!(
            disk.arrive(tag, Op::Read),
            POLLERS,
            "two are no longer enough"
        );
    }
    assert_eq!(disk.arrive(3, Op::Read), PATIENT);
}

#[test]
fn the_patient_and_the_single_are_woken_together() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    assert!(disk.sleep(&worker, 2));
    assert!(!disk.sleep(&worker, 1));
    assert_eq!(disk.arrive(0, Op::Read), ONE);
    assert_eq!(
        disk.arrive(1, Op::Read),
        PATIENT,
        "the single one is on its way"
    );
    disk.ledger.rise(true);
    disk.ledger.rise(false);
    assert_eq!(disk.ledger.summary(0).sleepers, 0);
}

#[test]
fn the_rise_of_the_patient_does_not_answer_for_the_single() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    assert!(disk.sleep(&worker, 5));
    assert!(!disk.sleep(&worker, 1));
    assert_eq!(disk.arrive(0, Op::Read), ONE);
    disk.ledger.rise(true);
    assert_eq!(
        disk.ledger.wake(),
        POLLERS,
        "the single one has not looked yet"
    );
}

#[test]
fn a_dead_disk_wakes_everybody() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    assert!(disk.sleep(&worker, 5));
    assert!(!disk.sleep(&worker, 1));
    let all = Wake {
        one: true,
        patient: true,
        pollers: true,
    };
    assert_eq!(disk.ledger.kill(), 0);
    assert_eq!(Wake::everybody(), all);
    disk.ledger.rise(true);
    disk.ledger.rise(false);
    assert_eq!(disk.ledger.summary(0).sleepers, 0);
    disk.configure(8, Default::default());
    assert!(!disk.sleep(&worker, 1));
    assert_eq!(
        disk.arrive(0, Op::Read),
        ONE,
        "and the next disk wakes as the first did"
    );
}

#[test]
fn wake_ups_add_up() {
    for (left, right) in [
        (NOBODY, ONE),
        (ONE, PATIENT),
        (POLLERS, PATIENT),
        (NOBODY, NOBODY),
    ] {
        let both = left.and(right);
        assert_eq!(both, right.and(left));
        assert_eq!(both.one, left.one || right.one);
        assert_eq!(both.patient, left.patient || right.patient);
        assert_eq!(both.pollers, left.pollers || right.pollers);
    }
}
