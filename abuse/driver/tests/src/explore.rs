//! All histories of a small [`World`], breadth first: every state that two tags, two or three
//! workers, a submitter, a resetter, somebody who asks back and somebody who closes can reach.
//!
//! A state is what the model and the threads are in, with ids, arrivals and entries made relative;
//! it is reached again by replaying the shortest history that led there. From every state the disk
//! is once served to the end and once taken away, so that what a state hides comes to light.
//!
//! By default each plan goes as far as takes a moment; `ABUSE_LEDGER_DEPTH` goes further, and with
//! a high number to the end.

use std::collections::hash_map::DefaultHasher;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use crate::ledger::{Op, Why};
use crate::model::Stage;
use crate::world::{Act, At, World};

/// Who is there and what may happen.
#[derive(Default)]
struct Plan {
    name: &'static str,
    crew: &'static [usize],
    house: &'static [usize],
    max_attempts: u32,
    fenced: bool,
    requests: &'static [(u32, Op)],
    mins: &'static [u32],
    /// Faults, and time-outs of sleepers.
    faults: bool,
    /// Asks back.
    requeues: &'static [Why],
    /// Files that close, processes that die, and others that come.
    deaths: bool,
    /// Everything fails; the disk is taken away and set up again.
    resets: bool,
    /// Everything that waits is given up.
    expiry: bool,
    /// The kernel moves data.
    forwards: bool,
    /// Old clients.
    v1: bool,
    /// How far it goes by default.
    depth: usize,
}

impl Plan {
    fn begin(&self) -> World {
        let mut world = World::new(self.crew, self.house);
        world.act(self.setup());
        for worker in 0..self.house.len() {
            world.act(Act::Join { worker });
        }
        world
    }

    fn setup(&self) -> Act {
        let depth = self
            .requests
            .iter()
            .map(|(tag, _)| tag + 1)
            .max()
            .unwrap_or(1);
        Act::Setup {
            depth,
            max_attempts: self.max_attempts,
            fenced: self.fenced,
        }
    }

    /// Everything that may ever happen.
    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for &(tag, op) in self.requests {
            acts.push(Act::Submit {
                tag,
                op,
                v1: self.v1,
            });
        }
        for thread in 0..self.crew.len() {
            for &min in self.mins {
                acts.push(Act::Look {
                    thread,
                    min,
                    room: u64::MAX,
                    detached: false,
                });
            }
            acts.push(Act::Commit {
                thread,
                more: false,
            });
            acts.push(Act::End { thread, well: true });
            acts.push(Act::Rise { thread, stay: true });
            for tag in 0..2 {
                for back in 0..2 {
                    acts.push(Act::Put {
                        thread,
                        tag,
                        back,
                        v1: self.v1,
                    });
                }
            }
            if self.forwards {
                for tag in 0..2 {
                    acts.push(Act::Forward {
                        thread,
                        tag,
                        back: 0,
                        fits: true,
                    });
                }
            }
            if self.faults {
                acts.push(Act::Abort { thread });
                acts.push(Act::Fault { thread });
                acts.push(Act::Rise {
                    thread,
                    stay: false,
                });
            }
        }
        acts.extend([false, true].map(|patient| Act::Deliver { patient }));
        for &why in self.requeues {
            acts.push(Act::Requeue {
                why,
                worker: None,
                older: 0,
            });
        }
        if self.forwards {
            for tag in 0..2 {
                acts.push(Act::Land { tag, well: true });
                acts.push(Act::Return { tag });
            }
        }
        if self.deaths {
            for worker in 0..self.house.len() {
                acts.push(Act::Close {
                    worker,
                    requeue: true,
                    dying: Some(worker),
                });
                acts.push(Act::Join { worker });
            }
            for process in 0..=self.house.iter().copied().max().unwrap_or(0) {
                acts.push(Act::Die { process });
            }
        }
        if self.resets {
            acts.extend([Act::Kill, Act::Fail, Act::Retire, self.setup()]);
        }
        if self.expiry {
            acts.push(Act::Expire { age: 0 });
        }
        if self.v1 {
            acts.push(Act::Show);
        }
        acts.push(Act::Pop);
        acts
    }
}

