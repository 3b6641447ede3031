// SPDX-License-Identifier: MIT
//! What the [machine](crate::machine) orders, done to processes, records and the
//! device.

use std::collections::VecDeque;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Unit;
use crate::device::{Device, Refusal};
use crate::process::Process;
use crate::slots::New;
use crate::spawn::{self, Spawned};
use crate::state::{Action, Ending, Event, Worker};

/// Requests that are unclaimed for so long fail, when they are to fail.
const FAIL_AFTER: Duration = Duration::from_millis(100);

impl<D: Device> Unit<D> {
    /// Does what the machine says, and what follows from that.
    pub(super) fn perform(&mut self, actions: Vec<(usize, Action)>) {
        let mut todo = VecDeque::from(actions);
        while let Some((slot, action)) = todo.pop_front() {
            let answer = match action {
                Action::Spawn { parked } => Some(self.spawn(slot, parked)),
                Action::Promote(worker) => {
                    self.promote(slot, worker);
                    None
                }
                Action::Requeue(worker) => Some(Event::Answer(self.device.requeue(worker.token))),
                Action::Terminate(worker) => self.signal(slot, worker, Signal::SIGTERM),
                Action::Kill(worker) => self.signal(slot, worker, Signal::SIGKILL),
                Action::Reap(_) => self.reap(slot),
                Action::Forget => {
                    if let Err(error) = self.slots.forget(slot) {
                        self.record_failed(slot, &error);
                    }
                    None
                }
                Action::FailIo => {
                    todo.extend(self.fail_io());
                    None
                }
                Action::HoldIo => {
                    self.hold_io();
                    None
                }
                Action::End(_) => {
                    // Each worker finds out by itself; and who takes the disk down knows why.
                    if self.retiring.is_none() && !self.over {
                        let name = &self.plan.name;
                        log::warn!("{name}: there is nothing left to serve: all its workers end");
                    }
                    self.over = true;
                    None
                }
                Action::Report(report) => {
                    let (level, event) = (report.level(), report.event());
                    let worker = report.worker().map_or(0, |worker| worker.pid);
                    let name = &self.plan.name;
                    log::log!(level, event, worker; "{name}/{slot}: {report}");
                    None
                }
            };
            if let Some(event) = answer {
                let (now, chance) = (self.world.now(), self.world.chance());
                let more = self.group.step(slot, event, now, chance);
                todo.extend(more);
            }
        }
    }

    fn spawn(&mut self, slot: usize, parked: bool) -> Event {
        let heartbeat = self.plan.policy.heartbeat;
        let spawned = self.world.random.next().and_then(|token| {
            let new = New {
                token: token.max(1),
                parked,
                beats: heartbeat.is_some(),
            };
            spawn::spawn(&self.plan.command, &self.slots, slot, new, heartbeat)
        });
        match spawned {
            Ok(Spawned::Running(worker, pidfd)) => {
                self.processes[slot] = Some(Process::child(pidfd));
                if let Err(error) = self.slots.started(slot, worker.pid) {
                    self.record_failed(slot, &error);
                }
                Event::Spawned(worker)
            }
            // Perhaps born late, of an earlier supervisor: it had not yet said who it is.
            Ok(Spawned::Blocked) => match self.slots.find(slot) {
                Ok(found) => self.adopt(slot, found),
                Err(_) => Event::Blocked,
            },
            Err(error) => {
                let program = self.plan.command.first().cloned().unwrap_or_default();
                Event::SpawnFailed(format!("{}: {error}", program.to_string_lossy()))
            }
        }
    }

    fn promote(&self, slot: usize, worker: Worker) {
        if let Err(error) = self.slots.promote(slot) {
            log::error!(
                "{}/{slot}: standby {} cannot be promoted: {error}; its heartbeat or the age of \
                 requests will tell, if they are watched",
                self.plan.name,
                worker.pid
            );
        }
    }

    fn signal(&self, slot: usize, worker: Worker, signal: Signal) -> Option<Event> {
        if let Some(Some(process)) = self.processes.get(slot) {
            if let Err(error) = process.signal(signal) {
                log::error!(
                    "{}/{slot}: worker {} cannot be sent {signal}: {error}",
                    self.plan.name,
                    worker.pid
                );
            }
        }
        None
    }

    fn reap(&mut self, slot: usize) -> Option<Event> {
        if let Some(process) = self.processes.get_mut(slot).and_then(Option::take) {
            process.reap();
        }
        None
    }

    /// Nobody will serve this device: its I/O fails.
    fn fail_io(&mut self) -> Vec<(usize, Action)> {
        let name = self.plan.name.clone();
        let before = self.device.look().and_then(|look| look.fail_unclaimed);
        if let Err(error) = self.slots.note_failing(before) {
            log::warn!(
                "{name}: a later supervisor will not know that I/O was made to fail: {error}"
            );
        }
        match self.device.fail_unclaimed(Some(FAIL_AFTER)) {
            Ok(()) => log::error!(
                "{name}: nobody serves it, and the operator wants I/O to fail then: requests \
                 fail from now on, until its workers are restarted"
            ),
            Err(Refusal::WriterLives) => {
                log::error!(
                    "{name}: a worker that is stuck holds writes, so that only a reset ends them: \
                     the disk is reset, and everything pending on it fails"
                );
                if let Err(error) = self.device.reset() {
                    log::error!("{name}: the reset failed: {error}");
                }
                return self.group.finish(Ending::Reset, self.world.now());
            }
            Err(Refusal::Other(error)) => {
                log::error!("{name}: I/O cannot be made to fail: {error}; it waits");
            }
        }
        Vec::new()
    }

    /// I/O waits again, as it did before it was made to fail.
    pub(super) fn hold_io(&self) {
        let name = &self.plan.name;
        let Some(before) = self.slots.failing() else {
            return;
        };
        match self.device.fail_unclaimed(before) {
            Ok(()) => log::info!("{name}: requests wait again for workers"),
            Err(why) => log::warn!("{name}: requests that wait still fail: {why:?}"),
        }
        if let Err(error) = self.slots.forget_failing() {
            log::warn!("{name}: {error}");
        }
    }

    pub(super) fn record_failed(&self, slot: usize, error: &std::io::Error) {
        log::warn!(
            "{}/{slot}: the record in the runtime directory cannot be written ({error}): \
             a later supervisor may not know this worker",
            self.plan.name
        );
    }
}
