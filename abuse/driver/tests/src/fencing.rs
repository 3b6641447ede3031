//! A late write cannot be refused, only prevented by death: who may be made to give back what.

use crate::fixture::{fenced, Disk};
use crate::ledger::{Op, Refusal, Why};

const MODIFYING: [Op; 5] = [
    Op::Write,
    Op::Flush,
    Op::Discard,
    Op::WriteZeroes,
    Op::SecureErase,
];

#[test]
fn what_modifies_is_left_to_a_living_owner() {
    for op in MODIFYING {
        let mut disk = Disk::new(2);
        let worker = disk.worker(1);
        let _ = disk.arrive(0, op);
        let id = disk.take(&worker);
        let outcome = disk.requeue(Why::Asked);
        assert_eq!((outcome.requeued, outcome.refused), (0, 1), "{op:?}");
        assert_eq!(disk.ledger.refusals(), (0, 1));
        assert_eq!(disk.ledger.counts()[op as usize].requeued, 0);
        assert!(
            disk.put(id).is_ok(),
            "its owner goes on as if nothing had been"
        );
    }
}

#[test]
fn reads_are_offered_again_from_the_living_too() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for (tag, op) in [(0, Op::Read), (1, Op::Write), (2, Op::Read)] {
        let _ = disk.arrive(tag, op);
    }
    let ids = [0; 3].map(|_| disk.take(&worker));
    let outcome = disk.requeue(Why::Asked);
    assert_eq!((outcome.requeued, outcome.refused), (2, 1));
    assert_eq!(disk.refusal(ids[0]), Some(Refusal::Stale));
    assert_eq!(disk.refusal(ids[1]), None);
    let other = disk.worker(2);
    assert_eq!(disk.take_all(&other), [0, 2]);
}

#[test]
fn death_makes_everything_available() {
    for op in MODIFYING {
        let mut disk = Disk::new(2);
        let worker = disk.worker(1);
        let _ = disk.arrive(0, op);
        let id = disk.take(&worker);
        worker.life.die();
        let outcome = disk.requeue(Why::Asked);
        assert_eq!((outcome.requeued, outcome.refused), (1, 0), "{op:?}");
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
    }
}

#[test]
fn force_and_a_fencing_backend_do_not_wait_for_death() {
    for (policies, why) in [(Default::default(), Why::Forced), (fenced(), Why::Asked)] {
        let mut disk = Disk::with(2, policies);
        let worker = disk.worker(1);
        let _ = disk.arrive(0, Op::Write);
        let id = disk.take(&worker);
        let outcome = disk.requeue(why);
        assert_eq!((outcome.requeued, outcome.refused), (1, 0));
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
    }
}

#[test]
fn closing_the_file_counts_as_death() {
    for dying in [Some(1), Some(2), None] {
        let mut disk = Disk::new(4);
        let (one, two) = (disk.worker(1), disk.worker(2));
        let _ = disk.arrive(0, Op::Write);
        let _ = disk.arrive(1, Op::Write);
        let gone = disk.take(&one);
        let kept = disk.take(&two);
        let outcome = disk.ledger.close(one.who.file, true, dying, 0, |_| ());
        assert_eq!((outcome.requeued, outcome.refused), (1, 0));
        assert_eq!(disk.refusal(gone), Some(Refusal::Stale));
        assert_eq!(disk.refusal(kept), None, "another file's requests stay");
    }
}

#[test]
fn closing_offers_nothing_again_when_the_policy_is_off() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let outcome = disk
        .ledger
        .close(worker.who.file, false, Some(1), 0, |_| ());
    assert_eq!((outcome.requeued, outcome.refused), (0, 0));
    assert_eq!(disk.refusal(id), None, "any process may still complete it");
    assert_eq!(disk.requeue(Why::Asked).refused, 1, "its process lives");
    worker.life.die();
    assert_eq!(disk.requeue(Why::Asked).requeued, 1);
}

#[test]
fn a_detached_claim_outlives_its_file() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let Ok(claim) = disk.ledger.take_begin(worker.index, true, 9999, 0) else {
        panic!("it is queued")
    };
    let detached = claim.id;
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    let attached = disk.take(&worker);
    let outcome = disk.ledger.close(worker.who.file, true, Some(1), 0, |_| ());
    assert_eq!(outcome.requeued, 1);
    assert_eq!(disk.refusal(attached), Some(Refusal::Stale));
    assert_eq!(disk.refusal(detached), None);
    assert_eq!(
        disk.requeue(Why::Asked).refused,
        1,
        "and is fenced like any other"
    );
    assert!(disk.put(detached).is_ok());
    assert_eq!(
        worker.life.references(),
        1,
        "then nothing keeps its process"
    );
}

