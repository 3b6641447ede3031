// SPDX-License-Identifier: MIT
//! The event loop: one thread that waits for whatever comes next, and has each
//! [unit](crate::unit) see to its own. Here is no policy.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::config::{self, Wanted};
use crate::control::Answer;
use crate::exit::{Failure, OK};
use crate::group::Health;
use crate::notify::Manager;
use crate::policy::Time;
use crate::signals::{Signals, Wish};
use crate::source::{self, Opened, Source};
use crate::status;
use crate::unit::{events, Unit, World};

/// The supervisor of some devices.
#[derive(Debug)]
pub struct Supervisor<S: Source> {
    source: S,
    /// The configuration file, if there is one.
    file: Option<PathBuf>,
    units: Vec<(Wanted, Unit<S::Device>)>,
    signals: Signals,
    manager: Manager,
    world: Rc<World>,
    next_watchdog: Option<Time>,
    /// STOPPING=1 was said.
    stopping: bool,
    /// The exit status of the worst that has ended.
    status: u8,
}

impl<S: Source> Supervisor<S> {
    /// Takes over what an earlier supervisor left of these devices, and starts what is missing.
    pub fn start(
        source: S,
        opened: Vec<Opened<S::Device>>,
        file: Option<PathBuf>,
    ) -> Result<Supervisor<S>, Failure> {
        let mut supervisor = Supervisor {
            source,
            file,
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
        };
        // All devices before the first worker.
        for opened in &opened {
            supervisor.source.set_up(&opened.wanted, &opened.device)?;
        }
        for opened in opened {
            supervisor.begin(opened)?;
        }
        Ok(supervisor)
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
            for (_, unit) in &mut self.units {
                unit.turn()?;
            }
            self.answer();
            for wish in self.signals.wishes() {
                self.wish(wish);
            }
        }
    }

    /// Takes leave of devices whose end is over.
    fn bury(&mut self) {
        let status = &mut self.status;
        self.units.retain(|(_, unit)| match unit.finished() {
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
        let units = self.units.iter().filter_map(|(_, unit)| unit.deadline());
        let timeout = units.chain(self.next_watchdog).min();
        let timeout = timeout.map_or(PollTimeout::NONE, |at| {
            // Rounded up: a wake-up that is too early would only spin.
            let left = at.saturating_sub(now) + Duration::from_micros(999);
            PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let watched = self.units.iter().flat_map(|(_, unit)| unit.watched());
        fds.extend(watched.map(|(fd, write)| PollFd::new(fd, events(write))));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("poll failed"),
        }
    }

    /// Answers those who ask.
    fn answer(&mut self) {
        let mut reload = false;
        let has_file = self.file.is_some();
        let file = self.file.clone();
        for (_, unit) in self.units.iter_mut().filter(|(_, unit)| unit.is_asked()) {
            unit.answer(has_file, &mut || match file.as_deref().map(config::read) {
                None => Answer::refused("there is no configuration file to reload"),
                Some(Err(failure)) => Answer::refused(failure.error.to_string()),
                Some(Ok(_)) => {
                    reload = true;
                    Answer::done()
                }
            });
        }
        if reload {
            self.reload();
        }
    }

    fn wish(&mut self, wish: Wish) {
        let units = self.units.iter_mut().map(|(_, unit)| unit);
        match wish {
            Wish::Terminate => units.for_each(Unit::terminate),
            Wish::Reload => self.reload(),
            Wish::Restart => units.for_each(Unit::restart),
            Wish::Status => units.for_each(|unit| unit.log_status()),
        }
    }

    /// Reads the configuration file again. What is wrong with it changes nothing.
    fn reload(&mut self) {
        let Some(file) = &self.file else {
            log::info!("there is no configuration file to reload");
            return;
        };
        let was_ready = self.manager.is_ready();
        self.manager.reloading();
        match config::read(file) {
            Ok(wanted) => self.change(wanted),
            Err(failure) => log::error!("nothing is changed: {}", failure.error),
        }
        if was_ready {
            self.manager.ready();
        }
    }

    /// What is the same goes on; what is new starts; what is gone ends.
    fn change(&mut self, wanted: Vec<Wanted>) {
        for (old, unit) in &mut self.units {
            if !wanted.iter().any(|new| new.device == old.device) && !unit.ending() {
                unit.terminate();
            }
        }
        for new in wanted {
            let known = self
                .units
                .iter_mut()
                .find(|(old, _)| old.device == new.device);
            let Some((old, unit)) = known else {
                if let Err(failure) = self.open(new) {
                    log::error!("{:#}", failure.error);
                }
                continue;
            };
            if *old == new || unit.ending() {
                continue;
            }
            let name = unit.plan.name.clone();
            match source::plan(&self.source, &new, name, &unit.device) {
                Ok(plan) => unit.change(plan),
                Err(failure) => log::error!("{:#}", failure.error),
            }
            *old = new;
        }
    }

    fn open(&mut self, wanted: Wanted) -> Result<(), Failure> {
        for opened in source::open(&self.source, vec![wanted])? {
            self.source.set_up(&opened.wanted, &opened.device)?;
            self.begin(opened)?;
        }
        Ok(())
    }

    fn begin(&mut self, opened: Opened<S::Device>) -> Result<(), Failure> {
        let Opened {
            wanted,
            name,
            slots,
            device,
        } = opened;
        let plan = source::plan(&self.source, &wanted, name, &device)?;
        let unit = Unit::start(plan, slots, device, Rc::clone(&self.world))?;
        self.units.push((wanted, unit));
        Ok(())
    }

    /// Says what changed, to the log and to the manager.
    fn show(&mut self) {
        let units = self.units.iter_mut();
        let health: Vec<Health> = units.map(|(_, unit)| unit.show()).collect();
        if health.iter().all(|health| *health == Health::Ending) && !self.stopping {
            self.manager.stopping();
            self.stopping = true;
        }
        if !health.is_empty() && health.iter().all(|health| *health == Health::Served) {
            self.manager.ready();
        }
        let units = self.units.iter();
        let summaries = units.map(|(_, unit)| status::summary(&unit.plan.name, &unit.group));
        let summary = summaries.collect::<Vec<_>>().join("; ");
        if !summary.is_empty() {
            self.manager.status(summary);
        }
    }
}
