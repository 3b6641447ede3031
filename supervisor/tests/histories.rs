// SPDX-License-Identifier: MIT
//! Random histories against the state machine, in a world without processes.
//!
//! The world does what the event loop would do, and watches that no history leads to two
//! generations of writers in a slot, to a respawn storm, or to anything forgotten.

use std::collections::HashMap;
use std::time::Duration;

use abuse_supervisor::group::Group;
use abuse_supervisor::policy::{GiveUp, Policy, Time};
use abuse_supervisor::state::{Action, Answer, Event, Exit, State, Worker};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn policy(give_up: Option<GiveUp>) -> Policy {
    Policy {
        back_off_min: 20 * MS,
        back_off_max: 500 * MS,
        stable_after: 100 * MS,
        give_up,
        drain_timeout: 300 * MS,
        kill_patience: 200 * MS,
    }
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Die(usize, Exit),
    Ready(usize),
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
    let step = prop_oneof![
        8 => (1..200u64).prop_map(Step::Wait),
        10 => (slot.clone(), exit).prop_map(|(slot, exit)| Step::Die(slot, exit)),
        10 => slot.clone().prop_map(Step::Ready),
        1 => Just(Step::Terminate),
        3 => (slot, late).prop_map(|(slot, event)| Step::Late(slot, event)),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Debug, Default)]
struct Place {
    alive: Option<Worker>,
    /// Since when the living one has been ready.
    ready: Option<Time>,
    /// Told to leave, killed.
    told: bool,
    killed: bool,
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
}

impl World {
    fn new(policy: Policy, dice: Vec<u8>) -> World {
        World {
            group: Group::new(policy.clone(), 3, 1),
            policy,
            now: Time::ZERO,
            places: (0..4).map(|_| Place::default()).collect(),
            tokens: HashMap::new(),
            next: 1,
            dice,
            rolled: 0,
            ended: false,
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
            Action::Spawn => return Some(self.spawn(slot)),
            Action::Requeue(worker) => return Some(Event::Answer(self.requeue(worker))),
            Action::Reap(worker) => {
                let token = self.tokens.get_mut(&worker.token).unwrap();
                assert!(token.dead, "reaped alive");
                token.reaped += 1;
                assert_eq!(token.reaped, 1, "reaped twice");
            }
            Action::Terminate(worker) => {
                assert_eq!(self.places[slot].alive, Some(worker));
                self.places[slot].told = true;
            }
            Action::Kill(worker) => {
                assert_eq!(self.places[slot].alive, Some(worker));
                self.places[slot].killed = true;
            }
            Action::Forget => assert!(self.places[slot].alive.is_none(), "forgot the living"),
            Action::End(_) => self.ended = true,
            Action::Report(_) => {}
        }
        None
    }

    fn spawn(&mut self, slot: usize) -> Event {
        let place = &self.places[slot];
        assert!(place.alive.is_none(), "two generations in slot {slot}");
        assert!(slot < 3, "a surplus slot was filled");
        if let Some(last) = place.last_try {
            let pause = self.now - last;
            assert!(
                pause >= self.policy.back_off_min || place.was_stable,
                "a storm in slot {slot}: {pause:?}"
            );
        }
        let kind = self.roll();
        let worker = self.worker();
        let place = &mut self.places[slot];
        *place = Place {
            last_try: Some(self.now),
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
        let place = &mut self.places[slot];
        let Some(worker) = place.alive.take() else {
            return;
        };
        let ready_for = place.ready.map(|since| self.now - since);
        place.was_stable = ready_for.is_some_and(|time| time >= self.policy.stable_after);
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
            let waits = matches!(slot.state(), State::Backoff { .. } | State::Dead(_));
            assert!(!waits || slot.deadline(&self.policy).is_some());
            assert_ne!(*slot.state(), State::Starting);
        }
    }
}

fn begin(world: &mut World, survivors: &[u8; 4]) {
    for (slot, survivor) in survivors.iter().enumerate() {
        match survivor % 4 {
            0 => {
                let worker = world.worker();
                world.places[slot].alive = Some(worker);
                let ready = *survivor >= 128;
                world.places[slot].ready = ready.then_some(Time::ZERO);
                world.step(slot, Event::Adopt { worker, ready });
            }
            1 => {
                let worker = world.worker();
                world.tokens.get_mut(&worker.token).unwrap().dead = true;
                world.step(slot, Event::Orphan(worker));
            }
            _ => {}
        }
        world.step(slot, Event::Start);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_history_leads_to_two_writers_a_storm_or_anything_forgotten(
        steps in steps(),
        dice in prop::collection::vec(any::<u8>(), 64),
        survivors in any::<[u8; 4]>(),
        intensity in prop::option::of(0..6u32),
    ) {
        let give_up = intensity.map(|intensity| GiveUp { intensity, period: 1000 * MS });
        let mut world = World::new(policy(give_up), dice);
        begin(&mut world, &survivors);
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
        for slot in 0..4 {
            let place = &world.places[slot];
            assert!(place.alive.is_none() || place.killed, "not killed");
            world.die(slot, Exit::Signal(9));
            world.check();
        }
        for die in world.dice.iter_mut() {
            *die = 8; // The device takes everything back now.
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
    let mut world = World::new(policy.clone(), vec![8]);
    begin(&mut world, &[2; 4]);
    let hour = Duration::from_secs(3600);
    while world.now < hour {
        for slot in 0..3 {
            world.die(slot, Exit::Code(1));
        }
        world.wait(10 * MS);
    }
    let spawns = world.next as u128;
    let bound = 3 * (hour.as_millis() / (policy.back_off_max.as_millis() * 3 / 4) + 6);
    assert!(spawns <= bound, "{spawns} spawns, {bound} allowed");
}
