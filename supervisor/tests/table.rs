// SPDX-License-Identifier: MIT
//! The table of `docs/supervisor.md` is the state machine's.

use std::time::Duration;

use abuse_supervisor::machine::Slot;
use abuse_supervisor::policy::{GiveUp, Policy, Time};
use abuse_supervisor::state::{Action, Answer, Event, Exit, Hang, Role, State, Worker};

const NOW: Time = Duration::from_secs(1000);

fn policy(one_too_many: bool) -> Policy {
    Policy {
        heartbeat: Some(Duration::from_secs(1)),
        give_up: one_too_many.then_some(GiveUp {
            intensity: 0,
            period: Duration::from_secs(60),
        }),
        ..Policy::default()
    }
}

const WORKER: Worker = Worker { pid: 7, token: 8 };

/// A slot in the state of a row's first column, reached as a slot gets there.
fn slot(words: &str, policy: &Policy) -> Slot {
    let role = match words.contains("parked") {
        true => Role::Standby,
        false => Role::Active,
    };
    let parked = role == Role::Standby;
    let begin = match words.contains("it had been stable") {
        true => Time::ZERO,
        false => NOW,
    };
    let state = words.split([',', ' ']).next().unwrap_or_default();
    let adopt = |ready| Event::Adopt {
        worker: WORKER,
        ready,
        parked,
        beats: true,
    };
    let died = match words {
        "Dead of status 2" => Event::Died(Exit::Code(2)),
        _ => Event::Died(Exit::Signal(9)),
    };
    let ready = adopt(true);
    let events: Vec<Event> = match state {
        "Off" => vec![],
        "Starting" => vec![Event::Start],
        "Spawned" if words.contains("adopted") => vec![adopt(false)],
        "Spawned" => vec![Event::Start, Event::Spawned(WORKER)],
        "Ready" => vec![ready],
        "Draining" => vec![ready, Event::Drain],
        "Suspect" => vec![ready, Event::Hung(Hang::Holds)],
        "Fenced" | "Wedged" => vec![ready, Event::Kill],
        "Dead" => vec![ready, died],
        "Backoff" => vec![Event::Start, Event::Blocked],
        "GaveUp" => vec![
            Event::Start,
            Event::Spawned(WORKER),
            Event::Died(Exit::Code(2)),
        ],
        _ => panic!("no such state: {words}"),
    };
    let mut slot = Slot::new(role);
    if words == "Off, stopping" {
        slot = slot.step(Event::Drain, begin, 0, policy).0;
    }
    for event in events {
        let at = if matches!(event, Event::Died(_)) {
            NOW
        } else {
            begin
        };
        slot = slot.step(event, at, 0, policy).0;
    }
    match state {
        "Wedged" => {
            slot = slot
                .step(Event::Tick, NOW + policy.kill_patience, 0, policy)
                .0
        }
        "GaveUp" => {
            let done = Event::Answer(Answer::Done { requeued: 0 });
            slot = slot.step(done, NOW, 0, policy).0;
        }
        "Dead" if words.contains("stopping") => {
            slot = slot.step(Event::Drain, NOW, 0, policy).0;
        }
        "Starting" if words.contains("stopping") => {
            slot = slot.step(Event::Drain, NOW, 0, policy).0;
        }
        _ => {}
    }
    assert_eq!(name(slot.state()), state, "{words}");
    slot
}

fn event(words: &str) -> Event {
    let done = Answer::Done { requeued: 1 };
    match words {
        "Start" => Event::Start,
        "Revive" => Event::Revive,
        "Adopt" | "Adopt, ready" | "Adopt, not ready" => Event::Adopt {
            worker: WORKER,
            ready: words == "Adopt, ready",
            parked: false,
            beats: false,
        },
        "Orphan" => Event::Orphan(WORKER),
        "Spawned" => Event::Spawned(WORKER),
        "SpawnFailed" => Event::SpawnFailed("no".into()),
        "Blocked" => Event::Blocked,
        "Ready" => Event::Ready,
        "Beat" => Event::Beat,
        "Hung" => Event::Hung(Hang::TakesNothing),
        "Promote" => Event::Promote(None),
        "Drain" => Event::Drain,
        "Kill" => Event::Kill,
        "Died" => Event::Died(Exit::Signal(11)),
        "Died with 3 or 4" => Event::Died(Exit::Code(3)),
        "Answer Done" => Event::Answer(done),
        "Answer Busy" => Event::Answer(Answer::Busy { requeued: 0 }),
        "Answer NotSetUp" => Event::Answer(Answer::NotSetUp),
        "Answer Gone" => Event::Answer(Answer::Gone),
        _ if words.starts_with("Tick") => Event::Tick,
        _ => panic!("no such event: {words}"),
    }
}

