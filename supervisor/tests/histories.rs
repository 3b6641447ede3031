// SPDX-License-Identifier: MIT
//! Random histories against the state machine, in a world without processes.
//!
//! The world does what the event loop would do, and watches that no history leads to two
//! generations of writers in a slot, to a respawn storm, or to anything forgotten.

use std::collections::HashMap;
use std::time::Duration;

use abuse_supervisor::group::Group;
use abuse_supervisor::policy::{GiveUp, Policy, Time, Verdict};
use abuse_supervisor::roles::{assign, Occupant};
use abuse_supervisor::state::{Action, Answer, Event, Exit, Hang, Role, State, Worker};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// Active slots; one standby and a spare slot come on top.
const WANTED: usize = 2;

fn policy(give_up: Option<GiveUp>) -> Policy {
    Policy {
        back_off_min: 20 * MS,
        back_off_max: 500 * MS,
        stable_after: 100 * MS,
        give_up,
        drain_timeout: 300 * MS,
        kill_patience: 200 * MS,
        start_timeout: 400 * MS,
        heartbeat: None,
        request_timeout: None,
        fence_after: 100 * MS,
        verdict: Verdict::FailAfter(50 * MS),
    }
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Die(usize, Exit),
    Ready(usize),
    Beat(usize),
    Hang(usize, Hang),
    Restart,
    Retire,
    Resize(usize, usize),
    Terminate,
    /// Events that make no sense now: the machine must bear them.
    Late(usize, Event),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0..4usize;
    let exit = prop_oneof![
        8 => Just(Exit::Signal(9)),
        4 => Just(Exit::Code(1)),
        2 => Just(Exit::Code(0)),
        1 => Just(Exit::Code(2)),
        1 => Just(Exit::Code(3)),
        1 => Just(Exit::Code(4)),
        1 => Just(Exit::Unknown),
    ];
    let late = prop_oneof![
        Just(Event::Tick),
        Just(Event::Ready),
        Just(Event::Start),
        Just(Event::Blocked),
        Just(Event::SpawnFailed("late".into())),
    ];
    let hang = prop_oneof![Just(Hang::Holds), Just(Hang::TakesNothing)];
    let step = prop_oneof![
        8 => (1..200u64).prop_map(Step::Wait),
        10 => (slot.clone(), exit).prop_map(|(slot, exit)| Step::Die(slot, exit)),
        14 => slot.clone().prop_map(Step::Ready),
        6 => slot.clone().prop_map(Step::Beat),
        3 => (slot.clone(), hang).prop_map(|(slot, hang)| Step::Hang(slot, hang)),
        2 => Just(Step::Restart),
        1 => Just(Step::Retire),
        1 => (1..4usize, 0..3usize).prop_map(|(active, standby)| Step::Resize(active, standby)),
        1 => Just(Step::Terminate),
        3 => (slot, late).prop_map(|(slot, event)| Step::Late(slot, event)),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Debug, Default)]
struct Place {
    alive: Option<Worker>,
    /// Since when the living one has been ready, and in the state it is in now.
    ready: Option<Time>,
    /// It waits to be promoted.
    parked: bool,
    /// An earlier supervisor's, so that its readiness may be assumed.
    adopted: bool,
    /// Told to leave, killed.
    told: bool,
    killed: bool,
    /// It was found to hang while it served: until it is dead, and its token back, it may write.
    hung: bool,
    /// It died while it served, and this is its token.
    owing: Option<u64>,
    /// The last spawn or failed spawn, and whether a start at once is due to a stable one.
    last_try: Option<Time>,
    was_stable: bool,
}

#[derive(Debug, Default)]
struct Token {
    dead: bool,
    given_back: u32,
    reaped: u32,
}

struct World {
    group: Group,
    policy: Policy,
    now: Time,
    places: Vec<Place>,
    tokens: HashMap<u64, Token>,
    next: u64,
    /// Consumed as answers to spawns and requeues.
    dice: Vec<u8>,
    rolled: usize,
    ended: bool,
    /// Active slots there are to be.
    wanted: usize,
    /// Spawns that an operator's restart excuses.
    excused: usize,
    io_fails: bool,
}

impl World {
    fn new(policy: Policy, dice: Vec<u8>, there: &[Occupant]) -> World {
        World {
            group: Group::new(policy.clone(), &assign(WANTED, 1, there)),
            policy,
            now: Time::ZERO,
            places: (0..4).map(|_| Place::default()).collect(),
            tokens: HashMap::new(),
            next: 1,
            dice,
            rolled: 0,
            ended: false,
            wanted: WANTED,
            excused: 0,
            io_fails: false,
        }
    }

