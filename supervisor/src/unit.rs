// SPDX-License-Identifier: MIT
//! One device with its workers: tells its [group](crate::group) what happens, and
//! does what that says. Here is no policy.

mod deeds;
mod found;
mod wishes;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::poll::PollFlags;

use crate::control::Control;
use crate::device::{Device, Look};
use crate::group::{Finished, Group, Health};
use crate::notify::{Inbox, Message};
use crate::policy::{Policy, Time};
use crate::process::Process;
use crate::roles::{assign, Occupant};
use crate::slots::{Found, Slots};
use crate::spawn::Random;
use crate::state::{Event, Exit, Hang, State};
use crate::status;
use crate::take_down::TakeDown;
use found::occupant;

/// What to run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The device's name in the log and in the runtime directory: abctl0.
    pub name: String,
    /// The worker's command line, complete.
    pub command: Vec<OsString>,
    /// The command line that takes the disk down at the end, if that is to be tried.
    pub take_down: Option<Vec<OsString>>,
    /// How many workers.
    pub workers: usize,
    /// How many more stand by.
    pub standby: usize,
    /// How they are started again, given up and stopped.
    pub policy: Policy,
}

/// Time and chance, the same for all devices.
#[derive(Debug)]
pub struct World {
    random: Random,
    begin: Instant,
}

impl World {
    /// From now on.
    pub fn new() -> anyhow::Result<Rc<World>> {
        Ok(Rc::new(World {
            random: Random::open().context("/dev/urandom: cannot open")?,
            begin: Instant::now(),
        }))
    }

    /// Since the beginning.
    pub fn now(&self) -> Time {
        self.begin.elapsed()
    }

    fn chance(&self) -> u64 {
        self.random.next().unwrap_or(512)
    }
}

/// What to wait for.
pub(crate) fn events(write: bool) -> PollFlags {
    match write {
        true => PollFlags::POLLOUT,
        false => PollFlags::POLLIN,
    }
}

/// A device and its workers.
#[derive(Debug)]
pub struct Unit<D> {
    pub(crate) plan: Plan,
    pub(crate) device: D,
    slots: Slots,
    pub(crate) group: Group,
    processes: Vec<Option<Process>>,
    inbox: Inbox,
    control: Control,
    world: Rc<World>,
    /// What was said last: the health, and how many standbys are ready.
    shown: Option<(Health, usize)>,
    /// All workers have been ready at once.
    served: bool,
    /// When the ages of requests are looked at next.
    next_look: Option<Time>,
    /// How the last worker of each slot ended.
    pub(crate) last_exit: Vec<Option<Exit>>,
    foreign: Foreign,
    /// The disk is being taken down.
    retiring: Option<TakeDown>,
    /// There is no disk any more, and that was said.
    over: bool,
}

/// Messages that came from no worker, to be told of now and then.
#[derive(Debug, Default)]
struct Foreign {
    count: u64,
    told: Option<Time>,
}

impl<D: Device> Unit<D> {
    /// Takes over what an earlier supervisor left, and starts what is missing.
    pub fn start(plan: Plan, slots: Slots, device: D, world: Rc<World>) -> anyhow::Result<Unit<D>> {
        let path = slots.notify_path();
        let inbox = Inbox::bind(&path)
            .with_context(|| format!("{}: cannot listen there", path.display()))?;
        let path = slots.control_path();
        let control = Control::bind(&path)
            .with_context(|| format!("{}: cannot listen there", path.display()))?;
        let used = slots.count().context("cannot read the runtime directory")?;
        let mut unit = Unit {
            group: Group::new(plan.policy.clone(), &[]),
            processes: Vec::new(),
            next_look: plan.policy.request_timeout.map(|_| world.now()),
            plan,
            device,
            slots,
            inbox,
            control,
            world,
            shown: None,
            served: false,
            last_exit: Vec::new(),
            foreign: Foreign::default(),
            retiring: None,
            over: false,
        };
        let found = (0..used)
            .map(|slot| unit.find(slot))
            .collect::<anyhow::Result<Vec<Found>>>()?;
        let there: Vec<Occupant> = found.iter().map(occupant).collect();
        let roles = assign(unit.plan.workers, unit.plan.standby, &there);
        unit.group = Group::new(unit.plan.policy.clone(), &roles);
        unit.make_room();
        if unit.slots.failing().is_some() {
            unit.hold_io();
        }
        // The living first: a standby among them takes over from whoever died unwatched.
        let found = found.into_iter().enumerate();
        let (alive, rest): (Vec<_>, Vec<_>) =
            found.partition(|(_, found)| matches!(found, Found::Alive { .. }));
        for (slot, found) in alive.into_iter().chain(rest) {
            unit.occupy(slot, found);
        }
        for slot in 0..roles.len() {
            // It means nothing where somebody is, or where nobody is to be.
            unit.tell(slot, Event::Start);
        }
        Ok(unit)
    }

