// SPDX-License-Identifier: MIT

//! `drain [DEV]`: waits until nothing is pending.
//!
//! It keeps nobody from asking more: whoever wants the disk to stay idle stops its users first.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use abuse::{Device, State, Status};

use crate::failure::{Code, Failure};
use crate::{human, out};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

pub use crate::choose::Wait as Args;

/// Waits, and says how many requests ended meanwhile.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (device, name, before) = args.open()?;
    let deadline = args
        .timeout
        .and_then(|time| Instant::now().checked_add(time));
    let watched = std::io::stderr().is_terminal();
    let outcome = wait(&device, deadline, |status| {
        if watched {
            out::progress(&format!("{name}: {} pending", pending(status)));
        }
    });
    if watched {
        out::progress("");
    }
    match outcome? {
        End::Idle(status) => {
            let ended = ended(&status).saturating_sub(ended(&before));
            out::line(&format!(
                "{name}: {} drained",
                human::count(ended, "request")
            ))
        }
        End::Gone => Err(Failure::new(
            Code::Nothing,
            format!("{name}: the disk was reset meanwhile"),
        )
        .hint("What was pending ended with an error.")),
        End::Late(status) => {
            let left = human::count(pending(&status), "request");
            let time = human::age(args.timeout.unwrap_or_default());
            let hint = match status.workers {
                0 => {
                    format!("Nobody serves it. Start a worker: abusectl server {name} --backend …")
                }
                _ => "Its workers are slow, or its users ask for more all the time.".to_string(),
            };
            Err(Failure::new(
                Code::TimedOut,
                format!("{name}: {left} still pending after {time}"),
            )
            .hint(hint))
        }
    }
}

enum End {
    Idle(Status),
    Late(Status),
    Gone,
}

fn wait(
    device: &Device,
    deadline: Option<Instant>,
    mut look: impl FnMut(&Status),
) -> Result<End, Failure> {
    loop {
        let status = device.status()?;
        if !matches!(status.state, State::Ready | State::Live) {
            return Ok(End::Gone);
        }
        if status.is_idle() {
            return Ok(End::Idle(status));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(End::Late(status));
        }
        look(&status);
        std::thread::sleep(left.unwrap_or(PAUSE).min(PAUSE));
    }
}

fn pending(status: &Status) -> u64 {
    u64::from(status.queued) + u64::from(status.taken) + u64::from(status.draining)
}

/// Requests that have ended since the disk was set up.
fn ended(status: &Status) -> u64 {
    let counts = status.ops.iter();
    counts.map(|counts| counts.done + counts.failed).sum()
}
