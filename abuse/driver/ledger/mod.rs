// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who may answer what: the life of every request between the block layer and the workers.
//!
//! ```text
//!            enqueue           take_begin           take_commit           finish_begin
//!   (Idle) ─────────► Queued ─────────────► Taking ─────────────► Taken ───────────────► Finishing
//!                     ▲  ▲ │                  │                   │ ▲                      │   │
//!                     │  │ └───(v1 PUT)───────┼───────────────────┼─┼──► Finishing         │   │
//!                     │  └── take_abort ◄─────┘     requeue       │ └───── finish_abort ◄──┘   │
//!                     └─────────────────────────────────◄─────────┘                            │
//!                                                                       finish_commit (Idle) ◄─┘
//!   Finishing ── requeue, then finish_abort ──► Queued
//!   Taken ── forward_begin ──► Forwarding ── forward_commit ──► (Idle)
//!                                  └─────── forward_return ──► Queued
//!   Queued, Taken ── kill, fail_all, too many deaths ──► Condemned ── condemned_pop ──► (Idle)
//! ```
//!
//! The rules, each of which has a test in `tests/src/`:
//!
//! - A request is in exactly one state. The ledger owns it (as a `P`) while it is Queued, Taken or
//!   Condemned; a [`Claim`] or a [`Finish`] owns it while data are being copied, because copying can
//!   fault and has to be undone without losing anything.
//! - An **id** is the tag and a generation. The generation changes whenever a request is offered
//!   again and whenever it ends, and goes on across set-ups: no id is ever given twice. A completion
//!   with an old id is refused as stale and changes nothing.
//! - The queue is in order of arrival, also after requests were offered again.
//! - Requests that modify data are not offered again while their owner lives, unless forced: a late
//!   write cannot be refused, only prevented by death.
//! - A request that is **forwarded** is in nobody's hands: the kernel moves its data, whatever becomes
//!   of the workers, and nobody can have it before that I/O is over. Then it ends; or, if that went
//!   badly and it was asked for, it is offered again.
//! - What is in the middle of a copy or forwarded when the disk is killed is *doomed*: it is handed
//!   back to whoever copies, to be ended with an error, and to nobody else.
//! - Whoever makes a request available says so in a [`Wake`]; one wake-up is in flight at a time.
//!
//! | | |
//! |---|---|
//! | here | what may become of a request: it arrives, is taken, is finished, is ended with the disk |
//! | `again` | what a worker had is offered again |
//! | `forward` | a worker lets the kernel move the data |
//! | `holders` | the workers: who holds what, who lives |
//! | `waiting` | who sleeps, who is kept waiting, who is woken |
//! | `queue` | the order |
//! | `inside` | how it goes, for whoever asks |
//! | `words` | what all of these say and are told |
//!
//! All of it is pure: no clock, no lock, no allocation, no kernel. The device holds it under one
//! spin lock and calls it from contexts that may not sleep; nothing here takes longer than a walk
//! over the requests of one device. The same files are compiled into the tests, whose own `mod` line
//! names this one, so that it has to be a `mod.rs`.

mod again;
mod forward;
mod holders;
mod inside;
mod queue;
mod waiting;
mod words;

use super::Store;

pub(crate) use holders::{Holder, Process, Who};
pub(crate) use words::{
    Again, Arrival, Claim, Counts, Ended, Facts, Finish, Forward, Held, Op, Policies, Refusal,
    Requeued, Summary, Told, Unclaimed, Unforwarded, Wake, Why,
};

/// No slot: the end of a list.
const NONE: u32 = u32::MAX;
/// Bits of an id that name the tag.
const TAG_BITS: u32 = 16;
/// Highest number of requests of one device.
pub(crate) const MAX_SLOTS: usize = 1 << TAG_BITS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    Taking,
    Taken,
    Finishing,
    Forwarding,
    Condemned,
}

