// SPDX-License-Identifier: GPL-2.0-only

//! What may be changed of a disk that is there: whether it can be written, and its policies.

use super::{Device, Life, WATCH};
use crate::abi::{self, Reconnect, Setup};
use crate::ledger::{Policies, Requeued, Why};
use crate::shape;
use crate::sys::task;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

/// What the ledger has to know of a shape.
pub(super) fn policies(shape: &Setup) -> Policies {
    Policies {
        max_attempts: shape.max_attempts,
        fenced_backend: shape.policies & abi::P_FENCED_BACKEND != 0,
        keep_on_close: shape.policies & abi::P_KEEP_ON_CLOSE != 0,
    }
}

impl Device {
    /// Changes what `call` asks for, offers everything taken again and begins a new epoch, unless
    /// living writers kept all there was: then nothing changes. Says which epochs.
    pub(crate) fn reconnect(this: &Arc<Self>, call: &Reconnect) -> Result<(Requeued, u32, u32)> {
        let mut life = this.life.lock();
        let Life::Ready { disk, shape, .. } = &mut *life else {
            return Err(this.absence());
        };
        let changed = shape::changed(shape, call);
        let forced = call.flags & abi::RC_FORCE != 0;
        let why = if forced { Why::Forced } else { Why::Asked };
        let now = task::now();
        let done = this
            .ledger
            .lock()
            .reconnect(why, now, policies(&changed), this.onlooker(why));
        if !done.0.is_in_vain() {
            let turned = shape.features ^ changed.features;
            if turned & abi::F_READ_ONLY != 0 {
                let read_only = changed.features & abi::F_READ_ONLY != 0;
                this.read_only.store(read_only.into(), Relaxed);
                disk.set_read_only(read_only);
            }
            *shape = changed;
        }
        drop(life);
        // Whoever keeps the limits has to look at them anew; perhaps there were none.
        this.settled.notify_all();
        this.keep_limits(&changed);
        this.after_requeue(&done.0);
        Ok(done)
    }

    /// Has the time limits of a disk kept, if it has any.
    pub(super) fn keep_limits(self: &Arc<Self>, shape: &Setup) {
        if shape.lease_ns > 0 || shape.no_server_ns > 0 {
            let _ = self
                .work
                .queue()
                .enqueue::<Arc<Device>, WATCH>(self.clone());
        }
    }
}
