// SPDX-License-Identifier: MIT
//! What operators want of a device: by signal, over the socket, or in the file.

use nix::poll::{poll, PollFd, PollTimeout};

use super::{events, Plan, Unit};
use crate::control::{Answer, Verb};
use crate::device::Device;
use crate::status;
use crate::take_down::{TakeDown, Taken};

impl<D: Device> Unit<D> {
    /// Answers those who ask. What is not its own business, it asks `reload`.
    pub(crate) fn answer(&mut self, has_file: bool, reload: &mut dyn FnMut() -> Answer) {
        let mut wishes = Vec::new();
        let look = self.device.look();
        let mut status = status::device(&self.group, look, &self.last_exit, self.world.now());
        status.device.clone_from(&self.plan.name);
        status.has_file = has_file;
        let ending = self.ending();
        self.control.serve(|verb| match verb {
            Verb::Status => Answer {
                status: Some(status.clone()),
                ..Answer::done()
            },
            Verb::Reload => reload(),
            Verb::Restart | Verb::Drain if ending => Answer::refused("it is ending"),
            Verb::Restart | Verb::Drain => {
                // Who asks for the status next sees it.
                status.restarting |= verb == Verb::Restart;
                wishes.push(verb);
                Answer::done()
            }
        });
        for verb in wishes {
            match verb {
                Verb::Restart => self.restart(),
                // What comes then is to wait.
                _ => self.drain(),
            }
        }
    }

    /// Whether somebody asks.
    pub(crate) fn is_asked(&self) -> bool {
        let mut fds: Vec<PollFd<'_>> = self
            .control
            .watched()
            .map(|(fd, write)| PollFd::new(fd, events(write)))
            .collect();
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// The operator changed what he wants: only what is different is touched.
    pub(crate) fn change(&mut self, plan: Plan) {
        let name = plan.name.clone();
        let before = std::mem::replace(&mut self.plan, plan);
        if before == self.plan {
            return;
        }
        let now = self.world.now();
        if before.policy != self.plan.policy {
            log::info!("{name}: the terms changed, and hold from now on");
            self.group.set_policy(self.plan.policy.clone());
            self.next_look = self.plan.policy.request_timeout.map(|_| now);
        }
        let counts = |plan: &Plan| (plan.workers, plan.standby);
        if counts(&before) != counts(&self.plan) {
            let (workers, standby) = counts(&self.plan);
            log::info!("{name}: {workers} workers and {standby} standbys from now on");
            let actions = self.group.resize(workers, standby, now);
            self.make_room();
            self.perform(actions);
        }
        // Whether a worker beats is said to it when it starts.
        let told = before.policy.heartbeat != self.plan.policy.heartbeat;
        if before.command != self.plan.command || told {
            log::info!("{name}: what its workers are started with changed");
            self.restart();
        }
    }

    /// The operator wants the end: first of the disk, if nobody uses it, as long as there are workers
    /// to flush it; then of the workers.
    pub(crate) fn terminate(&mut self) {
        if self.retiring.take().is_some() {
            // The operator has no patience: this ends it, and what follows is the second time.
            self.drain();
        } else if let Some(command) = self
            .plan
            .take_down
            .as_ref()
            .filter(|_| !self.group.ending())
        {
            match TakeDown::start(command, self.plan.policy.drain_timeout) {
                Ok(taken) => {
                    self.group.retire();
                    self.retiring = Some(taken);
                    return;
                }
                Err(error) => self.kept(&error.to_string()),
            }
        }
        self.drain();
    }

    /// The disk was taken down, or stays: now the workers.
    pub(super) fn retired(&mut self, taken: &Taken) {
        match taken {
            Taken::Down => {
                self.over = true;
                let name = &self.plan.name;
                log::info!("{name}: told to end, and nobody uses the disk: it was reset");
            }
            Taken::Refused(why) => self.kept(why),
        }
        // They may have found out by themselves.
        if !self.group.ending() {
            self.drain();
        }
    }

    fn kept(&self, why: &str) {
        log::info!("{}: told to end, and the disk stays: {why}", self.plan.name);
    }

    /// The operator wants the end of the workers.
    fn drain(&mut self) {
        let name = &self.plan.name;
        if self.group.ending() {
            log::warn!("{name}: told to end a second time: workers are killed");
        } else {
            log::info!("{name}: told to end: workers finish what they have and leave");
        }
        let actions = self.group.terminate(self.world.now());
        self.perform(actions);
    }

    /// The operator wants new workers.
    pub(crate) fn restart(&mut self) {
        log::info!("{}: rolling restart", self.plan.name);
        let actions = self.group.restart(self.world.now());
        self.perform(actions);
    }

    /// How it stands, to the log.
    pub(crate) fn log_status(&self) {
        for line in status::lines(&self.plan.name, &self.group, self.world.now()) {
            log::info!("{line}");
        }
    }
}