/// The place of one request, by tag.
pub(crate) struct Slot<P> {
    /// Present while Queued, Taken or Condemned.
    request: Option<P>,
    /// What it is known by, or the next one will be: the tag and a generation.
    id: u64,
    /// Order of arrival; never changes while the request lives.
    arrival: u64,
    /// When the block layer queued it.
    queued_at: u64,
    /// When it came into its present state of Queued or Taken.
    since: u64,
    /// Of a flush: the changes that were completed when it arrived, which it covers.
    covers: u64,
    /// Neighbours in the queue, or in the list of the condemned.
    next: u32,
    prev: u32,
    holder: u32,
    bytes: u32,
    past: Past,
    op: Op,
    state: State,
    v1: bool,
    /// Needs no flush.
    durable: bool,
    detached: bool,
}

/// What has become of a request: of most, nothing.
#[derive(Clone, Copy, Default)]
struct Past {
    deaths: u16,
    lone_deaths: u16,
    /// How it was last forwarded in vain; 0: it was not.
    failure: u8,
    /// Finishing, and to be offered again if that fails: its owner was made to give it back.
    recalled: bool,
    /// Finishing, by a client of 2009, and in nobody's hands.
    unclaimed: bool,
    /// Taking, Finishing or Forwarding, and to be ended with an error: the disk was killed meanwhile.
    doomed: bool,
}

impl<P> Slot<P> {
    /// A place without a request.
    pub(crate) fn idle() -> Self {
        Slot {
            request: None,
            id: 0,
            arrival: 0,
            queued_at: 0,
            since: 0,
            covers: 0,
            next: NONE,
            prev: NONE,
            holder: NONE,
            bytes: 0,
            past: Past::default(),
            op: Op::Read,
            state: State::Idle,
            v1: false,
            durable: false,
            detached: false,
        }
    }

    /// The id after this one.
    fn next_id(&self) -> u64 {
        self.id.wrapping_add(1 << TAG_BITS)
    }

    /// The id it was known by is history.
    fn renew(&mut self) {
        self.id = self.next_id();
    }

    /// Whether it may be what kills its owners.
    fn is_suspect(&self) -> bool {
        self.past.deaths >= 2
    }

    /// Whether too many owners died with nothing else in their hands.
    fn is_guilty(&self, policies: &Policies) -> bool {
        // More deaths than are counted are as many as are counted.
        let limit = policies.max_attempts.min(u32::from(u16::MAX));
        limit > 0 && u32::from(self.past.lone_deaths) >= limit
    }
}

/// The ledger of one device. See the module's documentation.
pub(crate) struct Ledger<P, Q> {
    slots: Store<Slot<P>>,
    holders: Store<Holder<Q>>,
    policies: Policies,
    alive: bool,
    epoch: u32,
    /// Generation before the first id of all, and before the first of this set-up.
    origin: u64,
    floor: u64,
    arrivals: u64,
    head: u32,
    /// The last of the queue; means something only if there is a first.
    tail: u32,
    condemned: u32,
    /// Each request is counted in one of these and in nobody's hands twice: none of them can wrap.
    queued: u32,
    taken: u32,
    busy: u32,
    /// Of these, forwarded.
    forwarding: u32,
    /// Condemned and not yet ended.
    leaving: u32,
    sleepers: u32,
    /// Somebody has polled.
    polled: bool,
    /// A sleeper was woken and has not looked yet.
    wake_in_flight: bool,
    patient: u32,
    /// What the least patient of the patient waits for.
    patience: u32,
    /// One of the patient waits although requests are there.
    kept: bool,
    /// The queue or somebody's hands have changed since the kept were last woken.
    changed: bool,
    /// Arrival of the request last shown to a v1 client.
    v1_cursor: u64,
    counts: [Counts; 6],
    /// Changes that were completed without being durable, and how many of them a flush has covered.
    changes: u64,
    flushed: u64,
    stale: u64,
    refused: u64,
}

