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
//! - What is in the middle of a copy when the disk is killed is *doomed*: it is handed back to
//!   whoever copies, to be ended with an error, and to nobody else.
//! - Whoever makes a request available says so in a [`Wake`]; one wake-up is in flight at a time.
//!
//! This file is pure: no clock, no lock, no allocation, no kernel. The device holds it under one
//! spin lock and calls it from contexts that may not sleep; nothing here takes longer than a walk
//! over the requests of one device. The same file is compiled into the tests.

use super::Store;

/// No slot: the end of a list.
const NONE: u32 = u32::MAX;
/// Bits of an id that name the tag.
const TAG_BITS: u32 = 16;
/// Highest number of requests of one device.
pub(crate) const MAX_SLOTS: usize = 1 << TAG_BITS;

/// What a request asks for; the values are those of `abi::OP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Fill a buffer.
    Read = 0,
    /// Store a buffer.
    Write = 1,
    /// Make completed writes durable.
    Flush = 2,
    /// Forget a range.
    Discard = 3,
    /// Zero a range.
    WriteZeroes = 4,
    /// Forget a range for good.
    SecureErase = 5,
}

impl Op {
    /// Whether the request carries data, either way.
    pub(crate) fn has_data(self) -> bool {
        matches!(self, Op::Read | Op::Write)
    }

    /// Whether doing it late could destroy what a successor wrote.
    pub(crate) fn modifies(self) -> bool {
        !matches!(self, Op::Read)
    }

    /// Whether the disk reads differently after it: what a read-only one refuses.
    pub(crate) fn changes_data(self) -> bool {
        !matches!(self, Op::Read | Op::Flush)
    }
}

/// What the ledger needs to know of a request when it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The operation.
    pub(crate) op: Op,
    /// Bytes it concerns; the room it needs in an arena if it has data.
    pub(crate) bytes: u32,
    /// Whether a client of 2009 may see it (a plain read, write or flush).
    pub(crate) v1: bool,
}

/// A process that takes requests, as far as the ledger cares.
pub(crate) trait Process {
    /// Whether any thread of it may still be inside a system call.
    fn is_alive(&self) -> bool;
}

/// Which worker: a process, using an open file, under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The open file.
    pub(crate) file: u64,
    /// The owner token.
    pub(crate) token: u64,
    /// Tells processes apart; valid while the holder keeps its [`Process`].
    pub(crate) process: usize,
}

/// A worker that holds requests, or may.
pub(crate) struct Holder<Q> {
    who: Who,
    process: Option<Q>,
    /// Requests in its hands: Taking, Taken, and Finishing what was Taken.
    held: u32,
    /// Whether its file is still open.
    open: bool,
    /// Whether it holds a suspect, which its process must hold alone.
    suspect: bool,
    /// Whether its process died while it held more than one request. They need not come back all
    /// at once: files are closed one by one.
    crowded: bool,
}

impl<Q> Holder<Q> {
    /// An entry of the table that belongs to nobody.
    pub(crate) fn vacant() -> Self {
        let who = Who {
            file: 0,
            token: 0,
            process: 0,
        };
        Holder {
            who,
            process: None,
            held: 0,
            open: false,
            suspect: false,
            crowded: false,
        }
    }

    /// The worker this entry stands for.
    pub(crate) fn who(&self) -> &Who {
        &self.who
    }

    /// Its process, if the entry is in use.
    pub(crate) fn process(&self) -> Option<&Q> {
        self.process.as_ref()
    }

    fn is_vacant(&self) -> bool {
        !self.open && self.held == 0
    }

    /// It holds one request less.
    #[inline(always)]
    fn let_go(&mut self) {
        self.held = self.held.wrapping_sub(1);
        self.suspect = false;
        if self.is_vacant() {
            self.vacate();
        }
    }

    #[cold]
    fn vacate(&mut self) {
        self.process = None;
    }
}

impl<Q: Process> Holder<Q> {
    fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }

    /// Whether it is dead and holds nothing: none of its threads can come back.
    fn is_history(&self) -> bool {
        self.held == 0 && !self.is_alive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    Taking,
    Taken,
    Finishing,
    Condemned,
}

/// The place of one request, by tag.
pub(crate) struct Slot<P> {
    /// Present while Queued, Taken or Condemned.
    request: Option<P>,
    generation: u64,
    /// Order of arrival; never changes while the request lives.
    arrival: u64,
    /// When the block layer queued it.
    queued_at: u64,
    /// When it came into its present state of Queued or Taken.
    since: u64,
    /// Neighbours in the queue, or in the list of the condemned.
    next: u32,
    prev: u32,
    holder: u32,
    bytes: u32,
    deaths: u16,
    lone_deaths: u16,
    op: Op,
    state: State,
    v1: bool,
    detached: bool,
    /// Finishing, and to be offered again if that fails: its owner was made to give it back.
    recalled: bool,
}

impl<P> Slot<P> {
    /// A place without a request.
    pub(crate) fn idle() -> Self {
        Slot {
            request: None,
            generation: 0,
            arrival: 0,
            queued_at: 0,
            since: 0,
            next: NONE,
            prev: NONE,
            holder: NONE,
            bytes: 0,
            deaths: 0,
            lone_deaths: 0,
            op: Op::Read,
            state: State::Idle,
            v1: false,
            detached: false,
            recalled: false,
        }
    }

