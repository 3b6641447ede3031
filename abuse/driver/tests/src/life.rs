//! The life cycle, transition by transition, and what is refused at each state.

use crate::fixture::{slots, Disk, Request};
use crate::ledger::{Arrival, Op, Policies, Refusal, Unclaimed, Wake, Why};

#[test]
fn a_request_is_taken_and_put() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    disk.now = 10;
    let _ = disk.arrive(2, Op::Write);
    disk.now = 25;
    let claim = disk.begin(&worker).expect("it is queued");
    assert_eq!(
        (
            claim.told.op,
            claim.told.bytes,
            claim.told.attempt,
            claim.told.age
        ),
        (Op::Write, 4096, 0, 15)
    );
    assert_eq!(claim.request, Request(2));
    let id = claim.id;
    assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (1, 1));
    assert!(disk.ledger.take_commit(claim, disk.now).is_none());
    assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (0, 1));
    let finish = disk.finish(id);
    assert_eq!(
        (finish.id, finish.facts.op, finish.facts.bytes),
        (id, Op::Write, 4096)
    );
    assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (1, 1));
    let ended = disk.ledger.finish_commit(finish, true, 0);
    assert_eq!((ended.request, ended.doomed), (Request(2), false));
    assert_eq!((disk.ledger.busy(), disk.ledger.pending()), (0, 0));
}

#[test]
fn what_a_request_asks_for_reaches_the_worker() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    let ops = [
        Op::Read,
        Op::Write,
        Op::Flush,
        Op::Discard,
        Op::WriteZeroes,
        Op::SecureErase,
    ];
    for (tag, op) in ops.into_iter().enumerate() {
        let _ = disk.arrive(tag as u32, op);
    }
    for op in ops {
        let claim = disk.begin(&worker).expect("six are queued");
        assert_eq!(claim.told.op, op);
        assert!(disk.ledger.take_commit(claim, 0).is_none());
    }
    assert!(disk.begin(&worker).is_none());
}

#[test]
fn only_reads_and_writes_have_data_and_only_reads_do_not_modify() {
    let all = [
        Op::Read,
        Op::Write,
        Op::Flush,
        Op::Discard,
        Op::WriteZeroes,
        Op::SecureErase,
    ];
    assert_eq!(
        all.map(Op::has_data),
        [true, true, false, false, false, false]
    );
    assert_eq!(all.map(Op::modifies), [false, true, true, true, true, true]);
    assert_eq!(all.map(|op| op as u8), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_claim_that_cannot_be_delivered_leaves_the_request_as_it_was() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let claim = disk.begin(&worker).expect("it is queued");
    let id = claim.id;
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert_eq!((disk.ledger.busy(), disk.ledger.summary(0).queued), (0, 1));
    let again = disk.begin(&worker).expect("it is queued again");
    assert_eq!((again.id, again.told.attempt, again.request.0), (id, 0, 0));
    assert!(disk.ledger.take_commit(again, 0).is_none());
    assert!(disk.put(id).is_ok());
}

#[test]
fn a_completion_whose_data_fault_leaves_the_request_with_its_owner() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&worker);
    let finish = disk.finish(id);
    assert_eq!(disk.ledger.finish_abort(finish).ok(), Some(Wake::default()));
    let summary = disk.ledger.summary(0);
    assert_eq!((summary.queued, summary.taken, summary.busy), (0, 1, 0));
    assert!(disk.try_take(&worker).is_none(), "it is still taken");
    assert_eq!(
        disk.put(id).ok().map(|ended| ended.request),
        Some(Request(0))
    );
}

#[test]
fn a_failed_request_ends_once_and_well_or_not() {
    let mut disk = Disk::new(4);
    let worker = disk.worker(1);
    for well in [true, false] {
        let _ = disk.arrive(0, Op::Read);
        let id = disk.take(&worker);
        let finish = disk.finish(id);
        let ended = disk.ledger.finish_commit(finish, well, 0);
        assert!(!ended.doomed, "the worker's own word counts");
        assert_eq!(disk.refusal(id), Some(Refusal::Stale));
    }
    let counts = disk.ledger.counts()[0];
    assert_eq!((counts.done, counts.failed, counts.bytes), (1, 1, 4096));
}

#[test]
fn a_device_without_a_disk_accepts_nothing() {
    let mut disk = Disk::blank();
    assert!(!disk.ledger.is_alive());
    assert_eq!(disk.submit(0, Op::Read), Err(Request(1)));
    let worker = disk.worker(1);
    assert!(disk.begin(&worker).is_none());
    disk.configure(2, Policies::default());
    assert!(disk.ledger.is_alive());
    assert_eq!(disk.submit(0, Op::Read), Ok(2));
    let _ = disk.ledger.kill();
    assert_eq!(
        disk.submit(1, Op::Read),
        Err(Request(3)),
        "the disk is dead"
    );
    assert!(disk.begin(&worker).is_none(), "and hands out nothing");
}

