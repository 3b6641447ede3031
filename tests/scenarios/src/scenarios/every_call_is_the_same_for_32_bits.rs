// SPDX-License-Identifier: MIT

//! A program for 32 bits and one for 64 make every call of both generations with the same arguments,
//! and are answered with the same bytes: all structs are the same but `abuse_info`, which ends four
//! bytes earlier there, and nothing is written behind it.

use anyhow::{ensure, Result};

use crate::kit::raw::free;
use crate::kit::{wait_until, Guest, PATIENCE};

const CALLS: [&str; 15] = [
    "STATUS",
    "SETUP",
    "EXCHANGE",
    "REQUEUE",
    "RECONNECT",
    "RESIZE",
    "RESET2",
    "GET_STATUS",
    "SET_STATUS",
    "SET_POLL",
    "GET_BIO",
    "PUT_BIO",
    "RESET",
    "ADD",
    "REMOVE",
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _quiet = guest.hold_udev()?;
    // On the same device: its number is among the answers.
    let device = free()?;
    let mut answers = Vec::new();
    for program in ["every_call", "every_call-32"] {
        wait_until("the device to be empty", PATIENCE, || {
            device
                .status()
                .is_ok_and(|status| status.state == abuse::State::Empty)
        })?;
        let said = guest
            .command(program)
            .arg(device.control_path())
            .arg(device.disk_path())
            .ok()?;
        for call in CALLS {
            ensure!(said.contains(&format!("{call}: ")), "no {call}: {said}");
        }
        ensure!(
            said.contains("write ended: 0\n") && said.contains("read ended: 0\n"),
            "{program} served badly: {said}"
        );
        answers.push(said);
    }
    let (long, short): (Vec<_>, Vec<_>) =
        (answers[0].lines().collect(), answers[1].lines().collect());
    for (long, short) in long.iter().zip(&short) {
        ensure!(long == short, "64 bits: {long}; 32 bits: {short}");
    }
    ensure!(long.len() == short.len(), "one said more than the other");
    ensure!(
        long.iter()
            .filter(|line| line.starts_with("behind "))
            .all(|line| line.ends_with(&"ee".repeat(16))),
        "something was written behind a struct"
    );
    Ok(())
}