    /// A place for the process of every slot.
    fn make_room(&mut self) {
        let slots = self.group.slots().len();
        self.processes.resize_with(slots, || None);
        self.last_exit.resize(slots, None);
    }

    /// What to poll, and whether for writing: the workers' socket, every worker, those who ask.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let alive = self.processes.iter().flatten();
        std::iter::once(self.inbox.as_fd())
            .chain(alive.filter_map(Process::watched))
            .chain(self.retiring.iter().map(TakeDown::watched))
            .map(|fd| (fd, false))
            .chain(self.control.watched())
    }

    /// When [`Unit::turn`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.group
            .deadline()
            .into_iter()
            .chain(self.next_look)
            .min()
    }

    /// Sees what has happened, and does what follows.
    pub(crate) fn turn(&mut self) -> anyhow::Result<()> {
        for message in self.inbox.receive().context("the workers' socket")? {
            self.message(message);
        }
        for slot in 0..self.processes.len() {
            self.look(slot);
        }
        let now = self.world.now();
        if let Some(taken) = self.retiring.as_ref().and_then(TakeDown::outcome) {
            self.retiring = None;
            self.retired(&taken);
        }
        if self.next_look.is_some_and(|at| now >= at) {
            self.look_at_ages(now);
        }
        let world = Rc::clone(&self.world);
        let due = self.group.tick(now, || world.chance());
        self.perform(due);
        Ok(())
    }

    /// Whether the end was ordered.
    pub(crate) fn ending(&self) -> bool {
        self.retiring.is_some() || self.group.ending()
    }

    /// Whether everything is over; says so.
    pub(crate) fn finished(&self) -> Option<Finished> {
        if self.retiring.is_some() {
            return None;
        }
        let finished = self.group.finished(self.world.now())?;
        let name = &self.plan.name;
        for worker in &finished.left {
            log::error!(
                "{name}: worker {} is left behind: SIGKILL did not end it, or its requests could \
                 not be re-offered; the next supervisor sees to it",
                worker.pid
            );
        }
        log::info!("{name}: ended with status {}", finished.status());
        // Who asks finds nobody from now on.
        let _ = std::fs::remove_file(self.slots.control_path());
        Some(finished)
    }

    fn message(&mut self, message: Message) {
        match self.group.slot_of(message.pid) {
            Some(slot) => {
                if message.ready && self.is_spawned(slot) {
                    if let Err(error) = self.slots.ready(slot) {
                        self.record_failed(slot, &error);
                    }
                    self.tell(slot, Event::Ready);
                }
                if message.alive {
                    self.tell(slot, Event::Beat);
                }
            }
            None => {
                self.foreign.count += 1;
                let now = self.world.now();
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
            self.last_exit[slot] = Some(exit);
            self.tell(slot, Event::Died(exit));
        }
    }

    /// Finds workers that sit on requests, or let them lie.
    fn look_at_ages(&mut self, now: Time) {
        let Some(limit) = self.plan.policy.request_timeout else {
            self.next_look = None;
            return;
        };
        let pause = (limit / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        self.next_look = Some(now + pause);
        let Some(Look {
            oldest_taken,
            oldest_queued,
            ..
        }) = self.device.look()
        else {
            return;
        };
        let old = |age: Option<Duration>| age.is_some_and(|age| age > limit);
        for slot in 0..self.group.slots().len() {
            let State::Ready {
                worker,
                since,
                parked: false,
                ..
            } = *self.group.slots()[slot].state()
            else {
                continue;
            };
            // Who has not been there for so long cannot have let anything lie.
            let there = now.saturating_sub(since) > limit;
            if old(oldest_taken) && self.device.holds_longer(worker.token, limit) {
                self.tell(slot, Event::Hung(Hang::Holds));
            } else if old(oldest_queued) && there {
                self.tell(slot, Event::Hung(Hang::TakesNothing));
            }
        }
    }

    fn tell(&mut self, slot: usize, event: Event) {
        let (now, chance) = (self.world.now(), self.world.chance());
        let actions = self.group.step(slot, event, now, chance);
        self.perform(actions);
    }

    /// Says what changed for the device as a whole to the log.
    pub(crate) fn show(&mut self) -> Health {
        let health = self.group.health();
        let standbys = match health {
            // They go one by one.
            Health::Ending => 0,
            _ => self.group.standbys().1,
        };
        let shown = Some((health, standbys));
        if self.shown != shown {
            // Not all being ready is no news before they have been for the first time.
            self.served |= health == Health::Served;
            if self.served || matches!(health, Health::Failed | Health::Ending) {
                let level = status::level(health);
                let event = status::name(health);
                let summary = status::summary(&self.plan.name, &self.group);
                log::log!(level, event; "{summary}");
            }
            self.shown = shown;
        }
        health
    }
}