#[test]
fn a_tag_in_use_or_out_of_range_is_refused_and_the_request_comes_back() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    assert_eq!(disk.submit(2, Op::Read), Err(Request(1)));
    assert_eq!(disk.submit(u32::MAX, Op::Read), Err(Request(2)));
    assert_eq!(disk.submit(0, Op::Read), Ok(3));
    assert_eq!(disk.submit(0, Op::Read), Err(Request(4)), "queued");
    let claim = disk.begin(&worker).expect("one is queued");
    let id = claim.id;
    assert_eq!(disk.submit(0, Op::Read), Err(Request(5)), "being taken");
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    assert_eq!(disk.submit(0, Op::Read), Err(Request(6)), "taken");
    let finish = disk.finish(id);
    assert_eq!(disk.submit(0, Op::Read), Err(Request(7)), "being finished");
    assert!(disk.ledger.finish_abort(finish).is_ok());
    assert_eq!(disk.ledger.fail_all(), 1);
    assert_eq!(disk.submit(0, Op::Read), Err(Request(8)), "condemned");
    assert_eq!(disk.condemned(), [3]);
    assert_eq!(disk.submit(0, Op::Read), Ok(9));
}

#[test]
fn a_request_is_refused_to_a_worker_without_room_for_its_data() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Write);
    let small = disk.ledger.take_begin(worker.index, false, 4095, 0);
    assert!(matches!(small, Err(Unclaimed::TooBig(4096))));
    assert_eq!(disk.ledger.summary(0).queued, 1);
    let enough = disk.ledger.take_begin(worker.index, false, 4096, 0);
    let Ok(claim) = enough else {
        panic!("4096 bytes fit into 4096")
    };
    assert!(disk.ledger.take_commit(claim, 0).is_none());
    let _ = disk.arrive(1, Op::Discard);
    let none = disk.ledger.take_begin(worker.index, false, 0, 0);
    assert!(
        matches!(none, Ok(claim) if claim.told.op == Op::Discard),
        "it has no data"
    );
}

#[test]
fn nobody_takes_through_an_entry_that_does_not_exist() {
    let mut disk = Disk::new(2);
    let _ = disk.arrive(0, Op::Read);
    assert!(matches!(
        disk.ledger.take_begin(8, false, 9999, 0),
        Err(Unclaimed::Nothing)
    ));
    assert!(matches!(
        disk.ledger.take_begin(u32::MAX, false, 9999, 0),
        Err(Unclaimed::Nothing)
    ));
    assert_eq!(disk.ledger.summary(0).queued, 1);
}

#[test]
fn whoever_completes_first_wins_and_the_other_is_told() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&worker);
    let first = disk.finish(id);
    assert_eq!(
        disk.refusal(id),
        Some(Refusal::Stale),
        "while the first still copies"
    );
    assert_eq!(
        disk.ledger.finish_begin(id, true).err(),
        Some(Refusal::Stale)
    );
    let ended = disk.ledger.finish_commit(first, true, 0);
    assert_eq!(ended.request, Request(0));
    assert_eq!(disk.refusal(id), Some(Refusal::Stale), "and after");
    assert_eq!(disk.ledger.refusals().0, 3);
}

#[test]
fn set_ups_and_reconnects_count_as_epochs() {
    let mut disk = Disk::blank();
    assert_eq!(disk.ledger.epoch(), 0);
    disk.configure(2, Policies::default());
    assert_eq!(disk.ledger.epoch(), 1);
    assert_eq!(
        disk.ledger
            .reconnect(Why::Asked, 0, Policies::default(), |_| ())
            .2,
        2
    );
    assert_eq!(disk.ledger.epoch(), 2);
    let _ = disk.ledger.kill();
    disk.configure(2, Policies::default());
    assert_eq!(disk.ledger.epoch(), 3);
}

#[test]
fn set_up_gives_back_what_it_replaces() {
    let mut disk = Disk::new(3);
    let _ = disk.ledger.kill();
    let old = disk.ledger.configure(slots(5), Policies::default());
    assert_eq!(old.len(), 3);
}

#[test]
fn offering_again_with_nothing_taken_does_nothing() {
    let mut disk = Disk::new(3);
    let _ = disk.arrive(0, Op::Read);
    let outcome = disk.requeue(Why::Forced);
    assert_eq!(
        (outcome.requeued, outcome.refused, outcome.condemned),
        (0, 0, 0)
    );
    assert_eq!(disk.ledger.summary(0).queued, 1);
}

#[test]
#[cfg_attr(miri, ignore = "65,536 tags take an interpreter too long")]
fn the_last_tag_of_the_largest_device_works() {
    let mut disk = Disk::new(crate::ledger::MAX_SLOTS);
    let worker = disk.worker(1);
    let last = (crate::ledger::MAX_SLOTS - 1) as u32;
    let arrival = Arrival {
        op: Op::Read,
        bytes: u32::MAX,
        durable: false,
        v1: true,
    };
    assert!(disk
        .ledger
        .enqueue(last, &arrival, Request(last), 0)
        .is_ok());
    let id = disk.take(&worker);
    assert_eq!(id & 0xffff, 0xffff);
    assert_eq!(
        disk.put(id).ok().map(|ended| ended.request),
        Some(Request(last))
    );
    assert_eq!(disk.ledger.counts()[0].bytes, u64::from(u32::MAX));
}

#[test]
fn a_disk_knows_what_it_was_set_up_with() {
    let mut disk = Disk::with(5, crate::fixture::attempts(7));
    assert_eq!(disk.ledger.tags(), 5);
    assert_eq!(disk.ledger.policies().max_attempts, 7);
    disk.configure(3, crate::fixture::fenced());
    assert_eq!(disk.ledger.tags(), 3);
    assert!(disk.ledger.policies().fenced_backend);
}
