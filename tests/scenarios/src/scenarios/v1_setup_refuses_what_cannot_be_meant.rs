// SPDX-License-Identifier: MIT

//! SET_STATUS refuses what cannot be meant, and leaves the device as it was.

use abuse::abi::{self, Info};
use abuse::State;
use anyhow::{ensure, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, node, Raw, NOWHERE};
use crate::kit::v1::Client;
use crate::kit::{wait_until, Guest, PATIENCE};

const REFUSED: [(&[&str], &str); 10] = [
    (&["1000000", "512", "64"], "EINVAL"),
    (&["16777217", "4096", "64"], "EINVAL"),
    (&["0", "512", "64"], "EINVAL"),
    (&["16777216", "0", "64"], "EINVAL"),
    (&["3000000", "3000", "64"], "EINVAL"),
    (&["16777216", "256", "64"], "EINVAL"),
    (&["16777216", "8192", "64"], "EINVAL"),
    (&["16777216", "512", "513"], "EINVAL"),
    (&["16777216", "512", "4294967295"], "EINVAL"),
    (&["9223372036854775808", "512", "64"], "EFBIG"),
];

pub(super) fn run(guest: &Guest) -> Result<()> {
    for client in [Client::new(guest)?, Client::of_32_bits(guest)?] {
        for (words, errno) in REFUSED {
            client.expect("setup", words, errno)?;
            ensure!(client.device().status()?.state == State::Empty, "{words:?}");
        }
        let raw = Raw::open(&node(client.device()))?;
        expect("NULL", raw.call_at(abi::SET_STATUS, 0), Errno::EFAULT)?;
        expect(
            "nowhere",
            raw.call_at(abi::SET_STATUS, NOWHERE),
            Errno::EFAULT,
        )?;
        expect("NULL", raw.call_at(abi::GET_STATUS, 0), Errno::EINVAL)?;
        expect(
            "nowhere",
            raw.call_at(abi::GET_STATUS, NOWHERE),
            Errno::EFAULT,
        )?;
        expect("poll", raw.call_at(abi::SET_POLL, 0), Errno::EINVAL)?;
        expect("0x4126", raw.call_at(0x4126, 0), Errno::EINVAL)?;
        expect("0x4130", raw.call_at(0x4130, 0), Errno::ENOTTY)?;
        expect("GET", raw.call_at(abi::GET_BIO, 0), Errno::EINVAL)?;
        expect("GET", raw.call_at(abi::GET_BIO, NOWHERE), Errno::EFAULT)?;

        // What v1 calls the most is accepted, and so is a reset of nothing.
        client.expect("reset", &[], "ok")?;
        client.set_up(&["16777216", "4096", "512"])?;
        let mut info = Info::default();
        raw.call(abi::GET_STATUS, &mut info)?;
        ensure!((info.max_queue, info.blocksize) == (512, 4096), "{info:?}");
        client.expect("setup", &["16777216", "4096", "512"], "EINVAL")?;
        client.expect("reset", &[], "ok")?;
        // The old call does not wait for the end of what it began.
        wait_until("the device to be empty", PATIENCE, || {
            let status = client.device().status();
            status.is_ok_and(|status| status.state == State::Empty)
        })?;
    }
    Ok(())
}