    /// Whether it may be what kills its owners.
    fn is_suspect(&self) -> bool {
        self.deaths >= 2
    }

    /// Whether too many owners died with nothing else in their hands.
    fn is_guilty(&self, policies: &Policies) -> bool {
        // More deaths than are counted are as many as are counted.
        let limit = policies.max_attempts.min(u32::from(u16::MAX));
        limit > 0 && u32::from(self.lone_deaths) >= limit
    }
}

/// Counts of one operation since the last set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that came.
    pub(crate) queued: u64,
    /// Claims handed out.
    pub(crate) taken: u64,
    /// Requests completed well.
    pub(crate) done: u64,
    /// Claims taken back.
    pub(crate) requeued: u64,
    /// Requests that ended with an error.
    pub(crate) failed: u64,
    /// Bytes of the requests in `done`.
    pub(crate) bytes: u64,
    /// Nanoseconds from arrival to completion of the requests in `done`, added up.
    pub(crate) total: u64,
    /// Of these, in the hands of the worker that held the request last.
    pub(crate) service: u64,
}

/// What the operator decided about this disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policies {
    /// Deaths of owners after which a request fails; 0: no limit.
    pub(crate) max_attempts: u32,
    /// The backend rejects old writers: offer again from the living too.
    pub(crate) fenced_backend: bool,
    /// A file that is closed says nothing about what was taken through it.
    pub(crate) keep_on_close: bool,
}

/// Who has to be woken; nobody may be forgotten.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wake {
    /// One sleeping worker.
    pub(crate) one: bool,
    /// All workers that wait for more than one request, or were kept waiting.
    pub(crate) patient: bool,
    /// Whoever polls.
    pub(crate) pollers: bool,
}

impl Wake {
    /// Both.
    #[inline(always)]
    pub(crate) fn and(self, other: Wake) -> Wake {
        // Without a branch: this is said of every request.
        Wake {
            one: self.one | other.one,
            patient: self.patient | other.patient,
            pollers: self.pollers | other.pollers,
        }
    }

    /// Everybody: the device's fate has changed.
    pub(crate) fn everybody() -> Wake {
        Wake {
            one: true,
            patient: true,
            pollers: true,
        }
    }
}

/// A request on its way to a worker. Must be committed or aborted.
#[must_use]
pub(crate) struct Claim<P> {
    /// The id the worker will know it by.
    pub(crate) id: u64,
    /// The request.
    pub(crate) request: P,
    /// The operation.
    pub(crate) op: Op,
    /// Its bytes.
    pub(crate) bytes: u32,
    /// Owners that died holding it.
    pub(crate) attempt: u32,
    /// Nanoseconds since the block layer queued it.
    pub(crate) age: u64,
}

/// What [`Ledger::take_begin`] found.
pub(crate) enum Next<P> {
    /// A request.
    Claim(Claim<P>),
    /// Nothing for this worker now.
    Nothing,
    /// The next request needs this much room.
    TooBig(u32),
}

/// A request on its way back. Must be committed or aborted.
#[must_use]
pub(crate) struct Finish<P> {
    /// Its id.
    pub(crate) id: u64,
    /// The request.
    pub(crate) request: P,
    /// The operation.
    pub(crate) op: Op,
    /// Its bytes.
    pub(crate) bytes: u32,
    from_queue: bool,
}

/// A request that has left the ledger.
#[must_use]
pub(crate) struct Ended<P> {
    /// To be ended by the caller.
    pub(crate) request: P,
    /// The last id it was known by.
    pub(crate) id: u64,
    /// When the block layer queued it.
    pub(crate) queued_at: u64,
    /// Whether it must be ended with an error, whatever the worker said.
    pub(crate) doomed: bool,
    /// Somebody may have been waiting for its owner's hands to be empty.
    pub(crate) wake: Wake,
}

/// Why a completion changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The id was valid once.
    Stale,
    /// The id was never given out, or nobody holds the request.
    Unknown,
}

/// What offering again came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requeued {
    /// Requests that were offered again.
    pub(crate) requeued: u32,
    /// Modifying requests that were left to a living owner.
    pub(crate) refused: u32,
    /// Requests condemned because too many owners died.
    pub(crate) condemned: u32,
    /// Whom to wake.
    pub(crate) wake: Wake,
}

impl Requeued {
    /// Living writers kept everything there was.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.requeued == 0 && self.condemned == 0 && self.refused > 0
    }
}

/// Why requests are offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody asks; writers that live keep what they have.
    Asked,
    /// A lease is over; writers that live keep what they have, and are not counted each time.
    Expired,
    /// Somebody insists.
    Forced,
    /// The file was closed for good, in the death of that process if it is said.
    Closed(Option<usize>),
}

/// A taken request, as selectors see it.
pub(crate) struct Held<'a, Q> {
    /// Its id.
    pub(crate) id: u64,
    /// Nanoseconds its owner has held it.
    pub(crate) held_for: u64,
    /// Whether it outlives its file.
    pub(crate) detached: bool,
    /// Its owner.
    pub(crate) holder: &'a Holder<Q>,
}

