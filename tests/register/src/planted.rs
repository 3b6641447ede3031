// SPDX-License-Identifier: MIT

//! Violations of each kind, planted, and their nearest neighbours that are none.

use crate::history::Time;
use crate::{Cell, History, Kind, Model, Seen, Tag, Value, Violation};

const CELLS: usize = 4;
const BOTH: [Model; 2] = [Model::STRICT, Model::REDELIVERED];

/// Every operation is on block 7, and `w(1, ..)` is the write of the value that `r(.., 1)` sees.
struct Story(History, u64);

fn tag(write: u64) -> Tag {
    Tag::new(3, write)
}

fn story() -> Story {
    Story(History::new(CELLS), 0)
}

impl Story {
    fn w(mut self, write: u64, start: Time, end: Time) -> Story {
        self.0.write(tag(write), 7..8, start, Some(end));
        self
    }

    /// A write that was never heard of again.
    fn lost(mut self, write: u64, start: Time) -> Story {
        self.0.write(tag(write), 7..8, start, None);
        self
    }

    fn see(mut self, start: Time, end: Time, seen: Seen) -> Story {
        self.1 += 1;
        self.0.read(Tag::new(9, self.1), 7, start, end, vec![seen]);
        self
    }

    fn r(self, start: Time, end: Time, write: u64) -> Story {
        let value = match write {
            0 => Value::BLANK,
            _ => tag(write).value(),
        };
        self.see(start, end, Seen::Whole(value))
    }

    /// A read that saw pieces; 0 stands for a broken one.
    fn torn(self, start: Time, end: Time, pieces: [u64; CELLS]) -> Story {
        let cells = pieces.map(|write| match write {
            0 => Cell::Broken,
            _ => Cell::Value(tag(write).value()),
        });
        self.see(start, end, Seen::of(&cells))
    }

    fn may_be(self) {
        for model in BOTH {
            self.0.check(model).unwrap();
        }
    }

    fn only_under(self, model: Model) {
        self.0.check(model).unwrap();
        let other = BOTH.into_iter().find(|other| *other != model).unwrap();
        self.0.check(other).unwrap_err();
    }

    fn is(self, kind: Kind, words: &[&str]) {
        for model in BOTH {
            let violations = self.0.check(model).unwrap_err();
            assert_eq!(violations.len(), 1, "{violations:?}");
            expect(&violations[0], kind, words);
        }
    }
}

fn expect(violation: &Violation, kind: Kind, words: &[&str]) {
    let text = violation.to_string();
    assert_eq!((violation.kind, violation.block), (kind, 7), "{text}");
    for words in words {
        assert!(text.contains(words), "'{words}' is not in: {text}");
    }
}

#[test]
fn nothing_but_order_may_be() {
    story()
        .r(0, 1, 0)
        .w(1, 2, 3)
        .r(4, 5, 1)
        .w(2, 6, 7)
        .r(8, 9, 2)
        .may_be();
}

#[test]
fn while_a_write_is_under_way_both_values_are_legal() {
    story()
        .w(1, 0, 1)
        .w(2, 10, 20)
        .r(11, 12, 1)
        .r(13, 14, 2)
        .may_be();
    story().w(1, 10, 20).r(0, 10, 1).may_be();
}

#[test]
fn two_writes_at_once_may_come_in_any_order() {
    story().w(1, 0, 10).w(2, 5, 15).r(20, 21, 1).may_be();
    story().w(1, 0, 10).w(2, 5, 15).r(20, 21, 2).may_be();
}

#[test]
fn a_write_that_never_ended_may_come_at_any_time_or_never() {
    story().lost(1, 0).w(2, 10, 20).r(30, 31, 2).may_be();
    story()
        .lost(1, 0)
        .w(2, 10, 20)
        .r(30, 31, 2)
        .r(90, 91, 1)
        .may_be();
}