#[test]
fn a_detached_claim_given_back_and_taken_again_is_what_its_new_owner_says() {
    let mut disk = Disk::new(2);
    let (one, two) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Read);
    let Ok(claim) = disk.ledger.take_begin(one.index, true, 9999, 0) else {
        panic!("it is queued")
    };
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    assert_eq!(disk.requeue(Why::Asked).requeued, 1);
    let _ = disk.take(&two);
    assert_eq!(
        disk.ledger
            .close(two.who.file, true, Some(2), 0, |_| ())
            .requeued,
        1
    );
}

#[test]
fn selectors_see_owner_age_and_id() {
    let mut disk = Disk::new(4);
    let (one, two) = (disk.worker(1), disk.worker(2));
    for tag in 0..3 {
        let _ = disk.arrive(tag, Op::Read);
    }
    disk.now = 100;
    let first = disk.take(&one);
    disk.now = 150;
    let second = disk.take(&two);
    let third = disk.take(&two);
    disk.now = 170;
    let mut seen = Vec::new();
    let cell = std::cell::RefCell::new(&mut seen);
    let outcome = disk.ledger.requeue(
        Why::Asked,
        disk.now,
        |held| {
            let process = held.holder.process().is_some();
            cell.borrow_mut()
                .push((held.id, held.held_for, held.holder.who().token, process));
            held.held_for > 50 && !held.detached
        },
        |_| (),
    );
    assert_eq!(
        seen,
        [
            (first, 70, 101, true),
            (second, 20, 102, true),
            (third, 20, 102, true)
        ]
    );
    assert_eq!(outcome.requeued, 1);
    let outcome = disk
        .ledger
        .requeue(Why::Asked, disk.now, |held| held.id == third, |_| ());
    assert_eq!(outcome.requeued, 1);
    assert_eq!(disk.refusal(second), None);
}

#[test]
fn what_is_being_copied_is_not_offered_again() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.arrive(1, Op::Read);
    let id = disk.take(&worker);
    let claim = disk.begin(&worker).expect("one is queued");
    let finish = disk.finish(id);
    let outcome = disk.requeue(Why::Forced);
    assert_eq!((outcome.requeued, outcome.refused), (0, 0));
    assert_eq!(disk.ledger.busy(), 2);
    assert!(
        !disk.ledger.finish_commit(finish, true, 0).doomed,
        "its completion stands"
    );
    let taken = claim.id;
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    assert!(disk.put(taken).is_ok());
}

#[test]
fn a_stopped_worker_loses_its_reads_at_once_and_its_writes_at_death() {
    // SIGSTOP: another serves the reads; the write stays until SIGKILL, and what the old one says
    // afterwards changes nothing.
    let mut disk = Disk::new(4);
    let (stopped, other) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.arrive(1, Op::Write);
    let (read, write) = (disk.take(&stopped), disk.take(&stopped));
    let outcome = disk.requeue_token(Why::Asked, stopped.who.token);
    assert_eq!((outcome.requeued, outcome.refused), (1, 1));
    let again = disk.take(&other);
    assert_eq!(disk.refusal(read), Some(Refusal::Stale));
    assert!(disk.put(again).is_ok());
    assert_eq!(disk.death(&stopped).requeued, 1);
    assert_eq!(disk.refusal(write), Some(Refusal::Stale));
    let again = disk.take(&other);
    assert!(disk.put(again).is_ok());
}

