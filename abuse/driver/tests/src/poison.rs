//! Rule 18: a request that kills its owners is found out, and the innocent are not condemned with it.

use crate::fixture::{attempts, Disk, Worker};
use crate::ledger::{Op, Why};

/// Lets fresh workers take everything they get and die with it, `times` over.
fn deaths(disk: &mut Disk, times: u64) -> u32 {
    let mut condemned = 0;
    for _ in 0..times {
        let worker = fresh(disk);
        let _ = disk.take_all(&worker);
        let outcome = bury(disk, &worker);
        condemned += outcome;
    }
    condemned
}

fn fresh(disk: &mut Disk) -> Worker {
    disk.now += 1;
    disk.worker(1000 + disk.now)
}

fn bury(disk: &mut Disk, worker: &Worker) -> u32 {
    let outcome = disk.death(worker);
    let _ = disk.ledger.close(
        worker.who.file,
        true,
        Some(worker.who.process),
        disk.now,
        |_| (),
    );
    outcome.condemned
}

#[test]
fn without_a_limit_nothing_is_ever_given_up() {
    let mut disk = Disk::new(4);
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    assert_eq!(deaths(&mut disk, 100), 0);
    let worker = disk.worker(1);
    assert_eq!(disk.take_all(&worker), [0, 1], "nor handed out alone");
}

#[test]
fn the_worker_is_told_how_many_died_before_it() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    for died in 0..4 {
        let worker = fresh(&mut disk);
        let claim = disk.begin(&worker).expect("it is queued");
        assert_eq!(claim.told.attempt, died);
        assert!(disk.ledger.take_commit(claim, 0).is_none());
        assert_eq!(bury(&mut disk, &worker), 0);
    }
}

#[test]
fn a_request_whose_owner_dies_alone_too_often_fails() {
    for limit in 1..=5 {
        let mut disk = Disk::with(4, attempts(limit));
        let _ = disk.arrive(0, Op::Write);
        assert_eq!(deaths(&mut disk, u64::from(limit) - 1), 0);
        assert_eq!(disk.ledger.summary(0).queued, 1);
        assert_eq!(deaths(&mut disk, 1), 1);
        assert_eq!(disk.ledger.summary(0).queued, 0);
        assert_eq!(disk.condemned(), [0]);
        let counts = disk.ledger.counts()[1];
        assert_eq!((counts.failed, counts.requeued), (1, u64::from(limit) - 1));
    }
}

#[test]
fn from_the_second_death_on_a_request_is_handed_out_alone() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    let _ = disk.arrive(1, Op::Write);
    assert_eq!(deaths(&mut disk, 1), 0);
    let worker = fresh(&mut disk);
    assert_eq!(disk.take_all(&worker), [0, 1], "one death accuses nobody");
    assert_eq!(bury(&mut disk, &worker), 0);
    let (one, two) = (fresh(&mut disk), fresh(&mut disk));
    assert_eq!(disk.take_all(&one), [0], "two do");
    assert_eq!(disk.take_all(&two), [1]);
}

#[test]
fn whoever_holds_anything_is_not_given_a_suspect() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    assert_eq!(deaths(&mut disk, 2), 0);
    let (one, two) = (fresh(&mut disk), fresh(&mut disk));
    let suspect = disk.take(&one);
    let _ = disk.arrive(1, Op::Write);
    let other = disk.take(&two);
    assert_eq!(disk.death(&one).requeued, 1);
    assert!(disk.try_take(&two).is_none());
    assert!(!disk.ready(&two));
    assert!(disk.put(other).is_ok());
    assert!(disk.ready(&two));
    assert_ne!(disk.take(&two), suspect);
}

#[test]
fn a_suspect_that_is_done_frees_its_worker() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    assert_eq!(deaths(&mut disk, 2), 0);
    let worker = fresh(&mut disk);
    let id = disk.take(&worker);
    for tag in 1..4 {
        let _ = disk.arrive(tag, Op::Write);
    }
    assert!(disk.try_take(&worker).is_none());
    let finish = disk.finish(id);
    assert!(disk.try_take(&worker).is_none(), "not before it is done");
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert!(disk.try_take(&worker).is_none());
    assert!(disk.put(id).is_ok());
    assert_eq!(disk.take_all(&worker), [1, 2, 3]);
}