    fn roll(&mut self) -> u8 {
        self.rolled += 1;
        self.dice[self.rolled % self.dice.len()]
    }

    fn worker(&mut self) -> Worker {
        let token = self.next;
        self.next += 1;
        self.tokens.insert(token, Token::default());
        // Process ids come back soon, tokens never.
        let pid = 100 + (token % 7) as u32;
        Worker { pid, token }
    }

    fn step(&mut self, slot: usize, event: Event) {
        let chance = u64::from(self.roll()) * 4;
        let actions = self.group.step(slot, event, self.now, chance);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<(usize, Action)>) {
        let mut todo = std::collections::VecDeque::from(actions);
        while let Some((slot, action)) = todo.pop_front() {
            if let Some(event) = self.act(slot, action) {
                let chance = u64::from(self.roll()) * 4;
                todo.extend(self.group.step(slot, event, self.now, chance));
            }
        }
    }

    fn act(&mut self, slot: usize, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { parked } => return Some(self.spawn(slot, parked)),
            Action::Requeue(worker) => return Some(Event::Answer(self.requeue(worker))),
            Action::Reap(worker) => {
                let token = self.tokens.get_mut(&worker.token).unwrap();
                assert!(token.dead, "reaped alive");
                token.reaped += 1;
                assert_eq!(token.reaped, 1, "reaped twice");
            }
            Action::Terminate(worker) => {
                assert_eq!(self.places[slot].alive, Some(worker));
                self.tell_off(slot);
                let suspect = matches!(self.group.slots()[slot].state(), State::Suspect { .. });
                let place = &mut self.places[slot];
                place.hung |= suspect && !place.parked;
            }
            Action::Kill(worker) => {
                assert_eq!(self.places[slot].alive, Some(worker));
                self.tell_off(slot);
                self.places[slot].killed = true;
            }
            Action::Promote(worker) => {
                let place = &mut self.places[slot];
                assert_eq!(place.alive, Some(worker), "promoted the dead");
                let ready = place.ready.is_some() || place.adopted;
                assert!(place.parked && ready && !place.told);
                place.parked = false;
                place.ready = Some(self.now);
            }
            Action::FailIo => {
                assert!(!self.io_fails && !self.ended);
                let serving = self.places.iter().filter(|place| place.serves());
                assert_eq!(serving.count(), 0, "I/O fails although somebody serves");
                self.io_fails = true;
            }
            Action::HoldIo => {
                assert!(self.io_fails);
                self.io_fails = false;
            }
            Action::Forget => assert!(self.places[slot].alive.is_none(), "forgot the living"),
            Action::End(_) => self.ended = true,
            Action::Report(_) => {}
        }
        None
    }

    /// A worker is told to leave: from now on it gets no healthier.
    fn tell_off(&mut self, slot: usize) {
        let place = &mut self.places[slot];
        if !place.told {
            let ready_for = place.ready.map(|since| self.now - since);
            place.was_stable = ready_for.is_some_and(|time| time >= self.policy.stable_after);
        }
        place.told = true;
    }

    fn spawn(&mut self, slot: usize, parked: bool) -> Event {
        let place = &self.places[slot];
        assert!(place.alive.is_none(), "two generations in slot {slot}");
        let role = self.group.slots()[slot].role();
        assert_eq!(parked, role != Role::Active);
        if let Some(last) = place.last_try {
            let pause = self.now - last;
            if pause < self.policy.back_off_min && !place.was_stable {
                let left = self.excused.checked_sub(1);
                self.excused = left.unwrap_or_else(|| panic!("a storm in slot {slot}: {pause:?}"));
            }
        }
        let kind = self.roll();
        let worker = self.worker();
        let place = &mut self.places[slot];
        *place = Place {
            last_try: Some(self.now),
            parked,
            ..Place::default()
        };
        match kind % 8 {
            0 => Event::SpawnFailed("no".into()),
            1 => Event::Blocked,
            2 => {
                place.alive = Some(worker);
                place.ready = Some(self.now);
                Event::Adopt {
                    worker,
                    ready: true,
                    parked,
                    beats: true,
                }
            }
            _ => {
                place.alive = Some(worker);
                Event::Spawned(worker)
            }
        }
    }

    fn requeue(&mut self, worker: Worker) -> Answer {
        let kind = self.roll();
        let token = self.tokens.get_mut(&worker.token).unwrap();
        assert!(token.dead, "requeued the living: {worker:?}");
        assert_eq!(token.given_back, 0, "requeued again: {worker:?}");
        match kind % 16 {
            0..=2 => return Answer::Busy { requeued: 1 },
            3 => return Answer::Failed("no".into()),
            _ => token.given_back += 1,
        }
        match kind {
            250 => Answer::NotSetUp,
            251 => Answer::Gone,
            _ => Answer::Done { requeued: 2 },
        }
    }

    fn die(&mut self, slot: usize, exit: Exit) {
        let Some(worker) = self.places[slot].alive.take() else {
            return;
        };
        let place = &mut self.places[slot];
        let drained = place.told && !place.hung;
        if !place.parked && !drained {
            place.owing = Some(worker.token);
        }
        place.hung = false;
        self.tell_off(slot);
        self.tokens.get_mut(&worker.token).unwrap().dead = true;
        self.step(slot, Event::Died(exit));
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.group.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let dice = self.roll();
            let due = self.group.tick(self.now, || u64::from(dice) * 4);
            self.perform(due);
            if self.group.finished(self.now).is_some() {
                break;
            }
        }
        self.now = self.now.max(until);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait(ms) => self.wait(ms as u32 * MS),
            Step::Die(slot, exit) => self.die(slot, exit),
            Step::Ready(slot) => {
                let place = &mut self.places[slot];
                if place.alive.is_some() && place.ready.is_none() && !place.told {
                    place.ready = Some(self.now);
                    self.step(slot, Event::Ready);
                }
            }
            Step::Beat(slot) => {
                if self.places[slot].alive.is_some() {
                    self.step(slot, Event::Beat);
                }
            }
            Step::Hang(slot, hang) => self.step(slot, Event::Hung(hang)),
            Step::Restart => {
                self.excused += self.places.len() + 1;
                let actions = self.group.restart(self.now);
                self.perform(actions);
            }
            Step::Resize(active, standby) if !self.ended => {
                self.wanted = active;
                self.excused += active + standby;
                let actions = self.group.resize(active, standby, self.now);
                let slots = self.group.slots().len();
                self.places.resize_with(slots, Place::default);
                // Who is not wanted any more is in nobody's place.
                for (slot, place) in self.group.slots().iter().zip(&mut self.places) {
                    if slot.role() == Role::Spare {
                        (place.hung, place.owing) = (false, None);
                    }
                }
                self.perform(actions);
            }
            Step::Resize(..) => {}
            // The disk is reset when its workers next end of it, if at all.
            Step::Retire => self.group.retire(),
            Step::Terminate => {
                self.ended = true;
                let actions = self.group.terminate(self.now);
                self.perform(actions);
            }
            Step::Late(slot, event) => {
                // Only where it is late: what is due at once the world says itself.
                let state = self.group.slots()[slot].state().clone();
                let fits = matches!(
                    (&state, &event),
                    (State::Off, Event::Start) | (State::Spawned { .. }, Event::Ready)
                );
                if !fits {
                    self.step(slot, event);
                }
            }
        }
    }

    /// What must hold between any two steps.
    fn check(&self) {
        for (slot, place) in self.group.slots().iter().zip(&self.places) {
            assert_eq!(
                slot.alive(),
                place.alive,
                "the machine and the world differ"
            );
        }
        let owed: Vec<u64> = self
            .group
            .slots()
            .iter()
            .filter_map(|s| s.owes())
            .map(|w| w.token)
            .collect();
        for (number, token) in &self.tokens {
            if token.dead && token.given_back == 0 {
                assert!(owed.contains(number), "token {number} is forgotten");
            }
        }
        assert_eq!(self.ended, self.group.ending(), "somebody missed the end");
        // Nobody waits for a clock that has stopped.
        for slot in self.group.slots() {
            let waits = !matches!(
                slot.state(),
                State::Off | State::GaveUp(_) | State::Ready { .. } | State::Wedged(_)
            );
            assert!(!waits || slot.deadline(&self.policy).is_some());
            assert_ne!(*slot.state(), State::Starting);
        }
        if !self.ended {
            self.check_roles();
        }
    }

    /// As many writers as are wanted and no more, nobody in the place of one that may still write,
    /// and nobody idle while a place is empty.
    fn check_roles(&self) {
        let slots = self.group.slots();
        let active = || slots.iter().filter(|slot| slot.role() == Role::Active);
        assert_eq!(active().count(), self.wanted);
        let may_write = |place: &&Place| {
            let owes = |token| self.tokens[&token].given_back == 0;
            place.serves() || place.hung || place.owing.is_some_and(owes)
        };
        let writers = self.places.iter().filter(may_write).count();
        assert!(writers <= self.wanted, "too many writers");
        let empty =
            active().any(|slot| matches!(slot.state(), State::Backoff { .. } | State::GaveUp(_)));
        let idle = slots
            .iter()
            .any(|slot| slot.is_parked() && slot.role() == Role::Standby);
        assert!(!(empty && idle), "a standby is not used");
        let wanted = slots.iter().filter(|slot| slot.role() != Role::Spare);
        for slot in wanted {
            assert_ne!(*slot.state(), State::Off, "nobody watches a slot");
        }
    }
}