#[test]
fn a_completion_that_faults_after_its_owner_died_is_offered_again() {
    // One worker took it, another is completing it when the first dies. If that copy fails, nobody
    // is left who would finish or requeue it.
    for close in [true, false] {
        let mut disk = Disk::new(4);
        let (dead, other) = (disk.worker(1), disk.worker(2));
        let _ = disk.arrive(0, Op::Write);
        let id = disk.take(&dead);
        let _ = disk.arrive(1, Op::Write);
        let finish = disk.finish(id);
        disk.now = 50;
        let outcome = if close {
            disk.ledger
                .close(dead.who.file, true, Some(1), disk.now, |_| ())
        } else {
            disk.death(&dead)
        };
        assert_eq!((outcome.requeued, outcome.refused), (0, 0));
        assert_eq!(
            disk.refusal(id),
            Some(Refusal::Stale),
            "it is still being completed"
        );
        assert!(!disk.sleep(&other, 1));
        let wake = disk
            .ledger
            .finish_abort(finish)
            .map_err(|_| ())
            .expect("it is not doomed");
        assert!(wake.one, "whoever sleeps can have it");
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
        let summary = disk.ledger.summary(60);
        assert_eq!((summary.queued, summary.taken), (2, 0));
        assert_eq!(disk.ledger.counts()[1].requeued, 1);
        let claim = disk.begin(&other).expect("it is queued");
        assert_eq!((claim.request.0, claim.told.attempt), (0, 1));
        assert!(disk.ledger.take_commit(claim, 60).is_none());
    }
}

#[test]
fn a_completion_that_succeeds_after_its_owner_died_stands() {
    let mut disk = Disk::new(4);
    let dead = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&dead);
    let finish = disk.finish(id);
    let _ = disk.death(&dead);
    let ended = disk.ledger.finish_commit(finish, true, 0);
    assert!(!ended.doomed);
    let counts = disk.ledger.counts()[1];
    assert_eq!((counts.done, counts.requeued, counts.failed), (1, 0, 0));
}

#[test]
fn a_completion_that_faults_stays_with_a_living_writer() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    let outcome = disk.requeue(Why::Asked);
    assert_eq!((outcome.requeued, outcome.refused), (0, 0));
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(disk.refusal(id), None);
    let finish = disk.finish(id);
    assert_eq!(disk.requeue(Why::Forced).requeued, 0);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(
        disk.refusal(id),
        Some(Refusal::Stale),
        "unless somebody insisted"
    );
}

#[test]
fn an_order_to_give_back_does_not_outlive_the_completion_it_met() {
    let mut disk = Disk::new(1);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    let _ = disk.requeue(Why::Forced);
    let _ = disk.ledger.finish_commit(finish, true, 0);
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(disk.refusal(id), None, "this is another request");
}

#[test]
fn an_order_to_give_back_does_not_outlive_what_it_led_to() {
    let mut disk = Disk::new(1);
    let (worker, other) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    let _ = disk.requeue(Why::Forced);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    let id = disk.take(&other);
    let finish = disk.finish(id);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(disk.refusal(id), None, "it was given back already");
}

#[test]
fn a_lease_that_is_over_takes_back_what_somebody_may_ask_for_and_says_nothing() {
    let mut disk = Disk::new(4);
    let (living, dead) = (disk.worker(1), disk.worker(2));
    for (tag, op) in [(0, Op::Read), (1, Op::Write), (2, Op::Write)] {
        let _ = disk.arrive(tag, op);
    }
    let (read, write) = (disk.take(&living), disk.take(&living));
    let lost = disk.take(&dead);
    dead.life.die();
    let outcome = disk.requeue(Why::Expired);
    assert_eq!((outcome.requeued, outcome.refused), (2, 1));
    assert!(!outcome.is_in_vain());
    assert_eq!(disk.ledger.refusals(), (0, 0), "it looks again and again");
    assert_eq!(disk.refusal(write), None);
    assert_eq!(disk.refusal(read), Some(Refusal::Stale));
    assert_eq!(disk.refusal(lost), Some(Refusal::Stale));
    let outcome = disk.requeue(Why::Expired);
    assert!(outcome.is_in_vain());
    let other = disk.worker(3);
    let attempts = [0; 2].map(|_| {
        let claim = disk.begin(&other).expect("two are offered again");
        let attempt = claim.told.attempt;
        assert!(disk.ledger.take_commit(claim, 0).is_none());
        attempt
    });
    assert_eq!(attempts, [0, 1], "a death is a death");
}

#[test]
fn asking_in_vain_is_to_get_nothing_because_of_living_writers() {
    let mut disk = Disk::with(4, crate::fixture::attempts(1));
    assert!(!disk.requeue(Why::Asked).is_in_vain(), "there was nothing");
    let (one, two) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    let _ = disk.take(&one);
    assert!(disk.requeue(Why::Asked).is_in_vain());
    let _ = disk.take(&two);
    two.life.die();
    let outcome = disk.requeue(Why::Asked);
    assert_eq!((outcome.refused, outcome.condemned), (1, 1));
    assert!(!outcome.is_in_vain(), "one was given up");
}
