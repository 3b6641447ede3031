//! Forwarding: the kernel moves the data, whatever becomes of the worker that said so.

use crate::fixture::{attempts, Disk, Request};
use crate::ledger::{Forward, Op, Policies, Refusal, Unforwarded, Why};

/// Forwards what is taken under this id.
fn forward(disk: &mut Disk, id: u64) -> Forward<Request> {
    let begun = disk.ledger.forward_begin(id, |_, _, _| Ok::<(), ()>(()));
    begun.expect("it is taken").0
}

fn refusal(disk: &mut Disk, id: u64) -> Unforwarded<()> {
    let begun = disk.ledger.forward_begin(id, |_, _, _| Ok::<(), ()>(()));
    begun.err().expect("it cannot be forwarded")
}

/// A disk with one worker that holds one request of this kind.
fn holding(op: Op, policies: Policies) -> (Disk, crate::fixture::Worker, u64) {
    let mut disk = Disk::with(4, policies);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, op);
    let id = disk.take(&worker);
    (disk, worker, id)
}

#[test]
fn only_what_is_taken_is_forwarded_and_only_under_its_id() {
    let (mut disk, worker, id) = holding(Op::Read, Policies::default());
    let _ = disk.arrive(1, Op::Read);
    let unknown = Unforwarded::Refused(Refusal::Unknown);
    let stale = Unforwarded::Refused(Refusal::Stale);
    assert_eq!(refusal(&mut disk, id + (1 << 40)), unknown);
    assert_eq!(refusal(&mut disk, u64::MAX), unknown);
    let claim = disk.begin(&worker).expect("one is queued");
    assert_eq!(refusal(&mut disk, claim.id), unknown, "it has not arrived");
    let second = claim.id;
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    let finish = disk.finish(second);
    assert_eq!(refusal(&mut disk, second), stale, "another completes it");
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(disk.requeue(Why::Forced).requeued, 2);
    assert_eq!(refusal(&mut disk, id), stale);
    let again = disk.take(&worker);
    let flight = forward(&mut disk, again);
    assert_eq!(refusal(&mut disk, again), stale, "it is under way");
    assert!(!disk.ledger.forward_commit(flight, true, 0).doomed);
    assert_eq!(refusal(&mut disk, again), stale);
}

#[test]
fn what_may_not_go_there_stays_with_its_owner() {
    let (mut disk, worker, id) = holding(Op::Write, Policies::default());
    let begun = disk.ledger.forward_begin(id, |op, bytes, request| {
        assert_eq!((op, bytes, request), (Op::Write, 4096, &Request(0)));
        Err(7)
    });
    assert_eq!(begun.err(), Some(Unforwarded::Unfit(7)));
    let summary = disk.ledger.summary(0);
    assert_eq!((summary.taken, summary.busy, summary.forwarding), (1, 0, 0));
    assert_eq!(
        disk.requeue_token(Why::Forced, worker.who.token).requeued,
        1
    );
}

#[test]
fn a_death_does_not_bring_back_what_is_under_way() {
    let (mut disk, worker, id) = holding(Op::Write, Policies::default());
    let flight = forward(&mut disk, id);
    assert_eq!(disk.death(&worker).requeued, 0);
    let closed = disk.ledger.close(worker.who.file, true, Some(1), 0, |_| ());
    assert_eq!(
        (closed.requeued, closed.refused, closed.condemned),
        (0, 0, 0)
    );
    assert_eq!(worker.life.references(), 1, "nobody needs it any more");
    let ended = disk.ledger.forward_commit(flight, true, 5);
    assert_eq!(
        (ended.request, ended.doomed, ended.id),
        (Request(0), false, id)
    );
    let counts = disk.ledger.counts()[1];
    assert_eq!((counts.done, counts.bytes, counts.service), (1, 4096, 5));
    assert_eq!((disk.ledger.pending(), disk.ledger.busy()), (0, 0));
}

#[test]
fn no_operator_and_no_epoch_brings_it_back() {
    for why in [Why::Asked, Why::Expired, Why::Forced, Why::Closed(None)] {
        let (mut disk, _, id) = holding(Op::Write, Policies::default());
        let flight = forward(&mut disk, id);
        let outcome = disk.requeue(why);
        assert_eq!((outcome.requeued, outcome.refused), (0, 0));
        let (outcome, old, new) = disk
            .ledger
            .reconnect(Why::Asked, 0, Policies::default(), |_| ());
        assert!(!outcome.is_in_vain(), "nobody has anything");
        assert_eq!(new, old + 1);
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
        assert!(!disk.ledger.forward_commit(flight, true, 0).doomed);
    }
}

