//! An id is given once, for ever; an old one is stale and an invented one unknown.

use std::collections::HashSet;

use crate::fixture::{slots, vacant, Book, Disk, Request, ORIGIN};
use crate::ledger::{Arrival, Ledger, Op, Policies, Refusal, Why};

#[test]
fn an_id_is_never_zero_and_names_its_tag() {
    let mut disk = Disk::blank();
    disk.ledger = Ledger::new(Vec::new(), vacant(1), 0);
    disk.configure(4, Policies::default());
    let worker = disk.worker(1);
    for tag in [3, 0] {
        let _ = disk.arrive(tag, Op::Read);
        let id = disk.take(&worker);
        assert_ne!(id, 0);
        assert_eq!(id & 0xffff, u64::from(tag));
    }
    assert_eq!(disk.refusal(0), Some(Refusal::Unknown));
}

#[test]
fn a_request_offered_again_gets_a_new_id() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let old = disk.take(&worker);
    let _ = disk.requeue(Why::Asked);
    assert_eq!(
        disk.refusal(old),
        Some(Refusal::Stale),
        "while it is queued"
    );
    let new = disk.take(&worker);
    assert_ne!(old, new);
    assert_eq!(
        disk.refusal(old),
        Some(Refusal::Stale),
        "while another has it"
    );
    assert!(disk.put(new).is_ok(), "and nothing has changed");
    assert_eq!(disk.refusal(new), Some(Refusal::Stale));
    assert_eq!(disk.ledger.refusals(), (3, 0));
}

#[test]
fn ids_are_never_given_twice_across_set_ups_of_any_depth() {
    let mut disk = Disk::blank();
    let mut given = HashSet::new();
    for depth in [1, 4, 2, 8, 1, 8, 3] {
        disk.configure(depth, Policies::default());
        let worker = disk.worker(1);
        for round in 0..3 {
            for tag in 0..depth as u32 {
                let _ = disk.arrive(tag, Op::Read);
            }
            // Tags age at different speeds: the first is offered again most often.
            let mut again = 5 * round;
            while let Some((id, number)) = disk.try_take(&worker) {
                assert!(given.insert(id), "id {id:#x} was given twice");
                if number == 0 && again > 0 {
                    again -= 1;
                    assert_eq!(disk.requeue(Why::Forced).requeued, 1);
                }
            }
            let ids: Vec<u64> = given.iter().copied().collect();
            for id in ids {
                let _ = disk.put(id);
            }
        }
        let _ = disk.arrive(0, Op::Read);
        assert!(given.insert(disk.take(&worker)));
        let _ = disk.ledger.kill();
        assert_eq!(disk.condemned(), [0]);
        let _ = disk.ledger.close(1, true, None, 0, |_| ());
        for id in &given {
            assert_eq!(disk.refusal(*id), Some(Refusal::Stale), "the disk is dead");
        }
    }
}

#[test]
fn an_id_of_a_larger_set_up_is_stale_not_unknown() {
    let mut disk = Disk::new(8);
    let worker = disk.worker(1);
    let _ = disk.arrive(7, Op::Read);
    let id = disk.take(&worker);
    let _ = disk.ledger.kill();
    assert_eq!(disk.condemned(), [7]);
    disk.configure(2, Policies::default());
    assert_eq!(disk.refusal(id), Some(Refusal::Stale));
}

#[test]
fn an_id_of_the_time_before_a_doomed_request_drained_is_stale_after_set_up() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(1, Op::Read);
    let claim = disk.begin(&worker).expect("it is queued");
    let id = claim.id;
    let _ = disk.ledger.kill();
    assert!(disk.ledger.take_commit(claim, 0).is_some());
    disk.configure(2, Policies::default());
    let _ = disk.arrive(1, Op::Read);
    assert_ne!(disk.take(&worker), id);
    assert_eq!(disk.refusal(id), Some(Refusal::Stale));
}

#[test]
fn invented_ids_are_unknown_and_not_counted_as_stale() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let id = disk.take(&worker);
    let invented = [
        0,
        1,
        id & 0xffff,
        ORIGIN << 16,
        id + (1 << 16),
        id | (1 << 63),
        u64::MAX,
        u64::MAX << 16,
        (id & !0xffff) | 0xffff | (1 << 40),
    ];
    for id in invented {
        assert_eq!(disk.refusal(id), Some(Refusal::Unknown), "{id:#x}");
    }
    assert_eq!(disk.ledger.refusals(), (0, 0));
    assert!(disk.put(id).is_ok(), "and the true one still works");
}

#[test]
fn the_id_of_a_request_that_nobody_holds_is_unknown() {
    let mut disk = Disk::new(2);
    let worker = disk.worker(1);
    let _ = disk.arrive(0, Op::Read);
    let claim = disk.begin(&worker).expect("it is queued");
    let id = claim.id;
    assert_eq!(
        disk.refusal(id),
        Some(Refusal::Unknown),
        "while it is being handed out"
    );
    assert!(disk.ledger.take_abort(claim).is_ok());
    assert_eq!(
        disk.refusal(id),
        Some(Refusal::Unknown),
        "while it is queued"
    );
    assert_eq!(
        disk.ledger.finish_begin(id + 1, false).err(),
        Some(Refusal::Unknown),
        "idle"
    );
    assert_eq!(disk.ledger.fail_all(), 1);
    assert_eq!(
        disk.refusal(id + (1 << 16)),
        Some(Refusal::Unknown),
        "condemned"
    );
    assert_eq!(disk.refusal(id), Some(Refusal::Stale));
}

#[test]
fn ids_of_another_device_mean_nothing_here() {
    let mut here = Disk::new(2);
    let mut there: Book = Ledger::new(Vec::new(), vacant(2), ORIGIN << 20);
    let _ = there.configure(slots(2), Policies::default());
    let arrival = Arrival {
        op: Op::Read,
        bytes: 512,
        durable: false,
        v1: true,
    };
    assert!(there.enqueue(0, &arrival, Request(0), 0).is_ok());
    let foreign = there.v1_next(|id, _| id).expect("it is queued");
    let worker = here.worker(1);
    let _ = here.arrive(0, Op::Read);
    let own = here.take(&worker);
    assert_eq!(here.refusal(foreign), Some(Refusal::Unknown));
    assert_eq!(there.finish_begin(own, true).err(), Some(Refusal::Unknown));
}

#[test]
fn the_highest_origin_leaves_room_for_ids() {
    let mut disk = Disk::blank();
    disk.ledger = Ledger::new(Vec::new(), vacant(1), u64::MAX);
    disk.configure(1, Policies::default());
    let worker = disk.worker(1);
    let mut last = 0;
    for _ in 0..1000 {
        let _ = disk.arrive(0, Op::Read);
        let id = disk.take(&worker);
        assert!(id > last, "generations only grow");
        last = id;
        assert!(disk.put(id).is_ok());
    }
}

#[test]
fn every_old_completion_of_a_tag_used_ten_thousand_times_is_refused() {
    let mut disk = Disk::new(1);
    let worker = disk.worker(1);
    let mut old = Vec::new();
    for _ in 0..if cfg!(miri) { 50 } else { 10_000 } {
        let _ = disk.arrive(0, Op::Write);
        let id = disk.take(&worker);
        assert!(disk.put(id).is_ok());
        old.push(id);
    }
    let _ = disk.arrive(0, Op::Write);
    let id = disk.take(&worker);
    for id in &old {
        assert_eq!(disk.refusal(*id), Some(Refusal::Stale));
    }
    assert!(disk.put(id).is_ok());
    assert_eq!(disk.ledger.refusals().0, old.len() as u64);
}
