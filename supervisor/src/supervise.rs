// SPDX-License-Identifier: MIT
//! The event loop: one thread that waits for whatever comes next, tells the
//! machine, and does what it says. Here is no policy.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;

use crate::device::Device;
use crate::group::{Finished, Group, Health};
use crate::notify::{Inbox, Manager, Message};
use crate::policy::{Policy, Time};
use crate::process::Process;
use crate::signals::{Signals, Wish};
use crate::slots::{Found, Slots};
use crate::spawn::{self, Random, Spawned};
use crate::state::{Action, Event, State, Worker};
use crate::status;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The device's name in the log and in the runtime directory: abctl0.
    pub name: String,
    /// The worker's command line, complete.
    pub command: Vec<OsString>,
    /// How many workers.
    pub workers: usize,
    /// How they are started again, given up and stopped.
    pub policy: Policy,
}

/// The supervisor of one device.
#[derive(Debug)]
pub struct Supervisor<D> {
    plan: Plan,
    device: D,
    slots: Slots,
    group: Group,
    processes: Vec<Option<Process>>,
    inbox: Inbox,
    signals: Signals,
    manager: Manager,
    random: Random,
    begin: Instant,
    next_watchdog: Option<Time>,
    health: Option<Health>,
    /// All workers have been ready at once.
    served: bool,
    foreign: Foreign,
}

/// Messages that came from no worker, to be told of now and then.
#[derive(Debug, Default)]
struct Foreign {
    count: u64,
    told: Option<Time>,
}

impl<D: Device> Supervisor<D> {
    /// Takes over what an earlier supervisor left, and starts what is missing.
    pub fn start(plan: Plan, slots: Slots, device: D) -> anyhow::Result<Supervisor<D>> {
        let path = slots.notify_path();
        let inbox = Inbox::bind(&path)
            .with_context(|| format!("{}: cannot listen there", path.display()))?;
        let used = slots.count().context("cannot read the runtime directory")?;
        let surplus = used.saturating_sub(plan.workers);
        let group = Group::new(plan.policy.clone(), plan.workers, surplus);
        let mut supervisor = Supervisor {
            processes: group.slots().iter().map(|_| None).collect(),
            group,
            plan,
            device,
            slots,
            inbox,
            signals: Signals::install().context("cannot listen to signals")?,
            manager: Manager::from_environment().unwrap_or_else(|error| {
                log::warn!("the service manager cannot be told anything: {error}");
                Manager::default()
            }),
            random: Random::open().context("/dev/urandom: cannot open")?,
            begin: Instant::now(),
            next_watchdog: Some(Time::ZERO),
            health: None,
            served: false,
            foreign: Foreign::default(),
        };
        for slot in 0..supervisor.processes.len() {
            supervisor.occupy(slot)?;
        }
        Ok(supervisor)
    }

    /// Finds out who is in a slot, and what that means for it.
    fn occupy(&mut self, slot: usize) -> anyhow::Result<()> {
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
        match found {
            Found::Nobody => {}
            // Whoever holds the lock keeps a spawn away until it ends.
            Found::Unknown => log::warn!(
                "{}/{slot}: an unknown process holds the slot's lock, and is left alone",
                self.plan.name
            ),
            Found::Alive {
                worker,
                pidfd,
                ready,
            } => {
                self.processes[slot] = Some(Process::adopted(pidfd));
                self.tell(slot, Event::Adopt { worker, ready });
            }
            Found::Died(worker) => self.tell(slot, Event::Orphan(worker)),
        }
        // It means nothing where somebody is, or where nobody is to be.
        self.tell(slot, Event::Start);
        Ok(())
    }

    /// Runs until everything is over.
    pub fn run(mut self) -> anyhow::Result<Finished> {
        loop {
            self.show();
            if let Some(finished) = self.group.finished(self.now()) {
                self.farewell(&finished);
                return Ok(finished);
            }
            self.wait()?;
            for message in self.inbox.receive().context("the workers' socket")? {
                self.message(message);
            }
            for slot in 0..self.processes.len() {
                self.look(slot);
            }
            for wish in self.signals.wishes() {
                self.wish(wish);
            }
            let now = self.now();
            let random = &self.random;
            let due = self.group.tick(now, || random.next().unwrap_or(512));
            self.perform(due);
        }
    }

    fn farewell(&self, finished: &Finished) {
        let name = &self.plan.name;
        for worker in &finished.left {
            log::error!(
                "{name}: worker {} is left behind: SIGKILL did not end it, or its requests could \
                 not be re-offered; the next supervisor sees to it",
                worker.pid
            );
        }
        log::info!("{name}: ended with status {}", finished.status());
        log::logger().flush();
    }

    fn now(&self) -> Time {
        self.begin.elapsed()
    }

