//! What the ledger must do, said in the most obvious way: a map of requests, walked for every
//! question. No lists, no counters kept beside what they count, no ids made here: it only remembers
//! which were given.

use std::collections::BTreeMap;

use crate::ledger::{Counts, Op, Policies, Refusal, Why};

/// Who holds a request, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hands {
    /// The entry in the table of workers.
    pub(crate) seat: u32,
    pub(crate) detached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Queued,
    Taking(Hands),
    Taken(Hands),
    /// Nobody's hands if it came from the queue.
    Finishing(Option<Hands>),
    /// The kernel moves its data.
    Forwarding,
    Condemned,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) serial: u32,
    pub(crate) op: Op,
    pub(crate) bytes: u32,
    pub(crate) v1: bool,
    pub(crate) arrival: u64,
    pub(crate) queued_at: u64,
    /// Since when it waits, or is held.
    pub(crate) since: u64,
    pub(crate) deaths: u32,
    pub(crate) lone: u32,
    pub(crate) stage: Stage,
    /// The id by which it is known since it was last offered, if anybody has seen that.
    pub(crate) id: Option<u64>,
    /// Whether the disk was failed while it was being copied.
    pub(crate) doomed: bool,
    /// How it was last forwarded in vain.
    pub(crate) failure: u8,
    /// Whether it was asked back while it was being finished.
    pub(crate) recalled: bool,
    /// Whether it had to be taken alone.
    pub(crate) suspect: bool,
}

impl Entry {
    pub(crate) fn hands(&self) -> Option<Hands> {
        match self.stage {
            Stage::Taking(hands) | Stage::Taken(hands) => Some(hands),
            Stage::Finishing(hands) => hands,
            Stage::Queued | Stage::Forwarding | Stage::Condemned => None,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(
            self.stage,
            Stage::Taking(_) | Stage::Finishing(_) | Stage::Forwarding
        )
    }
}

/// An entry in the table of workers.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) file: u64,
    pub(crate) process: usize,
    pub(crate) open: bool,
    /// Whether its process lives.
    pub(crate) lives: bool,
    /// Whether its process died with several requests in its hands.
    pub(crate) crowded: bool,
}

/// What taking must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    Tag(u32),
    Nothing,
    TooBig(u32),
}

/// What completing must come to: the tag, or why not.
pub(crate) type Put = Result<u32, Refusal>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) alive: bool,
    pub(crate) limit: u32,
    pub(crate) fenced: bool,
    pub(crate) entries: BTreeMap<u32, Entry>,
    pub(crate) seats: BTreeMap<u32, Seat>,
    /// Every id ever given, by tag, the latest last.
    pub(crate) given: BTreeMap<u32, Vec<u64>>,
    pub(crate) arrivals: u64,
    pub(crate) cursor: u64,
    pub(crate) counts: [Counts; 6],
    pub(crate) stale: u64,
    pub(crate) refused: u64,
}

impl Model {
    pub(crate) fn configure(&mut self, policies: Policies) {
        assert!(
            self.entries.is_empty(),
            "set up before everything has ended"
        );
        self.alive = true;
        self.limit = policies.max_attempts;
        self.fenced = policies.fenced_backend;
        self.counts = Default::default();
        (self.stale, self.refused, self.cursor) = (0, 0, 0);
    }

    pub(crate) fn count(&mut self, op: Op) -> &mut Counts {
        &mut self.counts[op as usize]
    }

    pub(crate) fn number(&self, stage: impl Fn(&Entry) -> bool) -> u32 {
        self.entries.values().filter(|entry| stage(entry)).count() as u32
    }

    pub(crate) fn queued(&self) -> u32 {
        self.number(|entry| entry.stage == Stage::Queued)
    }

    pub(crate) fn taken(&self) -> u32 {
        self.number(|entry| matches!(entry.stage, Stage::Taken(_)))
    }

    pub(crate) fn busy(&self) -> u32 {
        self.number(Entry::is_busy)
    }

