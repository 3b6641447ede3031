// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the ledger says and is told.

use super::holders::Holder;

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
    /// Whether it is durable once completed, without a flush.
    pub(crate) durable: bool,
    /// Whether a client of 2009 may see it (a plain read, write or flush).
    pub(crate) v1: bool,
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

/// A request on its way to a worker. Must be committed or aborted. Once the worker has been told what
/// it is, nobody needs to carry that any more: see [`Claim::bare`].
#[must_use]
pub(crate) struct Claim<P, T = Told> {
    /// The id the worker will know it by.
    pub(crate) id: u64,
    /// The request.
    pub(crate) request: P,
    /// What the worker is told of it.
    pub(crate) told: T,
}

impl<P, T> Claim<P, T> {
    /// The claim alone.
    #[inline(always)]
    pub(crate) fn bare(self) -> Claim<P, ()> {
        Claim {
            id: self.id,
            request: self.request,
            told: (),
        }
    }
}

/// What a worker is told of a request.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// The operation.
    pub(crate) op: Op,
    /// Its bytes.
    pub(crate) bytes: u32,
    /// Owners that died holding it.
    pub(crate) attempt: u32,
    /// How it was last forwarded in vain; 0: it was not.
    pub(crate) failure: u8,
    /// Nanoseconds since the block layer queued it.
    pub(crate) age: u64,
}

/// Why `take_begin` has no request for a worker now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unclaimed {
    /// There is none, or none for this one.
    Nothing,
    /// The next request needs this much room.
    TooBig(u32),
}

/// A request on its way back. Must be committed or aborted. What it asks for need not be carried
/// along, as with a [`Claim`].
#[must_use]
pub(crate) struct Finish<P, T = Facts> {
    /// Its id.
    pub(crate) id: u64,
    /// The request.
    pub(crate) request: P,
    /// What it asks for.
    pub(crate) facts: T,
}

impl<P, T> Finish<P, T> {
    /// The finish alone.
    #[inline(always)]
    pub(crate) fn bare(self) -> Finish<P, ()> {
        Finish {
            id: self.id,
            request: self.request,
            facts: (),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    /// The operation.
    pub(crate) op: Op,
    /// Its bytes.
    pub(crate) bytes: u32,
}

/// A request whose data the kernel moves. Must be committed or returned.
#[must_use]
pub(crate) struct Forward<P> {
    /// Its id.
    pub(crate) id: u64,
    /// The request.
    pub(crate) request: P,
    /// The operation.
    pub(crate) op: Op,
    /// Its bytes.
    pub(crate) bytes: u32,
}

/// Why a request was not forwarded; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unforwarded<E> {
    /// The id is not that of a taken request.
    Refused(Refusal),
    /// It may not go where the worker wants it to go.
    Unfit(E),
}

/// A request that has left the ledger, and the hands it was in if it was in any: whoever let it go
/// says [`wake_the_kept`](super::Ledger::wake_the_kept) behind the last.
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

/// Numbers for whoever asks how it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Requests nobody has taken.
    pub(crate) queued: u32,
    /// Requests a worker holds.
    pub(crate) taken: u32,
    /// Requests in the middle of a copy, or forwarded.
    pub(crate) busy: u32,
    /// Of these, forwarded.
    pub(crate) forwarding: u32,
    /// Workers whose file is open.
    pub(crate) workers: u32,
    /// Threads asleep.
    pub(crate) sleepers: u32,
    /// Longest time a request has been unclaimed.
    pub(crate) oldest_queued: u64,
    /// Longest time a request has been held.
    pub(crate) oldest_taken: u64,
}