#[test]
fn a_suspect_that_could_not_be_delivered_frees_its_worker() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    assert_eq!(deaths(&mut disk, 2), 0);
    let worker = fresh(&mut disk);
    let claim = disk.begin(&worker).expect("it is queued");
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert!(disk.ready(&worker));
    assert_eq!(disk.take_all(&worker), [0]);
}

#[test]
fn a_suspect_taken_away_frees_its_worker() {
    let mut disk = Disk::with(4, attempts(9));
    let _ = disk.arrive(0, Op::Read);
    assert_eq!(deaths(&mut disk, 2), 0);
    let (one, two) = (fresh(&mut disk), fresh(&mut disk));
    let _ = disk.take(&one);
    assert_eq!(disk.requeue_token(Why::Asked, one.who.token).requeued, 1);
    let _ = disk.take(&two);
    let _ = disk.arrive(1, Op::Read);
    assert_eq!(disk.take_all(&one), [1]);
}

#[test]
fn the_others_are_not_starved_by_a_suspect_that_hangs() {
    let mut disk = Disk::with(8, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    assert_eq!(deaths(&mut disk, 2), 0);
    let (hung, other) = (fresh(&mut disk), fresh(&mut disk));
    let _ = disk.take(&hung);
    for tag in 1..8 {
        let _ = disk.arrive(tag, Op::Write);
    }
    assert_eq!(disk.take_all(&other), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_suspect_is_not_starved_by_a_worker_that_is_always_busy() {
    // It has arrived first, so that nothing overtakes it: the worker runs dry, and then gets it.
    let mut disk = Disk::with(8, attempts(9));
    let _ = disk.arrive(0, Op::Write);
    let (busy, victim) = (fresh(&mut disk), fresh(&mut disk));
    let _ = disk.take(&victim);
    assert_eq!(bury(&mut disk, &victim), 0);
    let victim = fresh(&mut disk);
    let _ = disk.take(&victim);
    let mut held = Vec::new();
    for tag in 1..6 {
        let _ = disk.arrive(tag, Op::Write);
        held.push(disk.take(&busy));
    }
    assert_eq!(bury(&mut disk, &victim), 0);
    let _ = disk.arrive(6, Op::Write);
    while let Some(id) = held.pop() {
        assert!(disk.try_take(&busy).is_none());
        assert!(disk.put(id).is_ok());
    }
    assert_eq!(disk.take_all(&busy), [0], "alone");
}

#[test]
fn only_deaths_count_as_attempts() {
    let mut disk = Disk::with(4, attempts(1));
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    for _ in 0..5 {
        let _ = disk.take(&worker);
        let outcome = disk.requeue(Why::Asked);
        assert_eq!(
            (outcome.requeued, outcome.condemned),
            (1, 0),
            "from the living"
        );
        let _ = disk.take(&worker);
        let outcome = disk.requeue(Why::Forced);
        assert_eq!((outcome.requeued, outcome.condemned), (1, 0), "by force");
    }
    let _ = disk.take(&worker);
    let outcome = disk.ledger.close(1, true, None, 0, |_| ());
    assert_eq!(
        (outcome.requeued, outcome.condemned),
        (1, 0),
        "by an orderly end"
    );
    let worker = disk.worker(2);
    let claim = disk.begin(&worker).expect("it is queued");
    assert_eq!(claim.told.attempt, 0);
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    let outcome = disk.ledger.close(2, true, Some(2), 0, |_| ());
    assert_eq!(
        (outcome.requeued, outcome.condemned),
        (0, 1),
        "by the end of its process"
    );
}

#[test]
fn a_death_is_the_owners_whoever_closes_its_file() {
    for (dies, closer, counted) in [
        // A child that inherited the file ends, and its owner lives on.
        (false, Some(2), 0),
        // Its owner ends in the very call that closes it.
        (false, Some(1), 1),
        // Its owner is dead for long when the child closes it, orderly or not.
        (true, None, 1),
        (true, Some(2), 1),
        (false, None, 0),
    ] {
        let mut disk = Disk::with(2, attempts(9));
        let (owner, other) = (disk.worker(1), disk.worker(2));
        let _ = disk.arrive(0, Op::Write);
        let _ = disk.take(&owner);
        if dies {
            owner.life.die();
        }
        assert_eq!(disk.ledger.close(1, true, closer, 0, |_| ()).requeued, 1);
        let claim = disk.begin(&other).expect("it is offered again");
        assert_eq!(
            claim.told.attempt, counted,
            "dead: {dies}, closed by {closer:?}"
        );
        assert!(disk.ledger.take_commit(claim, 0).is_none());
    }
}

#[test]
fn force_does_not_hide_a_death() {
    let mut disk = Disk::with(4, attempts(1));
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let _ = disk.take(&worker);
    worker.life.die();
    let outcome = disk.requeue(Why::Forced);
    assert_eq!((outcome.requeued, outcome.condemned), (0, 1));
}

#[test]
fn deaths_do_not_stick_to_the_tag() {
    let mut disk = Disk::with(4, attempts(3));
    let _ = disk.arrive(0, Op::Write);
    assert_eq!(deaths(&mut disk, 2), 0);
    let worker = fresh(&mut disk);
    let id = disk.take(&worker);
    assert!(disk.put(id).is_ok());
    let _ = disk.arrive(0, Op::Write);
    let claim = disk.begin(&worker).expect("it is queued");
    assert_eq!(claim.told.attempt, 0);
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    assert_eq!(bury(&mut disk, &worker), 0);
    assert_eq!(deaths(&mut disk, 1), 0, "nor do lone deaths");
    assert_eq!(deaths(&mut disk, 1), 1);
}

#[test]
fn condemned_for_its_deaths_a_request_leaves_the_order_of_the_others_alone() {
    let mut disk = Disk::with(8, attempts(1));
    let (one, two) = (disk.worker(1), disk.worker(2));
    for tag in 0..4 {
        let _ = disk.arrive(tag, Op::Write);
    }
    let _ = disk.take(&one);
    let _ = disk.take(&two);
    let _ = disk.take(&two);
    one.life.die();
    two.life.die();
    let outcome = disk.requeue(Why::Asked);
    assert_eq!((outcome.requeued, outcome.condemned), (2, 1));
    assert_eq!(disk.condemned(), [0]);
    let three = disk.worker(3);
    assert_eq!(disk.take_all(&three), [1, 2, 3]);
}

#[test]
#[cfg_attr(miri, ignore = "65,535 deaths take an interpreter too long")]
fn a_limit_beyond_what_is_counted_still_ends() {
    let mut disk = Disk::with(1, attempts(u32::MAX));
    let _ = disk.arrive(0, Op::Read);
    let worker = disk.worker(1);
    worker.life.die();
    for _ in 1..u16::MAX {
        let _ = disk.take(&worker);
        assert_eq!(disk.requeue(Why::Asked).requeued, 1);
    }
    let _ = disk.take(&worker);
    assert_eq!(disk.requeue(Why::Asked).condemned, 1);
}

#[test]
fn a_completion_that_faults_after_too_many_deaths_ends_with_an_error() {
    let mut disk = Disk::with(2, attempts(1));
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    let outcome = disk.death(&worker);
    assert_eq!(
        (outcome.requeued, outcome.condemned),
        (0, 0),
        "it may still succeed"
    );
    assert_eq!(
        disk.death(&worker).condemned,
        0,
        "and one death counts once"
    );
    let ended = disk
        .ledger
        .finish_abort(finish)
        .expect_err("nobody may have it any more");
    assert_eq!((ended.request.0, ended.doomed), (0, true));
    assert_eq!(disk.ledger.pending(), 0);
    assert_eq!(disk.ledger.counts()[1].failed, 1);
}

#[test]
fn one_death_counts_once_however_often_it_is_reported() {
    // Its file is closed, its supervisor asks, somebody insists: all while another completes it.
    let mut disk = Disk::with(2, attempts(2));
    let (worker, other) = (disk.worker(1), disk.worker(2));
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    let _ = disk.ledger.close(1, true, Some(1), 0, |_| ());
    let _ = disk.death(&worker);
    let _ = disk.requeue(Why::Forced);
    assert!(disk.ledger.finish_abort(finish).is_ok());
    let claim = disk.begin(&other).expect("it is offered again");
    assert_eq!(claim.told.attempt, 1);
    assert!(disk.ledger.take_commit(claim, 0).is_none());
}