/// A request that is offered again, or given up for too many deaths, as onlookers see it.
pub(crate) struct Again<'a, P, Q> {
    /// The id that is stale from now on.
    pub(crate) id: u64,
    /// The id it is offered under; `None`: it ends instead.
    pub(crate) new: Option<u64>,
    /// The request.
    pub(crate) request: &'a P,
    /// The operation.
    pub(crate) op: Op,
    /// Its bytes.
    pub(crate) bytes: u32,
    /// Owners that died holding it, the last one included if it did.
    pub(crate) attempt: u32,
    /// Nanoseconds its owner has held it.
    pub(crate) held_for: u64,
    /// Who had it.
    pub(crate) holder: &'a Holder<Q>,
}

/// Numbers for whoever asks how it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Requests nobody has taken.
    pub(crate) queued: u32,
    /// Requests a worker holds.
    pub(crate) taken: u32,
    /// Requests in the middle of a copy.
    pub(crate) busy: u32,
    /// Workers whose file is open.
    pub(crate) workers: u32,
    /// Threads asleep.
    pub(crate) sleepers: u32,
    /// Longest time a request has been unclaimed.
    pub(crate) oldest_queued: u64,
    /// Longest time a request has been held.
    pub(crate) oldest_taken: u64,
}

/// The ledger of one device. See the module's documentation.
pub(crate) struct Ledger<P, Q> {
    slots: Store<Slot<P>>,
    holders: Store<Holder<Q>>,
    /// Room to sort what is offered again: as long as `slots`.
    scratch: Store<u32>,
    policies: Policies,
    alive: bool,
    epoch: u32,
    /// Generation before the first id of all, and before the first of this set-up.
    origin: u64,
    floor: u64,
    arrivals: u64,
    /// Everything that arrived up to here is doomed.
    doomed_through: u64,
    head: u32,
    tail: u32,
    condemned: u32,
    /// Each request is counted in one of these and in nobody's hands twice: none of them can wrap.
    queued: u32,
    taken: u32,
    busy: u32,
    /// Condemned and not yet ended.
    leaving: u32,
    sleepers: u32,
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
    stale: u64,
    refused: u64,
}

impl<P, Q: Process> Ledger<P, Q> {
    /// A ledger without a disk. Ids begin after `origin`, which should differ between devices so
    /// that an id of one means nothing to another.
    pub(crate) fn new(
        slots: Store<Slot<P>>,
        holders: Store<Holder<Q>>,
        scratch: Store<u32>,
        origin: u64,
    ) -> Self {
        let origin = origin & (u64::MAX >> (TAG_BITS + 1));
        Ledger {
            slots,
            holders,
            scratch,
            policies: Policies::default(),
            alive: false,
            epoch: 0,
            origin,
            floor: origin,
            arrivals: 0,
            doomed_through: 0,
            head: NONE,
            tail: NONE,
            condemned: NONE,
            queued: 0,
            taken: 0,
            busy: 0,
            leaving: 0,
            sleepers: 0,
            wake_in_flight: false,
            patient: 0,
            patience: u32::MAX,
            kept: false,
            changed: false,
            v1_cursor: 0,
            counts: [Counts::default(); 6],
            stale: 0,
            refused: 0,
        }
    }

    // --- Life of the disk -----------------------------------------------------------------------

    /// Begins a disk with as many tags as `slots` has. `scratch` must be as long. Gives back what it
    /// replaces, to be freed outside any lock.
    pub(crate) fn configure(
        &mut self,
        mut slots: Store<Slot<P>>,
        scratch: Store<u32>,
        policies: Policies,
    ) -> (Store<Slot<P>>, Store<u32>) {
        let floor = self.next_floor();
        for slot in slots.iter_mut() {
            slot.generation = floor.wrapping_add(1);
        }
        self.policies = policies;
        self.alive = true;
        self.epoch = self.epoch.wrapping_add(1);
        self.counts = [Counts::default(); 6];
        self.stale = 0;
        self.refused = 0;
        self.v1_cursor = 0;
        self.retire(slots, scratch)
    }

