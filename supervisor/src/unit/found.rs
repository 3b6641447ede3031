// SPDX-License-Identifier: MIT
//! Who was left by an earlier supervisor, and what becomes of them.

use std::time::Duration;

use anyhow::Context;

use super::Unit;
use crate::device::Device;
use crate::process::Process;
use crate::roles::Occupant;
use crate::slots::Found;
use crate::state::Event;

impl<D: Device> Unit<D> {
    /// Finds out who is in a slot.
    pub(super) fn find(&self, slot: usize) -> anyhow::Result<Found> {
        let find = || {
            let found = self.slots.find(slot);
            found.with_context(|| format!("cannot read the record of slot {slot}"))
        };
        let mut found = find()?;
        // A process that is just being born writes its pid within a moment.
        for _ in 0..50 {
            if !matches!(found, Found::Unknown) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            found = find()?;
        }
        Ok(found)
    }

    /// What it means for a slot who is in it.
    pub(super) fn occupy(&mut self, slot: usize, found: Found) {
        match found {
            Found::Nobody => {}
            // Whoever holds the lock keeps a spawn away until it ends.
            Found::Unknown => log::warn!(
                "{}/{slot}: an unknown process holds the slot's lock, and is left alone",
                self.plan.name
            ),
            Found::Alive { .. } => {
                let event = self.adopt(slot, found);
                self.tell(slot, event);
            }
            Found::Died(worker) => self.tell(slot, Event::Orphan(worker)),
        }
    }

    pub(super) fn adopt(&mut self, slot: usize, found: Found) -> Event {
        let Found::Alive {
            worker,
            pidfd,
            ready,
            parked,
            beats,
        } = found
        else {
            return Event::Blocked;
        };
        self.processes[slot] = Some(Process::adopted(pidfd));
        Event::Adopt {
            worker,
            ready,
            parked,
            beats,
        }
    }
}

pub(super) fn occupant(found: &Found) -> Occupant {
    match found {
        Found::Alive { parked: true, .. } => Occupant::Parked,
        Found::Alive { .. } => Occupant::Serving,
        Found::Nobody | Found::Died(_) | Found::Unknown => Occupant::Nobody,
    }
}