/// What a state is, apart from names and numbers that only ever grow.
fn key(world: &World) -> u128 {
    let mut key: Vec<u64> = Vec::new();
    let model = &world.model;
    let rank = |arrival: u64| {
        model
            .entries
            .values()
            .filter(|entry| entry.arrival < arrival)
            .count() as u64
    };
    key.extend([u64::from(model.alive), u64::from(world.depth)]);
    key.push(rank(model.cursor + 1));
    for tag in 0..2 {
        let given = model.given.get(&tag).map_or(&[][..], |given| given);
        key.push(given.len().min(2) as u64);
        let Some(entry) = model.entries.get(&tag) else {
            key.push(u64::MAX);
            continue;
        };
        let (stage, hands) = match entry.stage {
            Stage::Queued => (0, None),
            Stage::Taking(hands) => (1, Some(hands)),
            Stage::Taken(hands) => (2, Some(hands)),
            Stage::Finishing(hands) => (3, hands),
            Stage::Condemned => (4, None),
            Stage::Forwarding => (5, None),
        };
        key.extend([
            stage,
            hands.map_or(99, |hands| u64::from(hands.seat)),
            entry.op as u64,
        ]);
        key.extend([rank(entry.arrival), u64::from(entry.id.is_some())]);
        key.extend([entry.doomed, entry.recalled, entry.suspect].map(u64::from));
        if model.limit > 0 {
            key.extend([u64::from(entry.deaths.min(2)), u64::from(entry.lone)]);
        }
    }
    for (index, seat) in &model.seats {
        let holds = |index| move |hands: crate::model::Hands| hands.seat == index;
        let holds = model
            .entries
            .values()
            .any(|entry| entry.hands().is_some_and(holds(*index)));
        if seat.open || holds {
            let process = world.process_of(seat.process).unwrap_or(99) as u64;
            key.extend([u64::from(*index), process]);
            key.extend([seat.open, seat.lives, seat.crowded].map(u64::from));
        }
    }
    key.push(u64::MAX);
    for (process, seat) in &world.workers {
        key.push(u64::from(seat.unwrap_or(99)));
        key.push(u64::from(world.lives(*process)));
    }
    let orders: Vec<u64> = world
        .threads
        .iter()
        .filter_map(|thread| match thread.at {
            At::Asleep { order, .. } => Some(order),
            _ => None,
        })
        .collect();
    for thread in &world.threads {
        match thread.at {
            At::Away => key.push(10),
            At::Taking(_, tag) => key.push(20 + u64::from(tag)),
            At::Finishing(_, tag) => key.push(30 + u64::from(tag)),
            At::Asleep {
                min,
                patient,
                woken,
                order,
            } => {
                let rank = orders.iter().filter(|other| **other < order).count() as u64;
                key.extend([
                    40 + u64::from(min),
                    u64::from(patient),
                    u64::from(woken),
                    rank,
                ]);
            }
        }
    }
    key.extend([u64::from(world.ones), u64::from(world.patience)]);
    let hidden = [world.all, world.flight, world.kept, world.changed];
    key.extend(hidden.map(u64::from));
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, &key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}

/// The states found so far: how each was reached first.
struct Map {
    nodes: Vec<(u32, Act)>,
}

impl Map {
    fn history(&self, mut node: u32) -> Vec<Act> {
        let mut acts = Vec::new();
        while node != 0 {
            let (parent, act) = self.nodes[node as usize];
            acts.push(act);
            node = parent;
        }
        acts.reverse();
        acts
    }
}

fn replay(plan: &Plan, history: &[Act]) -> World {
    let mut world = plan.begin();
    world.replaying = true;
    for act in history {
        world.act(*act);
    }
    world.replaying = false;
    world
}

/// What can happen after a history, and where it leads.
fn neighbours(plan: &Plan, acts: &[Act], history: &[Act]) -> Vec<(Act, u128)> {
    let here = replay(plan, history);
    // Wake-ups are late, but not so late that they pile up.
    let late = here.ones > 1;
    let timely = |act: &Act| !late || matches!(act, Act::Deliver { patient: false });
    let possible: Vec<Act> = acts
        .iter()
        .copied()
        .filter(|act| timely(act) && here.can(*act))
        .collect();
    let mut world = Some(here);
    let mut found = Vec::new();
    for act in possible {
        let mut world = world.take().unwrap_or_else(|| replay(plan, history));
        world.act(act);
        found.push((act, key(&world)));
    }
    found
}

/// Says which history it was when something in it fails.
struct Witness<'a>(&'a Plan, &'a [Act]);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: after {:?}", self.0.name, self.1);
        }
    }
}