impl<P, Q: Process> Ledger<P, Q> {
    /// A ledger without a disk. Ids begin after `origin`, which should differ between devices so
    /// that an id of one means nothing to another.
    pub(crate) fn new(slots: Store<Slot<P>>, holders: Store<Holder<Q>>, origin: u64) -> Self {
        let origin = origin & (u64::MAX >> (TAG_BITS + 1));
        Ledger {
            slots,
            holders,
            policies: Policies::default(),
            alive: false,
            epoch: 0,
            origin,
            floor: origin,
            arrivals: 0,
            head: NONE,
            tail: NONE,
            condemned: NONE,
            queued: 0,
            taken: 0,
            busy: 0,
            forwarding: 0,
            leaving: 0,
            sleepers: 0,
            polled: false,
            wake_in_flight: false,
            patient: 0,
            patience: u32::MAX,
            kept: false,
            changed: false,
            v1_cursor: 0,
            counts: [Counts::default(); 6],
            changes: 0,
            flushed: 0,
            stale: 0,
            refused: 0,
        }
    }

    // --- Life of the disk -----------------------------------------------------------------------

    /// Begins a disk with as many tags as `slots` has. Gives back what it replaces, to be freed outside
    /// any lock.
    pub(crate) fn configure(
        &mut self,
        mut slots: Store<Slot<P>>,
        policies: Policies,
    ) -> Store<Slot<P>> {
        let floor = self.next_floor();
        for (tag, slot) in slots.iter_mut().enumerate() {
            slot.id = id(floor.wrapping_add(1), tag as u32);
        }
        self.policies = policies;
        self.alive = true;
        self.epoch = self.epoch.wrapping_add(1);
        self.counts = [Counts::default(); 6];
        self.changes = 0;
        self.flushed = 0;
        self.stale = 0;
        self.refused = 0;
        self.v1_cursor = 0;
        self.retire(slots)
    }