    /// Sleeps until something is there to be read, or something is due.
    fn wait(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        if let Some(interval) = self.manager.watchdog_interval() {
            if self.next_watchdog.is_none_or(|at| now >= at) {
                self.manager.alive();
                self.next_watchdog = Some(now + interval);
            }
        } else {
            self.next_watchdog = None;
        }
        let due = self.group.deadline().into_iter().chain(self.next_watchdog);
        let timeout = due.min().map_or(PollTimeout::NONE, |at| {
            // Rounded up: a wake-up that is too early would only spin.
            let left = at.saturating_sub(now) + Duration::from_micros(999);
            PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![
            PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let alive = self.processes.iter().flatten().filter_map(Process::watched);
        fds.extend(alive.map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("poll failed"),
        }
    }

    fn message(&mut self, message: Message) {
        let slot = self.group.slot_of(message.pid);
        match slot {
            Some(slot) if message.ready && self.is_spawned(slot) => {
                if let Err(error) = self.slots.ready(slot) {
                    self.record_failed(slot, &error);
                }
                self.tell(slot, Event::Ready);
            }
            Some(_) => {}
            None => {
                self.foreign.count += 1;
                let now = self.now();
                let again = Duration::from_secs(10);
                if self.foreign.told.is_none_or(|at| now >= at + again) {
                    self.foreign.told = Some(now);
                    let Foreign { count, .. } = self.foreign;
                    log::warn!(
                        "{}: process {} is no worker's main process, and its message was not \
                         believed ({count} such messages so far)",
                        self.plan.name,
                        message.pid
                    );
                }
            }
        }
    }

    fn is_spawned(&self, slot: usize) -> bool {
        let slot = self.group.slots().get(slot);
        slot.is_some_and(|slot| matches!(slot.state(), State::Spawned { .. }))
    }

    /// Sees whether the process in a slot has died.
    fn look(&mut self, slot: usize) {
        let process = self.processes.get_mut(slot).and_then(Option::as_mut);
        if let Some(exit) = process.and_then(Process::death) {
            self.tell(slot, Event::Died(exit));
        }
    }

    fn wish(&mut self, wish: Wish) {
        let name = &self.plan.name;
        match wish {
            Wish::Terminate => {
                if self.group.ending() {
                    log::warn!("{name}: told to end a second time: workers are killed");
                } else {
                    log::info!("{name}: told to end: workers finish what they have and leave");
                }
                let actions = self.group.terminate(self.now());
                self.perform(actions);
            }
            Wish::Reload => log::info!("{name}: SIGHUP: there is no configuration file to reload"),
            Wish::Restart => log::warn!(
                "{name}: SIGUSR2: a rolling restart is not there yet; end a worker with SIGTERM, \
                 and a new one takes its place"
            ),
            Wish::Status => {
                for line in status::lines(name, &self.group, self.now()) {
                    log::info!("{line}");
                }
            }
        }
    }

    fn tell(&mut self, slot: usize, event: Event) {
        let chance = self.random.next().unwrap_or(512);
        let actions = self.group.step(slot, event, self.now(), chance);
        self.perform(actions);
    }

    /// Does what the machine says, and what follows from that.
    fn perform(&mut self, actions: Vec<(usize, Action)>) {
        let mut todo = VecDeque::from(actions);
        while let Some((slot, action)) = todo.pop_front() {
            let answer = match action {
                Action::Spawn => Some(self.spawn(slot)),
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
                Action::End(_) => {
                    log::warn!(
                        "{}: there is nothing left to serve: all workers end, and so does this \
                         supervisor",
                        self.plan.name
                    );
                    None
                }
                Action::Report(report) => {
                    let level = report.level();
                    log::log!(level, "{}/{slot}: {report}", self.plan.name);
                    None
                }
            };
            if let Some(event) = answer {
                let chance = self.random.next().unwrap_or(512);
                let more = self.group.step(slot, event, self.now(), chance);
                todo.extend(more);
            }
        }
    }

    fn spawn(&mut self, slot: usize) -> Event {
        let spawned = self
            .random
            .next()
            .and_then(|token| spawn::spawn(&self.plan.command, &self.slots, slot, token.max(1)));
        match spawned {
            Ok(Spawned::Running(worker, pidfd)) => {
                self.processes[slot] = Some(Process::child(pidfd));
                if let Err(error) = self.slots.started(slot, worker.pid) {
                    self.record_failed(slot, &error);
                }
                Event::Spawned(worker)
            }
            Ok(Spawned::Blocked) => match self.slots.find(slot) {
                // Born late, of an earlier supervisor: it had not yet said who it is.
                Ok(Found::Alive {
                    worker,
                    pidfd,
                    ready,
                }) => {
                    self.processes[slot] = Some(Process::adopted(pidfd));
                    Event::Adopt { worker, ready }
                }
                _ => Event::Blocked,
            },
            Err(error) => {
                let program = self.plan.command.first().cloned().unwrap_or_default();
                Event::SpawnFailed(format!("{}: {error}", program.to_string_lossy()))
            }
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

    fn record_failed(&self, slot: usize, error: &std::io::Error) {
        log::warn!(
            "{}/{slot}: the record in the runtime directory cannot be written ({error}): \
             a later supervisor may not know this worker",
            self.plan.name
        );
    }

    /// Says what changed for the device as a whole: to the log, and to the manager.
    fn show(&mut self) {
        let health = self.group.health();
        if self.health != Some(health) {
            // Not all being ready is no news before they have been for the first time.
            self.served |= health == Health::Served;
            if self.served || matches!(health, Health::Failed | Health::Ending) {
                let level = status::level(health);
                log::log!(level, "{}", status::summary(&self.plan.name, &self.group));
            }
            if health == Health::Ending {
                self.manager.stopping();
            }
            self.health = Some(health);
        }
        if health == Health::Served {
            self.manager.ready();
        }
        self.manager
            .status(status::summary(&self.plan.name, &self.group));
    }
}