fn explore(plan: &Plan) {
    let asked = std::env::var("ABUSE_LEDGER_DEPTH")
        .ok()
        .and_then(|depth| depth.parse().ok());
    let depth = asked.unwrap_or(if cfg!(miri) { 2 } else { plan.depth });
    let acts = plan.acts();
    let mut map = Map {
        nodes: vec![(0, Act::Tick)],
    };
    let mut seen = HashSet::from([key(&plan.begin())]);
    let (mut level, mut steps, mut reached) = (vec![0u32], 0u64, 0);
    while !level.is_empty() && reached < depth {
        let share = level.len().div_ceil(3).max(64);
        let found: Vec<(u32, Act, u128)> = std::thread::scope(|scope| {
            let visit = |nodes: &[u32]| {
                let mut found = Vec::new();
                for node in nodes {
                    let history = map.history(*node);
                    let _witness = Witness(plan, &history);
                    replay(plan, &history).serve();
                    replay(plan, &history).reset();
                    for (act, key) in neighbours(plan, &acts, &history) {
                        found.push((*node, act, key));
                    }
                }
                found
            };
            let hands: Vec<_> = level
                .chunks(share)
                .map(|nodes| scope.spawn(move || visit(nodes)))
                .collect();
            hands
                .into_iter()
                .flat_map(|hand| hand.join().expect("no rule is broken"))
                .collect()
        });
        level.clear();
        for (node, act, key) in found {
            steps += 1;
            if seen.insert(key) {
                level.push(map.nodes.len() as u32);
                map.nodes.push((node, act));
            }
        }
        reached += 1;
    }
    let end = if level.is_empty() {
        "all of them"
    } else {
        "no further"
    };
    let states = map.nodes.len();
    println!(
        "ledger: {}: states={states} steps={steps} depth={reached}, {end}",
        plan.name
    );
}

const READ_WRITE: &[(u32, Op)] = &[(0, Op::Read), (1, Op::Write)];

#[test]
fn two_workers_with_faults_and_sleep() {
    explore(&Plan {
        name: "faults",
        crew: &[0, 1],
        house: &[0, 1],
        requests: READ_WRITE,
        mins: &[1],
        faults: true,
        depth: 9,
        ..Plan::default()
    });
}

#[test]
fn three_workers_asleep_and_in_a_hurry() {
    explore(&Plan {
        name: "sleepers",
        crew: &[0, 1, 2],
        house: &[0, 1, 2],
        requests: READ_WRITE,
        mins: &[1, 2],
        requeues: &[Why::Forced],
        depth: 7,
        ..Plan::default()
    });
}

#[test]
fn two_workers_a_resetter_and_a_reconnector() {
    explore(&Plan {
        name: "resets",
        crew: &[0, 1],
        house: &[0, 1],
        requests: READ_WRITE,
        mins: &[1],
        requeues: &[Why::Asked, Why::Forced],
        resets: true,
        depth: 8,
        ..Plan::default()
    });
}

#[test]
fn two_workers_that_die_and_come_back() {
    explore(&Plan {
        name: "deaths",
        crew: &[0, 1],
        house: &[0, 1],
        requests: READ_WRITE,
        mins: &[1],
        faults: true,
        requeues: &[Why::Asked],
        deaths: true,
        depth: 7,
        ..Plan::default()
    });
}

#[test]
fn poison_among_two_processes_one_of_them_with_two_threads() {
    explore(&Plan {
        name: "poison",
        crew: &[0, 0, 1],
        house: &[0, 1],
        max_attempts: 1,
        requests: &[(0, Op::Write), (1, Op::Write)],
        mins: &[1],
        deaths: true,
        requeues: &[Why::Asked],
        expiry: true,
        depth: 7,
        ..Plan::default()
    });
}

#[test]
fn poison_in_a_process_with_two_files() {
    explore(&Plan {
        name: "two files",
        crew: &[0, 1, 2],
        house: &[0, 0, 1],
        max_attempts: 2,
        requests: READ_WRITE,
        mins: &[1],
        deaths: true,
        depth: 7,
        ..Plan::default()
    });
}

#[test]
fn forwards_among_deaths_and_operators() {
    explore(&Plan {
        name: "forwards",
        crew: &[0, 1],
        house: &[0, 1],
        requests: READ_WRITE,
        mins: &[1],
        requeues: &[Why::Asked, Why::Forced],
        deaths: true,
        forwards: true,
        depth: 7,
        ..Plan::default()
    });
}

#[test]
fn forwards_under_a_resetter_and_old_clients() {
    explore(&Plan {
        name: "forwards reset",
        crew: &[0, 1],
        house: &[0, 1],
        max_attempts: 1,
        requests: READ_WRITE,
        mins: &[1],
        resets: true,
        forwards: true,
        v1: true,
        depth: 7,
        ..Plan::default()
    });
}

#[test]
fn old_clients_beside_new_ones() {
    explore(&Plan {
        name: "v1",
        crew: &[0, 1],
        house: &[0, 1],
        requests: READ_WRITE,
        mins: &[1],
        faults: true,
        requeues: &[Why::Forced],
        resets: true,
        v1: true,
        depth: 7,
        ..Plan::default()
    });
}