fn name(state: &State) -> &'static str {
    match state {
        State::Off => "Off",
        State::Starting => "Starting",
        State::Spawned { .. } => "Spawned",
        State::Ready { .. } => "Ready",
        State::Draining { .. } => "Draining",
        State::Suspect { .. } => "Suspect",
        State::Fenced(_) => "Fenced",
        State::Wedged(_) => "Wedged",
        State::Dead(_) => "Dead",
        State::Backoff { .. } => "Backoff",
        State::GaveUp(_) => "GaveUp",
    }
}

fn words(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::Spawn { .. } => "spawn",
        Action::Promote(_) => "promote",
        Action::Terminate(_) => "SIGTERM",
        Action::Kill(_) => "SIGKILL",
        Action::Requeue(_) => "requeue",
        Action::Reap(_) => "reap",
        Action::Forget => "forget",
        Action::FailIo => "fail I/O",
        Action::HoldIo => "hold I/O",
        Action::End(_) => "end all",
        Action::Report(_) => "report",
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// The rows of the table: states, event, next state, actions.
fn rows() -> Vec<[String; 4]> {
    let page = include_str!("../../docs/supervisor.md");
    let (_, table) = page
        .split_once("| State | Event | Next | Actions |\n")
        .unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned());
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    };
    rows.map(row).collect()
}

/// One row for each state that it names.
fn spread(states: &str) -> Vec<String> {
    let is_state = |word: &str| word.starts_with(char::is_uppercase) && !word.contains(' ');
    match states.split(", ").all(is_state) {
        true => states.split(", ").map(String::from).collect(),
        false => vec![states.to_owned()],
    }
}

#[test]
fn every_row_of_the_table_is_what_the_machine_does() {
    let rows = rows();
    assert!(rows.len() > 30, "{rows:?}");
    for [states, happens, next, actions] in rows {
        for state in spread(&states) {
            let policy = policy(state.contains("one too many"));
            let before = slot(&state, &policy);
            let due = before.deadline(&policy).unwrap_or(NOW);
            // A second refusal, for Dead: the first asks again at once.
            let (before, now) = match (state.as_str(), happens.as_str()) {
                ("Dead", "Tick") => {
                    let busy = event("Answer Busy");
                    let refused = before.step(busy, NOW, 0, &policy).0;
                    let at = refused.deadline(&policy).unwrap();
                    (refused, at)
                }
                (_, happens) if happens.starts_with("Tick") => (before, due),
                _ => (before, NOW),
            };
            let (after, done) = before.step(event(&happens), now, 0, &policy);
            let row = format!("{state} | {happens}");
            assert_eq!(name(after.state()), next, "{row}");
            assert_eq!(words(&done), actions, "{row}");
        }
    }
}

/// Pairs that are in no row change nothing.
#[test]
fn what_the_table_does_not_have_changes_nothing() {
    let plain = [
        "Off", "Starting", "Spawned", "Ready", "Draining", "Suspect", "Fenced", "Wedged", "Dead",
        "Backoff", "GaveUp",
    ];
    let events = [
        "Start",
        "Revive",
        "Adopt, ready",
        "Orphan",
        "Spawned",
        "SpawnFailed",
        "Blocked",
        "Ready",
        "Beat",
        "Hung",
        "Promote",
        "Died",
        "Answer Done",
        "Tick",
    ];
    let policy = policy(false);
    let listed: Vec<(String, String)> = rows()
        .into_iter()
        .flat_map(|[states, happens, ..]| {
            let states = states
                .replace(", adopted", "")
                .replace(", parked", " parked");
            spread(&states)
                .into_iter()
                .map(move |state| (state, happens.clone()))
        })
        .collect();
    for state in plain {
        for happens in events {
            let is_listed = listed.iter().any(|(s, e)| {
                s.split([',', ' ']).next() == Some(state)
                    && e.split(',').next() == happens.split(',').next()
            });
            if is_listed {
                continue;
            }
            let before = slot(state, &policy);
            let (after, done) = before.clone().step(event(happens), NOW, 0, &policy);
            assert!(
                done.is_empty() && after == before,
                "{state} | {happens}: {done:?}"
            );
        }
    }
}