    /// What a whole process has in its hands.
    fn held_by(&self, process: usize) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| {
            entry
                .hands()
                .is_some_and(|hands| self.seats[&hands.seat].process == process)
        })
    }

    /// The tag of the oldest request that waits.
    pub(crate) fn head(&self) -> Option<u32> {
        let waiting = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage == Stage::Queued);
        waiting
            .min_by_key(|(_, entry)| entry.arrival)
            .map(|(tag, _)| *tag)
    }

    /// Whether a worker must wait because somebody may be poisoned.
    pub(crate) fn is_kept(&self, seat: u32) -> bool {
        let process = self.seats[&seat].process;
        let suspicious = self
            .head()
            .is_some_and(|tag| self.entries[&tag].deaths >= 2);
        self.limit > 0 && self.held_by(process).any(|held| suspicious || held.suspect)
    }

    pub(crate) fn is_ready_for(&self, seat: u32, min: u32) -> bool {
        self.queued() >= min.max(1) && !self.is_kept(seat)
    }

    /// What a worker would get.
    pub(crate) fn next(&self, seat: u32, room: u64) -> Take {
        let Some(tag) = self.head() else {
            return Take::Nothing;
        };
        let entry = &self.entries[&tag];
        if self.is_kept(seat) {
            Take::Nothing
        } else if matches!(entry.op, Op::Read | Op::Write) && u64::from(entry.bytes) > room {
            Take::TooBig(entry.bytes)
        } else {
            Take::Tag(tag)
        }
    }

    /// Somebody has seen a request's id: the same as before until it is offered again, and then one
    /// that was never given.
    pub(crate) fn see(&mut self, tag: u32, id: u64) {
        let entry = self.entries.get_mut(&tag).expect("it is there");
        assert_ne!(id, 0);
        assert_eq!(id & 0xffff, u64::from(tag), "an id names its tag");
        match entry.id {
            Some(known) => assert_eq!(known, id, "the id changed though nothing had happened"),
            None => {
                let given = self.given.entry(tag).or_default();
                assert!(!given.contains(&id), "id {id:#x} was given twice");
                given.push(id);
                entry.id = Some(id);
            }
        }
    }

    /// What completing under an id must come to.
    pub(crate) fn put(&mut self, id: u64, v1: bool) -> Put {
        let tag = (id & 0xffff) as u32;
        let known = self
            .given
            .get(&tag)
            .is_some_and(|given| given.contains(&id));
        if !known {
            return Err(Refusal::Unknown);
        }
        let current = self.entries.get(&tag).filter(|entry| entry.id == Some(id));
        match current.map(|entry| (entry.stage, entry.v1)) {
            Some((Stage::Taken(_), _)) => Ok(tag),
            Some((Stage::Queued, true)) if v1 => Ok(tag),
            Some((Stage::Queued | Stage::Taking(_), _)) => Err(Refusal::Unknown),
            Some((Stage::Finishing(_) | Stage::Forwarding | Stage::Condemned, _)) | None => {
                self.stale += 1;
                Err(Refusal::Stale)
            }
        }
    }

    pub(crate) fn forwarding(&self) -> u32 {
        self.number(|entry| entry.stage == Stage::Forwarding)
    }

    /// Everything pending is to end.
    pub(crate) fn fail_all(&mut self) -> u32 {
        let mut failed = 0;
        for entry in self.entries.values_mut() {
            match entry.stage {
                Stage::Queued | Stage::Taken(_) => {
                    (entry.stage, entry.id) = (Stage::Condemned, None);
                    failed += 1;
                }
                Stage::Taking(_) | Stage::Finishing(_) | Stage::Forwarding => entry.doomed = true,
                Stage::Condemned => {}
            }
        }
        failed
    }

    /// What nobody has claimed for so long.
    pub(crate) fn expired(&self, now: u64, age: u64) -> impl Iterator<Item = u32> + '_ {
        let late = move |entry: &Entry| entry.stage == Stage::Queued && now - entry.since >= age;
        self.entries
            .iter()
            .filter(move |(_, entry)| late(entry))
            .map(|(tag, _)| *tag)
    }

    /// Whether too many died alone with it.
    pub(crate) fn is_guilty(&self, entry: &Entry) -> bool {
        self.limit > 0 && entry.lone >= self.limit
    }

    /// Offers again; says how many were offered, left to the living, and given up.
    pub(crate) fn requeue(
        &mut self,
        why: Why,
        now: u64,
        which: impl Fn(&Self, &Entry, Hands) -> bool,
    ) -> (u32, u32, u32) {
        let before = self.clone();
        let (mut requeued, mut refused, mut condemned) = (0, 0, 0);
        let mut crowded = Vec::new();
        for (tag, was) in &before.entries {
            let (hands, finishing) = match was.stage {
                Stage::Taken(hands) => (hands, false),
                Stage::Finishing(Some(hands)) if !was.recalled => (hands, true),
                _ => continue,
            };
            if !which(&before, was, hands) {
                continue;
            }
            let seat = &before.seats[&hands.seat];
            let polite = matches!(why, Why::Asked | Why::Expired);
            let fenced = polite && seat.lives && !before.fenced;
            if fenced && was.op != Op::Read {
                refused += u32::from(!finishing);
                continue;
            }
            let entry = self.entries.get_mut(tag).expect("it is there");
            if !seat.lives || why == Why::Closed(Some(seat.process)) {
                entry.deaths += 1;
                if before.held_by(seat.process).count() > 1 {
                    crowded.push(seat.process);
                } else if !seat.crowded {
                    entry.lone += 1;
                }
            }
            entry.since = now;
            if finishing {
                entry.recalled = true;
                continue;
            }
            entry.id = None;
            if before.limit > 0 && entry.lone >= before.limit {
                entry.stage = Stage::Condemned;
                condemned += 1;
            } else {
                entry.stage = Stage::Queued;
                requeued += 1;
                self.counts[was.op as usize].requeued += 1;
            }
        }
        for seat in self.seats.values_mut() {
            seat.crowded |= crowded.contains(&seat.process);
        }
        if why == Why::Asked {
            self.refused += u64::from(refused);
        }
        (requeued, refused, condemned)
    }

    /// What a v1 client must be shown.
    pub(crate) fn show(&mut self) -> Option<u32> {
        let visible = |stage: fn(&Stage) -> bool| {
            let mut seen: Vec<(u64, u32)> = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.v1 && stage(&entry.stage))
                .map(|(tag, entry)| (entry.arrival, *tag))
                .collect();
            seen.sort_unstable();
            seen
        };
        let mut turn = visible(|stage| *stage == Stage::Queued);
        if turn.is_empty() {
            turn = visible(|stage| matches!(stage, Stage::Taken(_)));
        }
        let after = turn.iter().find(|(arrival, _)| *arrival > self.cursor);
        let (arrival, tag) = *after.or(turn.first())?;
        self.cursor = arrival;
        Some(tag)
    }

    /// Nothing came out of nothing and nothing vanished.
    pub(crate) fn add_up(&self) {
        for (index, counts) in self.counts.iter().enumerate() {
            let inside = self.number(|entry| entry.op as usize == index);
            assert_eq!(
                counts.queued,
                counts.done + counts.failed + u64::from(inside)
            );
            assert!(counts.requeued <= counts.taken);
        }
    }
}