#[test]
fn a_lost_write_is_found() {
    let words = [
        "a lost write in block 7",
        "write 3/2 [0.000000010 to 0.000000020] was over before read 9/1 [0.000000021 to 0.000000030] \
         that saw 3/1 began",
        "write 3/1 [0.000000000 to 0.000000005] was over before write 3/2",
    ];
    story()
        .w(1, 0, 5)
        .w(2, 10, 20)
        .r(21, 30, 1)
        .is(Kind::LostWrite, &words);
}

#[test]
fn the_first_write_of_all_can_be_lost_too() {
    let words = [
        "write 3/1",
        "read 9/1",
        "what was there at the beginning (blank)",
    ];
    story()
        .w(1, 10, 20)
        .r(21, 30, 0)
        .is(Kind::LostWrite, &words);
}

#[test]
fn an_old_value_that_comes_back_is_found() {
    let words = [
        "an old value that came back in block 7",
        "read 9/1 [0.000000021 to 0.000000030] that saw 3/2 was over before read 9/2 [0.000000040 to \
         0.000000050] that saw 3/1 began",
    ];
    let both = story().w(1, 0, 5).w(2, 10, 20);
    both.r(21, 30, 2).r(40, 50, 1).is(Kind::Resurrected, &words);
}

#[test]
fn an_old_value_that_comes_back_while_the_new_write_is_under_way_is_found() {
    // The new one has taken effect, whenever it ends; the old one is over.
    let both = story().w(1, 0, 5).w(2, 10, 100);
    both.r(21, 30, 2)
        .r(40, 50, 1)
        .is(Kind::Resurrected, &["that saw 3/2", "that saw 3/1"]);
}

#[test]
fn two_values_may_take_turns_only_as_long_as_both_are_written() {
    let both = || story().w(1, 0, 100).w(2, 0, 100);
    let turns = both().r(10, 11, 1).r(20, 21, 2).r(30, 31, 1);
    turns.only_under(Model::REDELIVERED);
    let words = ["that saw 3/2", "that saw 3/1"];
    let late = both().r(110, 111, 1).r(120, 121, 2).r(130, 131, 1);
    late.is(Kind::Resurrected, &words);
    // A write that is over comes back although another one was seen since: by a worker that should
    // have been dead.
    let zombie = story().w(1, 0, 10).w(2, 5, 100);
    zombie
        .r(20, 21, 2)
        .r(30, 31, 1)
        .is(Kind::Resurrected, &words);
}

#[test]
fn a_value_read_before_it_was_written_is_found() {
    let words = [
        "read 9/1 [0.000000001 to 0.000000002]",
        "write 3/1 [0.000000003",
    ];
    story()
        .r(1, 2, 1)
        .w(1, 3, 4)
        .is(Kind::FromTheFuture, &words);
}

#[test]
fn a_value_of_nobody_is_found() {
    let words = ["read 9/1 [0.000000006 to 0.000000008] that saw 3/2"];
    story().w(1, 3, 4).r(6, 8, 2).is(Kind::NeverWritten, &words);
}

#[test]
fn a_value_of_another_block_is_found() {
    let seen = Seen::of(&[Cell::Foreign; CELLS]);
    let words = ["read 9/1 [0.000000006 to 0.000000008]", "0-3: foreign"];
    story().w(1, 0, 9).see(6, 8, seen).is(Kind::Foreign, &words);
}

#[test]
fn a_torn_block_is_found() {
    let both = || story().w(1, 0, 5).w(2, 10, 20);
    // Its first half is the old value.
    let words = ["block 7, cell 0", "write 3/2", "that saw 3/1"];
    let late = both().torn(30, 40, [1, 1, 2, 2]);
    expect(
        &late.0.check(Model::REDELIVERED).unwrap_err()[0],
        Kind::LostWrite,
        &words,
    );
    let words = ["read 9/1 [0.000000030 to 0.000000040] saw 0-1: 3/1, 2-3: 3/2"];
    expect(
        &late.0.check(Model::STRICT).unwrap_err()[0],
        Kind::Torn,
        &words,
    );
    // While it was written that may be.
    both()
        .torn(15, 16, [1, 1, 2, 2])
        .only_under(Model::REDELIVERED);
    // But what was new stays new.
    let back = both().torn(15, 16, [2, 1, 1, 1]).torn(17, 18, [1, 2, 2, 2]);
    expect(
        &back.0.check(Model::REDELIVERED).unwrap_err()[0],
        Kind::Resurrected,
        &["cell 0"],
    );
}