    /// The last generation any tag has reached.
    fn next_floor(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.generation)
            .fold(self.floor, u64::max)
    }

    /// Ends the disk: what is queued or taken is condemned, what is being copied is doomed. Nothing
    /// is queued or taken from now on, and everybody has to be woken. Returns how many were condemned.
    pub(crate) fn kill(&mut self) -> u32 {
        self.alive = false;
        self.fail_all()
    }

    /// Gives the room of a disk that has ended back, to be freed outside any lock; `slots` and
    /// `scratch` are empty.
    pub(crate) fn retire(
        &mut self,
        slots: Store<Slot<P>>,
        scratch: Store<u32>,
    ) -> (Store<Slot<P>>, Store<u32>) {
        self.floor = self.next_floor();
        (
            core::mem::replace(&mut self.slots, slots),
            core::mem::replace(&mut self.scratch, scratch),
        )
    }

    /// Condemns everything pending. The disk lives on.
    pub(crate) fn fail_all(&mut self) -> u32 {
        self.doomed_through = self.arrivals;
        let mut failed = 0u32;
        for index in 0..self.slots.len() {
            let index = index as u32;
            let Some(slot) = self.slots.get(index as usize) else {
                break;
            };
            match slot.state {
                State::Queued => {
                    self.unlink(index);
                    self.queued = self.queued.wrapping_sub(1);
                }
                State::Taken => self.release(index),
                _ => continue,
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
        let (last, queued_at) = (slot.generation.wrapping_sub(1), slot.queued_at);
        self.count(op, |counts| counts.failed += 1);
        Some(Ended {
            request: request?,
            id: id(last, index),
            queued_at,
            doomed: true,
            wake: Wake::default(),
        })
    }

    /// Whether there is a disk.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    /// Requests that have not left the ledger.
    pub(crate) fn pending(&self) -> u32 {
        self.queued
            .saturating_add(self.taken)
            .saturating_add(self.busy)
            .saturating_add(self.leaving)
    }

    /// Most requests there can be.
    pub(crate) fn tags(&self) -> u32 {
        self.slots.len() as u32
    }

    /// What the operator decided.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Requests nobody has taken.
    pub(crate) fn queued(&self) -> u32 {
        self.queued
    }

    /// Requests in the middle of a copy.
    pub(crate) fn busy(&self) -> u32 {
        self.busy
    }

    /// Counts set-ups and reconnects.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    // --- Arrival --------------------------------------------------------------------------------

    /// The id that a request would be known by if it arrived now; `None` if it would come back.
    pub(crate) fn next_id(&self, tag: u32) -> Option<u64> {
        let slot = self.slots.get(tag as usize)?;
        (self.alive && slot.state == State::Idle).then(|| id(slot.generation, tag))
    }

    /// The id that a request which was known by this one has now.
    pub(crate) fn id_now(&self, old: u64) -> Option<u64> {
        let tag = tag_of(old);
        let slot = self.slots.get(tag as usize)?;
        Some(id(slot.generation, tag))
    }

    /// A request arrives in the slot of its tag. Comes back if there is no disk any more.
    #[inline(always)]
    pub(crate) fn enqueue(
        &mut self,
        tag: u32,
        arrival: Arrival,
        request: P,
        now: u64,
    ) -> Result<Wake, P> {
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
        slot.deaths = 0;
        slot.lone_deaths = 0;
        slot.op = arrival.op;
        slot.v1 = arrival.v1;
        slot.detached = false;
        slot.state = State::Queued;
        match self.slots.get_mut(tail as usize) {
            Some(last) => last.next = tag,
            None => self.head = tag,
        }
        self.tail = tag;
        self.queued = self.queued.wrapping_add(1);
        self.count(arrival.op, |counts| counts.queued += 1);
        Ok(self.wake())
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
    ) -> Next<P> {
        let index = self.head;
        if self.is_kept(holder) {
            return Next::Nothing;
        }
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Next::Nothing;
        };
        let Some(who) = self.holders.get_mut(holder as usize) else {
            return Next::Nothing;
        };
        if slot.op.has_data() && u64::from(slot.bytes) > room {
            return Next::TooBig(slot.bytes);
        }
        let Some(request) = slot.request.take() else {
            return Next::Nothing;
        };
        slot.state = State::Taking;
        slot.holder = holder;
        // Whoever was kept from a suspect may want what comes behind it.
        self.changed |= slot.is_suspect();
        slot.detached = detached;
        who.held = who.held.wrapping_add(1);
        who.suspect = self.policies.max_attempts > 0 && slot.is_suspect();
        who.crowded = false;
        let claim = Claim {
            id: id(slot.generation, index),
            request,
            op: slot.op,
            bytes: slot.bytes,
            attempt: u32::from(slot.deaths),
            age: now.saturating_sub(slot.queued_at),
        };
        // It is the first: nothing is before it.
        let next = slot.next;
        slot.next = NONE;
        self.head = next;
        match self.slots.get_mut(next as usize) {
            Some(behind) => behind.prev = NONE,
            None => self.tail = NONE,
        }
        self.queued = self.queued.wrapping_sub(1);
        self.busy = self.busy.wrapping_add(1);
        Next::Claim(claim)
    }

    /// Whether a worker has to wait although requests may be there. From the second death on, a
    /// request is handed out as its worker's only holding, so that the next death says who was
    /// guilty; a process dies with all its files, so that alone means in all of them.
    #[inline(always)]
    fn is_kept(&self, holder: u32) -> bool {
        self.policies.max_attempts > 0 && self.is_kept_from_suspects(holder)
    }

    fn is_kept_from_suspects(&self, holder: u32) -> bool {
        let Some(worker) = self.holders.get(holder as usize) else {
            return false;
        };
        let next = self
            .slots
            .get(self.head as usize)
            .is_some_and(Slot::is_suspect);
        let clash = |other: &Holder<Q>| other.held > 0 && (next || other.suspect);
        self.holders
            .iter()
            .any(|other| other.who.process == worker.who.process && clash(other))
    }

    /// The worker has it. A doomed request comes back, to be ended with an error.
    #[inline(always)]
    pub(crate) fn take_commit(&mut self, claim: Claim<P>, now: u64) -> Option<Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        let (alive, doomed_through) = (self.alive, self.doomed_through);
        let slot = self.slots.get_mut(tag_of(claim.id) as usize);
        let Some(slot) = slot.filter(|slot| alive && slot.arrival > doomed_through) else {
            return Some(self.end_doomed(tag_of(claim.id), claim.request));
        };
        slot.request = Some(claim.request);
        slot.state = State::Taken;
        slot.since = now;
        let op = slot.op;
        self.taken = self.taken.wrapping_add(1);
        self.count(op, |counts| counts.taken += 1);
        None
    }

    /// The worker could not be given it: back into its place in the queue, under the same id.
    pub(crate) fn take_abort(&mut self, claim: Claim<P>) -> Result<Wake, Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        if self.is_doomed(tag_of(claim.id)) {
            return Err(self.end_doomed(tag_of(claim.id), claim.request));
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
        let generation = id >> TAG_BITS;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            let floor = self.floor;
            return Err(self.refuse(generation, floor));
        };
        if slot.generation != generation {
            let last = slot.generation;
            return Err(self.refuse(generation, last));
        }
        let from_queue = match slot.state {
            State::Taken => false,
            State::Queued if v1 && slot.v1 => true,
            // Somebody else is in the middle of completing it: it is lost to this caller, unless
            // that copy fails, and then it stays with its owner.
            State::Finishing => return Err(self.refuse(generation, generation)),
            _ => return Err(Refusal::Unknown),
        };
        let Some(request) = slot.request.take() else {
            return Err(Refusal::Unknown);
        };
        slot.state = State::Finishing;
        slot.recalled = false;
        let finish = Finish {
            id,
            request,
            op: slot.op,
            bytes: slot.bytes,
            from_queue,
        };
        if from_queue {
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
    pub(crate) fn finish_commit(&mut self, finish: Finish<P>, well: bool, now: u64) -> Ended<P> {
        self.busy = self.busy.wrapping_sub(1);
        let (alive, doomed_through) = (self.alive, self.doomed_through);
        let slot = self.slots.get_mut(tag_of(finish.id) as usize);
        let Some(slot) = slot.filter(|slot| alive && slot.arrival > doomed_through) else {
            return self.end_doomed(tag_of(finish.id), finish.request);
        };
        let (queued_at, since, holder) = (slot.queued_at, slot.since, slot.holder);
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Idle;
        slot.holder = NONE;
        self.changed = true;
        if let Some(holder) = self.holders.get_mut(holder as usize) {
            holder.let_go();
        }
        let wake = self.wake_the_kept();
        let bytes = u64::from(finish.bytes);
        self.count(finish.op, |counts| {
            if well {
                counts.done = counts.done.wrapping_add(1);
                counts.bytes = counts.bytes.wrapping_add(bytes);
                counts.total = counts.total.wrapping_add(now.saturating_sub(queued_at));
                // What a client of 2009 completes was in nobody's hands.
                if !finish.from_queue {
                    counts.service = counts.service.wrapping_add(now.saturating_sub(since));
                }
            } else {
                counts.failed = counts.failed.wrapping_add(1);
            }
        });
        Ended {
            request: finish.request,
            id: finish.id,
            queued_at,
            doomed: false,
            wake,
        }
    }

    /// The data could not be had: the request stays where it was, under the same id. If its owner
    /// was made to give it back meanwhile, it is offered again.
    pub(crate) fn finish_abort(&mut self, finish: Finish<P>) -> Result<Wake, Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        if self.is_doomed(tag_of(finish.id)) {
            return Err(self.end_doomed(tag_of(finish.id), finish.request));
        }
        let Some(slot) = self.slots.get_mut(tag_of(finish.id) as usize) else {
            return Err(self.end_doomed(tag_of(finish.id), finish.request));
        };
        if !finish.from_queue && !slot.recalled {
            slot.request = Some(finish.request);
            slot.state = State::Taken;
            self.taken = self.taken.wrapping_add(1);
            return Ok(Wake::default());
        }
        if slot.recalled {
            // Its owner had to give it back meanwhile, and may not be there to do so again.
            if slot.is_guilty(&self.policies) {
                return Err(self.end_doomed(tag_of(finish.id), finish.request));
            }
            slot.generation = slot.generation.wrapping_add(1);
            self.let_go(tag_of(finish.id));
            self.count(finish.op, |counts| counts.requeued += 1);
        }
        if let Some(slot) = self.slots.get_mut(tag_of(finish.id) as usize) {
            slot.request = Some(finish.request);
        }
        self.insert(tag_of(finish.id));
        Ok(self.wake())
    }

    // --- Offering again -------------------------------------------------------------------------

    /// Offers again what is taken and `which` selects, in order of arrival, with new ids. What is
    /// being finished follows if that fails; nobody might be left to ask for it a second time.
    /// `tell` hears of each.
    pub(crate) fn requeue(
        &mut self,
        why: Why,
        now: u64,
        which: impl Fn(&Held<'_, Q>) -> bool,
        mut tell: impl FnMut(&Again<'_, P, Q>),
    ) -> Requeued {
        let mut outcome = Requeued::default();
        let mut chosen = 0usize;
        for (index, slot) in self.slots.iter().enumerate() {
            let finishing = slot.state == State::Finishing && !slot.recalled;
            if slot.state != State::Taken && !finishing {
                continue;
            }
            let Some(holder) = self.holders.get(slot.holder as usize) else {
                continue;
            };
            let held = Held {
                id: id(slot.generation, index as u32),
                held_for: now.saturating_sub(slot.since),
                detached: slot.detached,
                holder,
            };
            if !which(&held) {
                continue;
            }
            let dead = !holder.process.as_ref().is_some_and(Process::is_alive);
            let may =
                !matches!(why, Why::Asked | Why::Expired) || dead || self.policies.fenced_backend;
            if slot.op.modifies() && !may {
                outcome.refused += u32::from(!finishing);
                continue;
            }
            if let Some(place) = self.scratch.get_mut(chosen) {
                *place = index as u32;
                chosen += 1;
            }
        }
        if why == Why::Asked {
            self.refused = self.refused.wrapping_add(u64::from(outcome.refused));
        }
        let slots = &self.slots;
        let arrival = |index: u32| slots.get(index as usize).map_or(0, |slot| slot.arrival);
        if let Some(list) = self.scratch.get_mut(..chosen) {
            sort_by(list, arrival);
        }
        // Two passes: a death is shared by all that its owner held, so nobody's hands are emptied
        // before everybody has been counted.
        for place in 0..chosen {
            let Some(&index) = self.scratch.get(place) else {
                break;
            };
            self.count_death(index, why);
        }
        let mut after = NONE;
        for place in 0..chosen {
            let Some(&index) = self.scratch.get(place) else {
                break;
            };
            let Some(slot) = self.slots.get_mut(index as usize) else {
                continue;
            };
            let (op, guilty) = (slot.op, slot.is_guilty(&self.policies));
            let held_for = now.saturating_sub(slot.since);
            slot.since = now;
            if slot.state == State::Finishing {
                slot.recalled = true;
                continue;
            }
            let new = slot.generation.wrapping_add(1);
            let holder = self.holders.get(slot.holder as usize);
            if let (Some(request), Some(holder)) = (slot.request.as_ref(), holder) {
                tell(&Again {
                    id: id(slot.generation, index),
                    new: (!guilty).then(|| id(new, index)),
                    request,
                    op,
                    bytes: slot.bytes,
                    attempt: u32::from(slot.deaths),
                    held_for,
                    holder,
                });
            }
            self.release(index);
            if guilty {
                self.condemn(index);
                outcome.condemned += 1;
                continue;
            }
            if let Some(slot) = self.slots.get_mut(index as usize) {
                slot.generation = new;
            }
            self.insert_after(index, after);
            after = index;
            self.count(op, |counts| counts.requeued += 1);
            outcome.requeued += 1;
        }
        outcome.wake = self.wake();
        outcome
    }

    /// Begins a new epoch under these policies and offers everything taken again by them. Nothing
    /// changes if living writers kept all there was. Says which epochs.
    pub(crate) fn reconnect(
        &mut self,
        why: Why,
        now: u64,
        policies: Policies,
        tell: impl FnMut(&Again<'_, P, Q>),
    ) -> (Requeued, u32, u32) {
        let before = core::mem::replace(&mut self.policies, policies);
        // Whoever was kept from a suspect need not be any more.
        self.changed = true;
        let outcome = self.requeue(why, now, |_| true, tell);
        let old = self.epoch;
        if outcome.is_in_vain() {
            self.policies = before;
            return (outcome, old, old);
        }
        self.epoch = old.wrapping_add(1);
        (outcome, old, self.epoch)
    }

    /// Counts the death of a request's owner, if that is why it is offered again.
    fn count_death(&mut self, index: u32, why: Why) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let Some(holder) = self.holders.get(slot.holder as usize) else {
            return;
        };
        // A file may be closed by others than its owner: by a child that inherited it, or by whoever
        // was sent it. Only the owner's own death is a death, and it is one whoever closes.
        let closer = match why {
            Why::Closed(dying) => dying,
            _ => None,
        };
        if closer == Some(holder.who.process) || !holder.is_alive() {
            slot.deaths = slot.deaths.saturating_add(1);
            let process = holder.who.process;
            let lone = holder.held == 1 && !holder.crowded;
            let lone = lone && {
                let others = self
                    .holders
                    .iter()
                    .filter(|other| other.who.process == process);
                others.filter(|other| other.held > 0).nth(1).is_none()
            };
            if lone {
                slot.lone_deaths = slot.lone_deaths.saturating_add(1);
                return;
            }
            for other in self
                .holders
                .iter_mut()
                .filter(|other| other.who.process == process)
            {
                other.crowded = true;
            }
        }
    }

    // --- Workers --------------------------------------------------------------------------------

    /// The entry of a worker, if it has one.
    pub(crate) fn holder_find(&self, who: &Who) -> Option<u32> {
        let is = |holder: &Holder<Q>| holder.open && holder.who == *who;
        self.holders.iter().position(is).map(|index| index as u32)
    }

    /// Whether an entry found earlier is still this worker's.
    pub(crate) fn holder_is(&self, index: u32, who: &Who) -> bool {
        self.holders
            .get(index as usize)
            .is_some_and(|holder| holder.open && holder.who == *who)
    }

    /// Enters a worker. Its process comes back if the table is full. A worker that is dead and holds
    /// nothing makes room, also while others still have its file open.
    pub(crate) fn holder_add(&mut self, who: Who, process: Q) -> Result<u32, Q> {
        // Another thread of the worker may have been faster.
        if let Some(index) = self.holder_find(&who) {
            return Ok(index);
        }
        let vacant = self.holders.iter().position(Holder::is_vacant);
        let free = vacant.or_else(|| self.holders.iter().position(Holder::is_history));
        let Some(index) = free else {
            return Err(process);
        };
        if let Some(holder) = self.holders.get_mut(index) {
            *holder = Holder {
                process: Some(process),
                open: true,
                who,
                ..Holder::vacant()
            };
        }
        Ok(index as u32)
    }

    /// Entries there are.
    pub(crate) fn holders_len(&self) -> usize {
        self.holders.len()
    }

    /// Replaces the table by a longer one of vacant entries; the old one comes back to be freed.
    pub(crate) fn holders_grow(&mut self, mut longer: Store<Holder<Q>>) -> Store<Holder<Q>> {
        if longer.len() < self.holders.len() {
            return longer;
        }
        for (new, old) in longer.iter_mut().zip(self.holders.iter_mut()) {
            core::mem::swap(new, old);
        }
        core::mem::replace(&mut self.holders, longer)
    }

    /// An open file was closed for good, by the process `dying` if one closed it in its death. What
    /// was taken through it is offered again if `requeue`.
    pub(crate) fn close(
        &mut self,
        file: u64,
        requeue: bool,
        dying: Option<usize>,
        now: u64,
        tell: impl FnMut(&Again<'_, P, Q>),
    ) -> Requeued {
        let mut outcome = Requeued::default();
        if requeue {
            let its = |held: &Held<'_, Q>| held.holder.who.file == file && !held.detached;
            outcome = self.requeue(Why::Closed(dying), now, its, tell);
        }
        for holder in self.holders.iter_mut() {
            if holder.who.file == file {
                holder.open = false;
                if holder.is_vacant() {
                    holder.process = None;
                }
            }
        }
        outcome
    }

    /// Number of workers that live and whose file is open.
    pub(crate) fn workers(&self) -> u32 {
        let there = |holder: &&Holder<Q>| holder.open && holder.is_alive();
        self.holders.iter().filter(there).count() as u32
    }

    // --- Waiting --------------------------------------------------------------------------------

    /// Whether `min` requests wait, for whoever polls.
    pub(crate) fn is_ready(&self, min: u32) -> bool {
        self.queued >= min.max(1)
    }

    /// Whether this worker would get the first of them now. If not it may sleep: it would ask in
    /// vain, because it holds a suspect or the next one is a suspect and it holds anything.
    pub(crate) fn is_ready_for(&self, holder: u32, min: u32) -> bool {
        self.is_ready(min) && !self.is_kept(holder)
    }

    /// A worker goes to sleep until `min` requests are there. Returns whether it counts as patient,
    /// and so sleeps apart; one that is kept waiting does too, lest it be woken in another's place
    /// for what it cannot take. Whoever leaves requests behind says [`Ledger::wake`] first.
    pub(crate) fn sleep(&mut self, holder: u32, min: u32) -> bool {
        let kept = self.is_kept(holder);
        let patient = min > 1 || kept;
        self.kept |= kept;
        if patient {
            self.patient = self.patient.saturating_add(1);
            // There may be enough for one that is kept, and still nothing that it can have.
            if !kept {
                self.patience = self.patience.min(min);
            }
        } else {
            self.sleepers = self.sleepers.saturating_add(1);
        }
        patient
    }

    /// A sleeper has woken up, for whatever reason, and will look at the queue now.
    pub(crate) fn rise(&mut self, patient: bool) {
        if patient {
            self.patient = self.patient.saturating_sub(1);
            if self.patient == 0 {
                self.patience = u32::MAX;
            }
        } else {
            self.sleepers = self.sleepers.saturating_sub(1);
            self.wake_in_flight = false;
        }
    }

    /// Whom to wake because requests are available: said by whoever made them so, and by whoever
    /// looked at the queue and leaves some behind.
    pub(crate) fn wake(&mut self) -> Wake {
        if self.queued == 0 {
            return Wake::default();
        }
        if self.sleepers == 0 && self.patient == 0 {
            self.changed = false;
            return Wake {
                pollers: true,
                ..Wake::default()
            };
        }
        let one = self.sleepers > 0 && !self.wake_in_flight;
        self.wake_in_flight |= one;
        let enough = self.queued >= self.patience || (self.kept && self.changed);
        let patient = self.patient > 0 && enough;
        if patient {
            self.patience = u32::MAX;
            self.kept = false;
        }
        self.changed = false;
        Wake {
            one,
            patient,
            pollers: true,
        }
    }

    // --- v1 -------------------------------------------------------------------------------------

    /// Shows a v1 client the next request, which stays where it is: the unclaimed in turn, and if
    /// there are none the claimed in turn.
    pub(crate) fn v1_next<R>(&mut self, show: impl FnOnce(u64, &P) -> R) -> Option<R> {
        let mut best: Option<((bool, bool, u64), u32)> = None;
        for (index, slot) in self.slots.iter().enumerate() {
            let claimed = match slot.state {
                State::Queued => false,
                State::Taken => true,
                _ => continue,
            };
            if !slot.v1 {
                continue;
            }
            let key = (claimed, slot.arrival <= self.v1_cursor, slot.arrival);
            if best.is_none_or(|(least, _)| key < least) {
                best = Some((key, index as u32));
            }
        }
        let (_, index) = best?;
        let slot = self.slots.get(index as usize)?;
        self.v1_cursor = slot.arrival;
        Some(show(id(slot.generation, index), slot.request.as_ref()?))
    }

    // --- Seeing inside --------------------------------------------------------------------------

    /// Numbers for whoever asks.
    pub(crate) fn summary(&self, now: u64) -> Summary {
        let mut summary = Summary {
            queued: self.queued,
            taken: self.taken,
            busy: self.busy,
            workers: self.workers(),
            sleepers: self.sleepers.saturating_add(self.patient),
            ..Summary::default()
        };
        for slot in self.slots.iter() {
            let age = now.saturating_sub(slot.since);
            match slot.state {
                State::Queued => summary.oldest_queued = summary.oldest_queued.max(age),
                State::Taken => summary.oldest_taken = summary.oldest_taken.max(age),
                _ => {}
            }
        }
        summary
    }

    /// Counts of every operation, by the value of [`Op`].
    pub(crate) fn counts(&self) -> &[Counts; 6] {
        &self.counts
    }

    /// Completions refused because the id was old, and re-offers refused because a writer lives.
    pub(crate) fn refusals(&self) -> (u64, u64) {
        (self.stale, self.refused)
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
    fn refuse(&mut self, generation: u64, last: u64) -> Refusal {
        if generation <= self.origin || generation > last {
            return Refusal::Unknown;
        }
        self.stale = self.stale.wrapping_add(1);
        Refusal::Stale
    }

    fn is_doomed(&self, index: u32) -> bool {
        match self.slots.get(index as usize) {
            Some(slot) => !self.alive || slot.arrival <= self.doomed_through,
            None => true,
        }
    }

    #[cold]
    fn end_doomed(&mut self, index: u32, request: P) -> Ended<P> {
        let (mut last, mut queued_at) = (0, 0);
        if let Some(slot) = self.slots.get(index as usize) {
            last = id(slot.generation, index);
            queued_at = slot.queued_at;
        }
        let wake = self.idle(index);
        if let Some(op) = self.slots.get(index as usize).map(|slot| slot.op) {
            self.count(op, |counts| counts.failed += 1);
        }
        Ended {
            request,
            id: last,
            queued_at,
            doomed: true,
            wake,
        }
    }

    /// The request of a slot has left; its id is history.
    fn idle(&mut self, index: u32) -> Wake {
        self.let_go(index);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.state = State::Idle;
        }
        self.wake_the_kept()
    }

    /// Whoever was kept from a suspect, or with one, may go on once somebody's hands are emptier.
    #[inline(always)]
    fn wake_the_kept(&mut self) -> Wake {
        if self.policies.max_attempts > 0 {
            return self.wake();
        }
        Wake::default()
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
            slot.generation = slot.generation.wrapping_add(1);
            slot.state = State::Condemned;
            slot.next = first;
            self.condemned = index;
            self.leaving = self.leaving.saturating_add(1);
        }
    }

    /// Takes a slot out of the queue.
    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let (prev, next) = (slot.prev, slot.next);
        slot.prev = NONE;
        slot.next = NONE;
        match self.slots.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(behind) => behind.prev = prev,
            None => self.tail = prev,
        }
    }

    /// Puts a slot into its place in the queue, and counts it.
    fn insert(&mut self, index: u32) {
        self.insert_after(index, NONE);
    }

    /// As [`Ledger::insert`], for a slot that is known to belong behind `after`.
    fn insert_after(&mut self, index: u32, after: u32) {
        let arrival = self
            .slots
            .get(index as usize)
            .map_or(0, |slot| slot.arrival);
        let mut prev = after;
        let mut next = match self.slots.get(after as usize) {
            Some(slot) => slot.next,
            None => self.head,
        };
        while let Some(slot) = self.slots.get(next as usize) {
            if slot.arrival > arrival {
                break;
            }
            prev = next;
            next = slot.next;
        }
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.state = State::Queued;
            slot.prev = prev;
            slot.next = next;
        }
        match self.slots.get_mut(prev as usize) {
            Some(before) => before.next = index,
            None => self.head = index,
        }
        match self.slots.get_mut(next as usize) {
            Some(behind) => behind.prev = index,
            None => self.tail = index,
        }
        self.queued = self.queued.wrapping_add(1);
        self.changed = true;
    }
}

/// Sorts in place; a heap sort, since the library's sorts have a panic in them.
fn sort_by(list: &mut [u32], key: impl Fn(u32) -> u64) {
    let sift = |list: &mut [u32], mut top: usize, end: usize| loop {
        let mut child = top.saturating_mul(2).saturating_add(1);
        if child >= end {
            return;
        }
        let at = |list: &[u32], index: usize| list.get(index).map_or(0, |&item| key(item));
        if child + 1 < end && at(list, child) < at(list, child + 1) {
            child += 1;
        }
        if at(list, top) >= at(list, child) {
            return;
        }
        list.swap(top, child);
        top = child;
    };
    for top in (0..list.len() / 2).rev() {
        sift(list, top, list.len());
    }
    for end in (1..list.len()).rev() {
        list.swap(0, end);
        sift(list, 0, end);
    }
}

fn tag_of(id: u64) -> u32 {
    (id & (MAX_SLOTS as u64 - 1)) as u32
}

/// The id of a request: its tag, and the generation of that tag.
fn id(generation: u64, tag: u32) -> u64 {
    (generation << TAG_BITS) | u64::from(tag)
}
