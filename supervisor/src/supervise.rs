// SPDX-License-Identifier: MIT
//! The event loop: one thread that waits for whatever comes next, and has each
//! [unit](crate::unit) see to its own. Here is no policy.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::device::Device;
use crate::exit::OK;
use crate::group::Health;
use crate::notify::Manager;
use crate::policy::Time;
use crate::signals::{Signals, Wish};
use crate::slots::Slots;
use crate::status;
use crate::unit::{Plan, Unit, World};

/// The supervisor of some devices.
#[derive(Debug)]
pub struct Supervisor<D> {
    units: Vec<Unit<D>>,
    signals: Signals,
    manager: Manager,
    world: Rc<World>,
    next_watchdog: Option<Time>,
    /// STOPPING=1 was said.
    stopping: bool,
    /// The exit status of the worst that has ended.
    status: u8,
}

impl<D: Device> Supervisor<D> {
    /// Without a device.
    pub fn new() -> anyhow::Result<Supervisor<D>> {
        Ok(Supervisor {
            units: Vec::new(),
            signals: Signals::install().context("cannot listen to signals")?,
            manager: Manager::from_environment().unwrap_or_else(|error| {
                log::warn!("the service manager cannot be told anything: {error}");
                Manager::default()
            }),
            world: World::new()?,
            next_watchdog: Some(Time::ZERO),
            stopping: false,
            status: OK,
        })
    }

    /// One more device: takes over what an earlier supervisor left, and starts what is missing.
    pub fn add(&mut self, plan: Plan, slots: Slots, device: D) -> anyhow::Result<()> {
        let unit = Unit::start(plan, slots, device, Rc::clone(&self.world))?;
        self.units.push(unit);
        Ok(())
    }

    /// Runs until everything is over; the exit status.
    pub fn run(mut self) -> anyhow::Result<u8> {
        loop {
            self.show();
            self.bury();
            if self.units.is_empty() {
                log::logger().flush();
                return Ok(self.status);
            }
            self.wait()?;
            for unit in &mut self.units {
                unit.turn()?;
            }
            for wish in self.signals.wishes() {
                self.wish(wish);
            }
        }
    }

    /// Takes leave of devices whose end is over.
    fn bury(&mut self) {
        let status = &mut self.status;
        self.units.retain(|unit| match unit.finished() {
            Some(finished) => {
                *status = (*status).max(finished.status());
                false
            }
            None => true,
        });
    }

    /// Sleeps until something is there to be read, or something is due.
    fn wait(&mut self) -> anyhow::Result<()> {
        let now = self.world.now();
        if let Some(interval) = self.manager.watchdog_interval() {
            if self.next_watchdog.is_none_or(|at| now >= at) {
                self.manager.alive();
                self.next_watchdog = Some(now + interval);
            }
        } else {
            self.next_watchdog = None;
        }
        let units = self.units.iter().filter_map(Unit::deadline);
        let timeout = units.chain(self.next_watchdog).min();
        let timeout = timeout.map_or(PollTimeout::NONE, |at| {
            // Rounded up: a wake-up that is too early would only spin.
            let left = at.saturating_sub(now) + Duration::from_micros(999);
            PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let watched = self.units.iter().flat_map(Unit::watched);
        fds.extend(watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("poll failed"),
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Terminate => self.units.iter_mut().for_each(Unit::terminate),
            Wish::Reload => log::info!("SIGHUP: there is no configuration file to reload"),
            Wish::Restart => self.units.iter_mut().for_each(Unit::restart),
            Wish::Status => self.units.iter().for_each(Unit::log_status),
        }
    }

    /// Says what changed, to the log and to the manager.
    fn show(&mut self) {
        let health: Vec<Health> = self.units.iter_mut().map(Unit::show).collect();
        if health.iter().all(|health| *health == Health::Ending) && !self.stopping {
            self.manager.stopping();
            self.stopping = true;
        }
        if !health.is_empty() && health.iter().all(|health| *health == Health::Served) {
            self.manager.ready();
        }
        let units = self.units.iter();
        let summaries = units.map(|unit| status::summary(&unit.plan.name, &unit.group));
        let summary = summaries.collect::<Vec<_>>().join("; ");
        if !summary.is_empty() {
            self.manager.status(summary);
        }
    }
}