    /// The last generation any tag has reached.
    fn next_floor(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.id >> TAG_BITS)
            .fold(self.floor, u64::max)
    }

    /// Ends the disk: what is queued or taken is condemned, what is being copied is doomed. Nothing
    /// is queued or taken from now on, and everybody has to be woken. Returns how many were condemned.
    pub(crate) fn kill(&mut self) -> u32 {
        self.alive = false;
        self.fail_all()
    }

    /// Gives the room of a disk that has ended back, to be freed outside any lock; `slots` is empty.
    pub(crate) fn retire(&mut self, slots: Store<Slot<P>>) -> Store<Slot<P>> {
        self.floor = self.next_floor();
        core::mem::replace(&mut self.slots, slots)
    }

    /// Condemns everything pending. The disk lives on.
    pub(crate) fn fail_all(&mut self) -> u32 {
        let mut failed = 0u32;
        for index in 0..self.slots.len() {
            let index = index as u32;
            let Some(slot) = self.slots.get_mut(index as usize) else {
                break;
            };
            match slot.state {
                State::Taking | State::Finishing | State::Forwarding => {
                    slot.past.doomed = true;
                    continue;
                }
                State::Queued => {
                    self.unlink(index);
                    self.queued = self.queued.wrapping_sub(1);
                }
                State::Taken => self.release(index),
                State::Idle | State::Condemned => continue,
            }
            self.condemn(index);
            failed = failed.wrapping_add(1);
        }
        failed
    }

    /// Condemns what nobody has claimed for `age` nanoseconds or longer. What comes behind it may be
    /// for somebody who was kept waiting.
    pub(crate) fn fail_unclaimed(&mut self, age: u64, now: u64) -> (u32, Wake) {
        let mut failed = 0u32;
        let mut index = self.head;
        while let Some(slot) = self.slots.get(index as usize) {
            let (next, old) = (slot.next, now.saturating_sub(slot.since) >= age);
            if old {
                self.unlink(index);
                self.queued = self.queued.wrapping_sub(1);
                self.condemn(index);
                failed = failed.wrapping_add(1);
                self.changed = true;
            }
            index = next;
        }
        (failed, self.wake())
    }

    /// Gives the next condemned request, to be ended with an error.
    pub(crate) fn condemned_pop(&mut self) -> Option<Ended<P>> {
        let index = self.condemned;
        let slot = self.slots.get_mut(index as usize)?;
        self.condemned = slot.next;
        slot.next = NONE;
        slot.state = State::Idle;
        self.leaving = self.leaving.saturating_sub(1);
        let (op, request) = (slot.op, slot.request.take());
        // The generation moved on when it was condemned.
        let (last, queued_at) = (slot.id.wrapping_sub(1 << TAG_BITS), slot.queued_at);
        self.count(op, |counts| counts.failed += 1);
        Some(Ended {
            request: request?,
            id: last,
            queued_at,
            doomed: true,
        })
    }

    // --- Arrival --------------------------------------------------------------------------------

    /// A request arrives in the slot of its tag. Comes back if there is no disk any more. Whoever
    /// brings requests says [`Ledger::wake`] behind the last of them.
    #[inline(always)]
    pub(crate) fn enqueue(
        &mut self,
        tag: u32,
        arrival: &Arrival,
        request: P,
        now: u64,
    ) -> Result<(), P> {
        if !self.alive {
            return Err(request);
        }
        let tail = self.tail;
        let Some(slot) = self.slots.get_mut(tag as usize) else {
            return Err(request);
        };
        if slot.state != State::Idle {
            return Err(request);
        }
        self.arrivals = self.arrivals.wrapping_add(1);
        slot.request = Some(request);
        slot.arrival = self.arrivals;
        slot.queued_at = now;
        slot.since = now;
        slot.next = NONE;
        slot.prev = tail;
        slot.holder = NONE;
        slot.bytes = arrival.bytes;
        slot.past = Past::default();
        slot.op = arrival.op;
        slot.covers = self.changes;
        slot.v1 = arrival.v1;
        slot.durable = arrival.durable;
        slot.state = State::Queued;
        if self.head == NONE {
            self.head = tag;
        } else if let Some(last) = self.slots.get_mut(tail as usize) {
            last.next = tag;
        }
        self.tail = tag;
        self.queued = self.queued.wrapping_add(1);
        self.count(arrival.op, |counts| {
            counts.queued = counts.queued.wrapping_add(1);
        });
        Ok(())
    }

    // --- Taking ---------------------------------------------------------------------------------

    /// Takes the next request for a worker that has `room` bytes left for its data.
    #[inline(always)]
    pub(crate) fn take_begin(
        &mut self,
        holder: u32,
        detached: bool,
        room: u64,
        now: u64,
    ) -> Result<Claim<P>, Unclaimed> {
        if self.is_kept(holder) {
            return Err(Unclaimed::Nothing);
        }
        let Some(slot) = self.slots.get_mut(self.head as usize) else {
            return Err(Unclaimed::Nothing);
        };
        let Some(who) = self.holders.get_mut(holder as usize) else {
            return Err(Unclaimed::Nothing);
        };
        if slot.op.has_data() && u64::from(slot.bytes) > room {
            return Err(Unclaimed::TooBig(slot.bytes));
        }
        let Some(request) = slot.request.take() else {
            return Err(Unclaimed::Nothing);
        };
        slot.state = State::Taking;
        slot.holder = holder;
        slot.detached = detached;
        who.held = who.held.wrapping_add(1);
        who.suspect = false;
        who.crowded = false;
        if slot.is_suspect() {
            who.suspect = self.policies.max_attempts > 0;
            // Whoever was kept from it may want what comes behind it.
            self.changed = true;
        }
        self.head = slot.next;
        self.queued = self.queued.wrapping_sub(1);
        self.busy = self.busy.wrapping_add(1);
        Ok(Claim {
            id: slot.id,
            request,
            told: Told {
                op: slot.op,
                bytes: slot.bytes,
                attempt: u32::from(slot.past.deaths),
                failure: slot.past.failure,
                age: now.saturating_sub(slot.queued_at),
            },
        })
    }

    /// The worker has it. A doomed request comes back, to be ended with an error: see [`Ended`].
    #[inline(always)]
    pub(crate) fn take_commit<T>(&mut self, claim: Claim<P, T>, now: u64) -> Option<Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        let slot = self.slots.get_mut(tag_of(claim.id) as usize);
        let Some(slot) = slot.filter(|slot| !slot.past.doomed && slot.request.is_none()) else {
            return Some(self.end_doomed(claim.id, claim.request));
        };
        slot.request = Some(claim.request);
        slot.state = State::Taken;
        slot.since = now;
        let op = slot.op;
        self.taken = self.taken.wrapping_add(1);
        self.count(op, |counts| counts.taken = counts.taken.wrapping_add(1));
        None
    }

    /// The worker could not be given it: back into its place in the queue, under the same id.
    pub(crate) fn take_abort<T>(&mut self, claim: Claim<P, T>) -> Result<Wake, Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        if self.is_doomed(tag_of(claim.id)) {
            return Err(self.end_doomed(claim.id, claim.request));
        }
        self.let_go(tag_of(claim.id));
        if let Some(slot) = self.slots.get_mut(tag_of(claim.id) as usize) {
            slot.request = Some(claim.request);
        }
        self.insert(tag_of(claim.id));
        Ok(self.wake())
    }

    // --- Finishing ------------------------------------------------------------------------------

    /// Somebody says a request is done. Requests that are merely queued may be finished only by v1
    /// clients, which never claim.
    #[inline(always)]
    pub(crate) fn finish_begin(&mut self, id: u64, v1: bool) -> Result<Finish<P>, Refusal> {
        let index = tag_of(id);
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(self.refuse(id, self.floor));
        };
        if slot.id != id {
            let last = slot.id >> TAG_BITS;
            return Err(self.refuse(id, last));
        }
        let from_queue = slot.state != State::Taken;
        if from_queue && !(v1 && slot.v1 && slot.state == State::Queued) {
            // Somebody else is in the middle of completing it: it is lost to this caller, unless
            // that copy fails, and then it stays with its owner. What is forwarded never comes back
            // under this id.
            let lost = matches!(slot.state, State::Finishing | State::Forwarding);
            return Err(match lost {
                true => self.refuse(id, id >> TAG_BITS),
                false => Refusal::Unknown,
            });
        }
        let Some(request) = slot.request.take() else {
            return Err(Refusal::Unknown);
        };
        slot.state = State::Finishing;
        let finish = Finish {
            id,
            request,
            facts: Facts {
                op: slot.op,
                bytes: slot.bytes,
            },
        };
        if from_queue {
            slot.past.unclaimed = true;
            self.unlink(index);
            self.queued = self.queued.wrapping_sub(1);
        } else {
            self.taken = self.taken.wrapping_sub(1);
        }
        self.busy = self.busy.wrapping_add(1);
        Ok(finish)
    }

    /// The request is done, well or with an error.
    #[inline(always)]
    pub(crate) fn finish_commit<T>(
        &mut self,
        finish: Finish<P, T>,
        well: bool,
        now: u64,
    ) -> Ended<P> {
        self.busy = self.busy.wrapping_sub(1);
        let slot = self.slots.get_mut(tag_of(finish.id) as usize);
        let Some(slot) = slot.filter(|slot| !slot.past.doomed) else {
            return self.end_doomed(finish.id, finish.request);
        };
        let (op, queued_at) = (slot.op, slot.queued_at);
        if well && op != Op::Read {
            if op == Op::Flush {
                self.flushed = self.flushed.max(slot.covers);
            } else if !slot.durable {
                self.changes = self.changes.wrapping_add(1);
            }
        }
        slot.renew();
        slot.state = State::Idle;
        self.changed = true;
        if let Some(counts) = self.counts.get_mut(op as usize) {
            if well {
                counts.done = counts.done.wrapping_add(1);
                counts.bytes = counts.bytes.wrapping_add(u64::from(slot.bytes));
                // Wrapping as the sums do, which so lose nothing if a clock was a little behind.
                counts.total = counts.total.wrapping_add(now.wrapping_sub(queued_at));
                if !slot.past.unclaimed {
                    counts.service = counts.service.wrapping_add(now.wrapping_sub(slot.since));
                }
            } else {
                counts.failed = counts.failed.wrapping_add(1);
            }
        }
        if let Some(holder) = self.holders.get_mut(slot.holder as usize) {
            holder.let_go();
        }
        Ended {
            request: finish.request,
            id: finish.id,
            queued_at,
            doomed: false,
        }
    }

    /// The data could not be had: the request stays where it was, under the same id. If its owner
    /// was made to give it back meanwhile, it is offered again.
    pub(crate) fn finish_abort<T>(&mut self, finish: Finish<P, T>) -> Result<Wake, Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        let slot = self.slots.get_mut(tag_of(finish.id) as usize);
        let Some(slot) = slot.filter(|slot| !slot.past.doomed) else {
            return Err(self.end_doomed(finish.id, finish.request));
        };
        let unclaimed = core::mem::take(&mut slot.past.unclaimed);
        let recalled = core::mem::take(&mut slot.past.recalled);
        if !unclaimed && !recalled {
            slot.request = Some(finish.request);
            slot.state = State::Taken;
            self.taken = self.taken.wrapping_add(1);
            return Ok(Wake::default());
        }
        if recalled {
            // Its owner had to give it back meanwhile, and may not be there to do so again.
            if slot.is_guilty(&self.policies) {
                return Err(self.end_doomed(finish.id, finish.request));
            }
            slot.renew();
            let op = slot.op;
            self.let_go(tag_of(finish.id));
            self.count(op, |counts| counts.requeued += 1);
        }
        if let Some(slot) = self.slots.get_mut(tag_of(finish.id) as usize) {
            slot.request = Some(finish.request);
        }
        self.insert(tag_of(finish.id));
        Ok(self.wake())
    }

    // --- Inside ---------------------------------------------------------------------------------

    fn count(&mut self, op: Op, change: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.counts.get_mut(op as usize) {
            change(counts);
        }
    }

    /// Which refusal an id gets that is not current: stale if it is of a generation that its tag,
    /// now at `last`, has had.
    #[cold]
    fn refuse(&mut self, id: u64, last: u64) -> Refusal {
        let generation = id >> TAG_BITS;
        if generation <= self.origin || generation > last {
            return Refusal::Unknown;
        }
        self.stale = self.stale.wrapping_add(1);
        Refusal::Stale
    }

    fn is_doomed(&self, index: u32) -> bool {
        match self.slots.get(index as usize) {
            Some(slot) => slot.past.doomed,
            None => true,
        }
    }

    /// A request leaves that has to be ended with an error.
    #[inline(always)]
    fn end_doomed(&mut self, id: u64, request: P) -> Ended<P> {
        Ended {
            request,
            id,
            queued_at: self.doom(tag_of(id)),
            doomed: true,
        }
    }

    #[cold]
    fn doom(&mut self, index: u32) -> u64 {
        self.idle(index);
        let Some(slot) = self.slots.get(index as usize) else {
            return 0;
        };
        let (op, queued_at) = (slot.op, slot.queued_at);
        self.count(op, |counts| counts.failed += 1);
        queued_at
    }

    /// The request of a slot has left; its id is history.
    fn idle(&mut self, index: u32) {
        self.let_go(index);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.renew();
            slot.state = State::Idle;
        }
    }

    /// A Taken request leaves its owner's hands.
    fn release(&mut self, index: u32) {
        self.taken = self.taken.wrapping_sub(1);
        self.let_go(index);
    }

    fn let_go(&mut self, index: u32) {
        self.changed = true;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if let Some(holder) = self.holders.get_mut(slot.holder as usize) {
            holder.let_go();
        }
        slot.holder = NONE;
    }

    /// A request that is in no list is to be ended with an error.
    fn condemn(&mut self, index: u32) {
        let first = self.condemned;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.renew();
            slot.state = State::Condemned;
            slot.next = first;
            self.condemned = index;
            self.leaving = self.leaving.saturating_add(1);
        }
    }
}

fn tag_of(id: u64) -> u32 {
    (id & (MAX_SLOTS as u64 - 1)) as u32
}

/// The id of a request: its tag, and the generation of that tag.
fn id(generation: u64, tag: u32) -> u64 {
    (generation << TAG_BITS) | u64::from(tag)
}