#[test]
fn what_failed_is_offered_again_in_its_place_with_a_new_id_and_the_reason() {
    let (mut disk, worker, id) = holding(Op::Write, Policies::default());
    let _ = disk.arrive(1, Op::Read);
    let flight = forward(&mut disk, id);
    disk.now = 9;
    let wake = disk.ledger.forward_return(flight, 2, 9);
    assert!(wake.is_ok_and(|wake| wake.pollers));
    assert_eq!(disk.refusal(id), Some(Refusal::Stale));
    let claim = disk.begin(&worker).expect("it is offered again");
    assert_eq!(
        (claim.request.0, claim.told.failure, claim.told.attempt),
        (0, 2, 0)
    );
    assert!(claim.id > id);
    let (id, age) = (claim.id, claim.told.age);
    assert_eq!(age, 9, "it has been waiting since it came");
    assert!(disk.ledger.take_commit(claim, 9).is_none());
    let behind = disk.begin(&worker).expect("one was behind it");
    assert_eq!((behind.request.0, behind.told.failure), (1, 0));
    assert!(disk.ledger.take_abort(behind).is_ok());
    // It stays known until it ends, and means nothing to what comes in its place.
    assert_eq!(disk.requeue(Why::Forced).requeued, 1);
    let claim = disk.begin(&worker).expect("it is offered again");
    assert_eq!(claim.told.failure, 2);
    let last = claim.id;
    assert!(last > id && disk.ledger.take_commit(claim, 9).is_none());
    assert!(disk.put(last).is_ok());
    let _ = disk.arrive(0, Op::Write);
    let behind = disk.take(&worker);
    assert!(disk.put(behind).is_ok());
    let claim = disk.begin(&worker).expect("a new one");
    assert_eq!((claim.request.0, claim.told.failure), (0, 0));
    assert!(disk.ledger.take_abort(claim).is_ok());
    let counts = disk.ledger.counts()[1];
    assert_eq!((counts.requeued, counts.taken, counts.failed), (2, 3, 0));
}

#[test]
fn whoever_sleeps_is_woken_for_what_failed() {
    let (mut disk, worker, id) = holding(Op::Read, Policies::default());
    let flight = forward(&mut disk, id);
    assert!(!disk.sleep(&worker, 1));
    let wake = disk.ledger.forward_return(flight, 1, 0);
    assert!(wake.is_ok_and(|wake| wake.one));
}

#[test]
fn a_dead_disk_ends_what_is_under_way_when_it_is_over() {
    for end in [
        |disk: &mut Disk| disk.ledger.kill(),
        |disk: &mut Disk| disk.ledger.fail_all(),
    ] {
        for well in [Some(true), Some(false), None] {
            let (mut disk, _, id) = holding(Op::Write, Policies::default());
            let flight = forward(&mut disk, id);
            assert_eq!(end(&mut disk), 0);
            assert!(disk.condemned().is_empty(), "its pages are in use");
            assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (1, 1));
            let ended = match well {
                Some(well) => disk.ledger.forward_commit(flight, well, 0),
                None => disk
                    .ledger
                    .forward_return(flight, 1, 0)
                    .expect_err("it is doomed"),
            };
            assert_eq!((ended.request, ended.doomed), (Request(0), true));
            assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (0, 0));
            assert_eq!(disk.ledger.summary(0).forwarding, 0);
            let counts = disk.ledger.counts()[1];
            assert_eq!((counts.done, counts.failed), (0, 1));
            assert_eq!(disk.ledger.unflushed(), 0);
        }
    }
}

#[test]
fn what_is_under_way_does_not_crowd_a_suspect() {
    let mut disk = Disk::with(4, attempts(3));
    let _ = disk.arrive(0, Op::Write);
    for number in 2..4 {
        let victim = disk.worker(number);
        let _ = disk.take(&victim);
        assert_eq!(disk.death(&victim).requeued, 1);
    }
    let worker = disk.worker(10);
    let suspect = disk.take(&worker);
    let _ = disk.arrive(1, Op::Read);
    assert!(!disk.ready(&worker), "it must hold the suspect alone");
    assert!(disk.sleep(&worker, 1), "so it sleeps apart");
    let begun = disk
        .ledger
        .forward_begin(suspect, |_, _, _| Ok::<(), ()>(()));
    let (flight, wake) = begun.expect("it is taken");
    assert!(wake.patient, "its hands are empty now");
    disk.ledger.rise(true);
    assert!(disk.ready(&worker));
    assert_eq!(disk.take_all(&worker), [1]);
    // A death now is the death of the one that is held.
    assert_eq!(disk.death(&worker).requeued, 1);
    assert!(!disk.ledger.forward_commit(flight, true, 0).doomed);
}

#[test]
fn changes_are_counted_when_they_are_made() {
    let (mut disk, worker, id) = holding(Op::Write, Policies::default());
    let flight = forward(&mut disk, id);
    assert_eq!(disk.ledger.unflushed(), 0);
    let _ = disk.ledger.forward_commit(flight, true, 0);
    assert_eq!(disk.ledger.unflushed(), 1);
    let _ = disk.arrive(1, Op::Flush);
    let id = disk.take(&worker);
    let flight = forward(&mut disk, id);
    let _ = disk.arrive(2, Op::Write);
    let late = disk.take(&worker);
    assert!(disk.put(late).is_ok());
    let _ = disk.ledger.forward_commit(flight, true, 0);
    assert_eq!(disk.ledger.unflushed(), 1, "it came after the flush");
}

#[test]
fn old_clients_neither_see_nor_complete_what_is_under_way() {
    let (mut disk, _, id) = holding(Op::Read, Policies::default());
    let flight = forward(&mut disk, id);
    assert!(disk.ledger.v1_next(|id, _| id).is_none());
    assert_eq!(
        disk.ledger.finish_begin(id, true).err(),
        Some(Refusal::Stale)
    );
    assert_eq!(disk.ledger.fail_unclaimed(0, 1000).0, 0);
    let _ = disk.ledger.forward_commit(flight, false, 0);
    assert_eq!(disk.ledger.counts()[0].failed, 1);
}