#[test]
fn writes_at_once_leave_a_mixture_until_the_next_one() {
    let mixed = || story().w(1, 0, 10).w(2, 5, 15).torn(20, 21, [1, 2, 0, 1]);
    mixed().only_under(Model::REDELIVERED);
    mixed()
        .torn(30, 31, [1, 2, 0, 1])
        .only_under(Model::REDELIVERED);
    let words = ["read 9/2 [0.000000050 to 0.000000051] saw 0-1: 3/3, 2-2: broken, 3-3: 3/3"];
    let after = mixed().w(3, 40, 45).torn(50, 51, [3, 3, 0, 3]);
    expect(
        &after.0.check(Model::REDELIVERED).unwrap_err()[0],
        Kind::Torn,
        &words,
    );
}

#[test]
fn a_broken_cell_is_found_where_nothing_was_under_way() {
    let words = [
        "a torn block in block 7",
        "saw 0-1: 3/1, 2-2: broken, 3-3: 3/1",
    ];
    story()
        .w(1, 0, 10)
        .torn(20, 21, [1, 1, 0, 1])
        .is(Kind::Torn, &words);
    story()
        .torn(20, 21, [0; CELLS])
        .is(Kind::Torn, &["0-3: broken"]);
    story()
        .w(1, 0, 10)
        .torn(9, 21, [1, 1, 0, 1])
        .only_under(Model::REDELIVERED);
    story()
        .lost(1, 0)
        .torn(90, 91, [1, 1, 0, 1])
        .only_under(Model::REDELIVERED);
    story()
        .w(1, 0, 10)
        .torn(9, 21, [0; CELLS])
        .only_under(Model::REDELIVERED);
}

#[test]
fn a_history_in_which_a_value_is_written_twice_is_no_evidence() {
    story()
        .w(1, 0, 1)
        .w(1, 2, 3)
        .is(Kind::SameValueTwice, &["write 3/1 [0.000000002"]);
}

#[test]
fn what_was_there_at_the_beginning_counts_as_written() {
    let mut history = History::new(CELLS);
    history.begin_with(7, tag(1).value());
    history.read(Tag::new(9, 1), 7, 0, 1, vec![Seen::Whole(tag(1).value())]);
    history.check(Model::STRICT).unwrap();
    history.read(Tag::new(9, 2), 7, 2, 3, vec![Seen::Whole(Value::BLANK)]);
    let violations = history.check(Model::STRICT).unwrap_err();
    expect(&violations[0], Kind::NeverWritten, &["that saw blank"]);
}

#[test]
fn every_bad_block_is_named_and_good_ones_are_not() {
    let mut history = History::new(CELLS);
    history.write(tag(1), 0..4, 0, Some(10));
    history.write(tag(2), 1..3, 20, Some(30));
    let value = |write| Seen::Whole(tag(write).value());
    history.read(Tag::new(9, 1), 0, 40, 50, [1, 2, 1, 1].map(value).to_vec());
    let violations = history.check(Model::STRICT).unwrap_err();
    assert_eq!(
        violations.iter().map(|it| it.block).collect::<Vec<_>>(),
        [2]
    );
    assert_eq!((violations[0].from, violations[0].to), (0, 50));
    let lines = history.around(2, violations[0].from, violations[0].to);
    assert_eq!(
        lines,
        [
            "[0.000000000 to 0.000000010] write 3/1",
            "[0.000000020 to 0.000000030] write 3/2",
            "[0.000000040 to 0.000000050] read 9/1 saw 3/1",
        ]
    );
}
