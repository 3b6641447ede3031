// SPDX-License-Identifier: MIT

//! Whoever turns the driver's tracepoints on sees the life of each request, in order: it came, was
//! taken, was offered again because its owner died, was taken by another, could not be completed under
//! the old id, was completed and ended. The events say what the worker and the reader saw. With the
//! tracepoints off nothing is recorded.

use anyhow::{ensure, Context, Result};

use crate::kit::trace::{Event, Trace};
use crate::kit::{Answer, Direct, Guest, PATIENCE};

pub(super) fn run(guest: &Guest) -> Result<()> {
    let quiet = guest.hold_udev()?;
    let disk = guest.disk("size=16M,bs=512")?;
    let number = disk.device().number();
    let file = Direct::open(disk.path())?;
    let mut victim = disk.puppet()?;
    let mut other = disk.puppet()?;

    let trace = Trace::start()?;
    let read = file.start_read(65536, 8192);
    let first = victim.take_one()?;
    let pids = (victim.pid().to_string(), other.pid().to_string());
    victim.kill()?;
    let second = other.take_one()?;
    let refused = other.put(&first, Answer::Done)?;
    ensure!(refused.is_some(), "an old id was as good as a new one");
    ensure!(other.put(&second, Answer::Fill(7))?.is_none(), "refused");
    read.finish(PATIENCE)??;

    let mut events = trace.events(number)?;
    // Somebody who looked at the disk before udevd was held may still read it.
    let ours = [first.id, second.id];
    events.retain(|event| event.id("id").is_ok_and(|id| ours.contains(&id)));
    let [queue, get, requeue, again, stale, put, end] = &events[..] else {
        anyhow::bail!("not the seven events of one read: {events:#?}");
    };
    names(
        &events,
        &["queue", "get", "requeue", "get", "put", "put", "end"],
    )?;
    for event in [queue, get, requeue, again, put, end] {
        ensure!(
            event.text.contains(" read sector=128 bytes=8192 "),
            "another request: {event:?}"
        );
    }
    for (event, id) in [(queue, first.id), (get, first.id), (requeue, first.id)] {
        ensure!(event.id("id")? == id, "not {id:#x}: {event:?}");
    }
    for (event, id) in [(again, second.id), (put, second.id), (end, second.id)] {
        ensure!(event.id("id")? == id, "not {id:#x}: {event:?}");
    }
    is(get, &[("pid", &pids.0), ("attempt", "0")])?;
    is(
        requeue,
        &[("pid", &pids.0), ("attempt", "1"), ("why", "died")],
    )?;
    ensure!(requeue.id("new_id")? == second.id, "{requeue:?}");
    is(again, &[("pid", &pids.1), ("attempt", "1")])?;
    is(stale, &[("pid", &pids.1), ("refused", "-116")])?;
    ensure!(stale.id("id")? == first.id, "{stale:?}");
    is(put, &[("pid", &pids.1), ("result", "0"), ("refused", "0")])?;
    is(end, &[("error", "0")])?;
    let ages = [
        get.nanoseconds("age")?,
        again.nanoseconds("age")?,
        end.nanoseconds("age")?,
    ];
    ensure!(
        ages.is_sorted() && requeue.nanoseconds("held")? < ages[2],
        "ages that do not grow: {events:#?}"
    );

    // An error, and a filter: of reads and writes only the writes.
    trace.set("trace", "")?;
    trace.set("events/abuse/filter", "op == 1")?;
    let write = file.start_write(0, vec![1; 512]);
    let held = other.take_one()?;
    ensure!(other.put(&held, Answer::Error)?.is_none(), "refused");
    ensure!(write.finish(PATIENCE)?.is_err(), "an error became none");
    let read = file.start_read(0, 512);
    let held = other.take_one()?;
    ensure!(other.put(&held, Answer::Done)?.is_none(), "refused");
    read.finish(PATIENCE)??;
    let events = trace.events(number)?;
    names(&events, &["queue", "get", "put", "end"])?;
    is(&events[2], &[("result", "-5"), ("refused", "0")])?;
    is(&events[3], &[("error", "-5")])?;

    // What a reset ends, nobody completed.
    trace.set("trace", "")?;
    trace.set("events/abuse/filter", "0")?;
    let (taken, waiting) = (file.start_read(0, 512), file.start_read(512, 512));
    disk.wait_queued(2)?;
    let held = other.take_one()?;
    disk.device().reset(true, Some(PATIENCE))?;
    ensure!(taken.finish(PATIENCE)?.is_err() && waiting.finish(PATIENCE)?.is_err());
    let events = trace.events(number)?;
    names(&events, &["queue", "queue", "get", "end", "end"])?;
    for end in &events[3..] {
        is(end, &[("error", "-5")])?;
    }
    let mut ids = [events[3].id("id")?, events[4].id("id")?];
    ids.sort_unstable();
    let mut came = [events[0].id("id")?, events[1].id("id")?];
    came.sort_unstable();
    ensure!(ids == came && came.contains(&held.id), "{events:#?}");

    trace.enable(false)?;
    trace.set("trace", "")?;
    let disk = guest.disk("size=16M")?;
    let _server = disk.serve("ram:untraced")?;
    Direct::open(disk.path())?.read(0, 4096)?;
    let events = trace.events(disk.device().number())?;
    ensure!(events.is_empty(), "recorded with tracing off: {events:#?}");
    // While somebody serves what udevd reads now.
    drop(quiet);
    Ok(())
}

fn names(events: &[Event], expected: &[&str]) -> Result<()> {
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    ensure!(names == expected, "not {expected:?}: {events:#?}");
    Ok(())
}

fn is(event: &Event, fields: &[(&str, &str)]) -> Result<()> {
    for (name, value) in fields {
        let seen = event.field(name).context("an event")?;
        ensure!(seen == *value, "{name} is not {value}: {event:?}");
    }
    Ok(())
}
