// SPDX-License-Identifier: MIT

//! `poll [DEV]`: waits until requests wait for somebody to take them.

use crate::choose;
use crate::failure::{Code, Failure};
use crate::{human, out};

pub use crate::choose::Wait as Args;

/// Waits.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (device, name, _) = args.open()?;
    if !device.poll(args.timeout)? {
        let time = human::age(args.timeout.unwrap_or_default());
        return Err(
            Failure::new(Code::TimedOut, format!("{name}: no request came in {time}"))
                .hint("Nobody uses the disk, or its workers take everything at once."),
        );
    }
    let queued = u64::from(choose::set_up(&device)?.queued);
    out::line(&format!(
        "{name}: {} waiting",
        human::count(queued, "request")
    ))
}