impl Place {
    /// Its worker writes, and is to go on.
    fn serves(&self) -> bool {
        self.alive.is_some() && !self.parked && !self.told
    }
}

/// What an earlier supervisor left in a slot.
fn occupant(survivor: u8) -> Occupant {
    match survivor % 8 {
        0 | 1 => Occupant::Serving,
        2 | 3 => Occupant::Parked,
        _ => Occupant::Nobody,
    }
}

fn begin(policy: Policy, dice: Vec<u8>, survivors: &[u8; 4]) -> World {
    let there = survivors.map(occupant);
    let mut world = World::new(policy, dice, &there);
    let slots = world.group.slots().len();
    world.places.resize_with(slots, Place::default);
    for (slot, survivor) in survivors.iter().enumerate() {
        match there[slot] {
            Occupant::Nobody if survivor % 8 == 4 => {
                let worker = world.worker();
                world.tokens.get_mut(&worker.token).unwrap().dead = true;
                world.step(slot, Event::Orphan(worker));
            }
            Occupant::Nobody => {}
            who => {
                let worker = world.worker();
                let place = &mut world.places[slot];
                place.alive = Some(worker);
                place.parked = who == Occupant::Parked;
                place.adopted = true;
                let ready = *survivor >= 128;
                place.ready = ready.then_some(Time::ZERO);
                let event = Event::Adopt {
                    worker,
                    ready,
                    parked: place.parked,
                    beats: *survivor >= 192,
                };
                world.step(slot, event);
            }
        }
    }
    for slot in 0..slots {
        world.step(slot, Event::Start);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_history_leads_to_two_writers_a_storm_or_anything_forgotten(
        steps in steps(),
        dice in prop::collection::vec(any::<u8>(), 64),
        survivors in any::<[u8; 4]>(),
        intensity in prop::option::of(0..6u32),
        heartbeat in prop::option::of(50..300u32),
    ) {
        let give_up = intensity.map(|intensity| GiveUp { intensity, period: 1000 * MS });
        let mut policy = policy(give_up);
        policy.heartbeat = heartbeat.map(|ms| ms * MS);
        let mut world = begin(policy, dice, &survivors);
        world.check();
        for step in steps {
            world.take(step);
            world.check();
            if world.group.finished(world.now).is_some() {
                break;
            }
        }
        end(&mut world);
    }
}

/// Twice told to end: every worker is killed, dies, is given back; then it is over.
fn end(world: &mut World) {
    if world.group.finished(world.now).is_none() {
        let spawned_before = world.next;
        world.take(Step::Terminate);
        world.take(Step::Terminate);
        for slot in 0..world.places.len() {
            let place = &world.places[slot];
            assert!(place.alive.is_none() || place.killed, "not killed");
            world.die(slot, Exit::Signal(9));
            world.check();
        }
        for die in world.dice.iter_mut() {
            *die = 11; // The device takes everything back now.
        }
        world.wait(10_000 * MS);
        assert_eq!(world.next, spawned_before, "started after the end");
    }
    let finished = world.group.finished(world.now).expect("never over");
    let left: Vec<u64> = finished.left.iter().map(|worker| worker.token).collect();
    for (number, token) in &world.tokens {
        let told = left.contains(number);
        assert!(
            !token.dead || token.given_back == 1 || told,
            "token {number} is forgotten"
        );
    }
    for place in &world.places {
        assert!(place
            .alive
            .is_none_or(|worker| left.contains(&worker.token)));
    }
}

/// A worker that fails for ever: the spawns of an hour are bounded by the back-off.
#[test]
fn an_hour_of_failures_costs_no_more_spawns_than_the_back_off_allows() {
    let policy = policy(None);
    let mut world = begin(policy.clone(), vec![11], &[7; 4]);
    let hour = Duration::from_secs(3600);
    while world.now < hour {
        for slot in 0..3 {
            world.die(slot, Exit::Code(1));
        }
        world.wait(10 * MS);
    }
    let spawns = world.next as u128;
    let bound = 4 * (hour.as_millis() / (policy.back_off_max.as_millis() * 3 / 4) + 6);
    assert!(spawns <= bound, "{spawns} spawns, {bound} allowed");
}
