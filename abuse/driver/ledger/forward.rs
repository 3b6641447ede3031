// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Forwarding: a worker decides where the data of a request go, and the kernel moves them.

use super::words::{Ended, Finish, Forward, Op, Refusal, Unforwarded, Wake};
use super::{tag_of, Ledger, Process, State, TAG_BITS};

impl<P, Q: Process> Ledger<P, Q> {
    /// A worker says where the data of a taken request are, and `may` that they may be there. From
    /// now on the request is in nobody's hands: neither a death nor an operator brings it back, and
    /// it counts against nobody.
    #[inline(always)]
    pub(crate) fn forward_begin<E>(
        &mut self,
        id: u64,
        may: impl FnOnce(Op, u32, &P) -> Result<(), E>,
    ) -> Result<(Forward<P>, Wake), Unforwarded<E>> {
        let index = tag_of(id);
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(Unforwarded::Refused(self.refuse(id, self.floor)));
        };
        if slot.id != id || slot.state != State::Taken {
            let stale = matches!(slot.state, State::Finishing | State::Forwarding);
            let (last, current) = (slot.id >> TAG_BITS, slot.id == id);
            return Err(Unforwarded::Refused(match !current || stale {
                true => self.refuse(id, last),
                false => Refusal::Unknown,
            }));
        }
        let Some(request) = slot.request.take() else {
            return Err(Unforwarded::Refused(Refusal::Unknown));
        };
        let (op, bytes) = (slot.op, slot.bytes);
        if let Err(unfit) = may(op, bytes, &request) {
            slot.request = Some(request);
            return Err(Unforwarded::Unfit(unfit));
        }
        slot.state = State::Forwarding;
        self.busy = self.busy.wrapping_add(1);
        self.forwarding = self.forwarding.wrapping_add(1);
        self.release(index);
        let forward = Forward {
            id,
            request,
            op,
            bytes,
        };
        Ok((forward, self.wake_the_kept()))
    }

    /// The data have been moved, or not: the request ends so.
    #[inline(always)]
    pub(crate) fn forward_commit(&mut self, forward: Forward<P>, well: bool, now: u64) -> Ended<P> {
        self.forwarding = self.forwarding.wrapping_sub(1);
        let finish = Finish {
            id: forward.id,
            request: forward.request,
            facts: (),
        };
        self.finish_commit(finish, well, now)
    }

    /// The data have not been moved, and somebody is to decide what becomes of the request: it is
    /// offered again in its old place, with a new id and what `failure` says. Nothing can move its
    /// data late: that I/O is over.
    pub(crate) fn forward_return(
        &mut self,
        forward: Forward<P>,
        failure: u8,
        now: u64,
    ) -> Result<Wake, Ended<P>> {
        self.busy = self.busy.wrapping_sub(1);
        self.forwarding = self.forwarding.wrapping_sub(1);
        let index = tag_of(forward.id);
        let doomed = self.is_doomed(index);
        let Some(slot) = self.slots.get_mut(index as usize).filter(|_| !doomed) else {
            return Err(self.end_doomed(forward.id, forward.request));
        };
        slot.renew();
        slot.since = now;
        slot.past.failure = failure;
        slot.request = Some(forward.request);
        self.insert(index);
        self.count(forward.op, |counts| counts.requeued += 1);
        Ok(self.wake())
    }
}
