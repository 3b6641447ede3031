// SPDX-License-Identifier: MIT

//! A reset that is interrupted while it waits for the disk to go is not begun a second time, when the
//! device may be empty: it answers EINPROGRESS, never ENXIO, and the disk goes.

use std::os::unix::thread::JoinHandleExt;
use std::thread;

use abuse::abi::{self, Reset};
use abuse::{Setup, State};
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;

use crate::kit::raw::{free, handle, node, Raw};
use crate::kit::{wait_until, Guest, PATIENCE};

pub(super) fn run(_guest: &Guest) -> Result<()> {
    handle(Signal::SIGUSR1, true)?;
    let device = free()?;
    let mut interrupted = 0;
    for _ in 0..40 {
        device.setup(&Setup::new(1 << 20))?;
        let raw = Raw::open(&node(&device))?;
        let thread = thread::spawn(move || {
            let mut call = Reset {
                size: size_of::<Reset>() as u32,
                flags: abi::RS_FORCE,
                timeout_ns: abi::FOREVER,
                ..Reset::default()
            };
            raw.call(abi::IOC_RESET, &mut call)
        });
        let number = thread.as_pthread_t();
        while !thread.is_finished() {
            let _ = pthread_kill(number, Signal::SIGUSR1);
            thread::yield_now();
        }
        match thread.join().ok().context("it panicked")? {
            Ok(()) => {}
            Err(Errno::EINPROGRESS) => interrupted += 1,
            Err(other) => bail!("a reset that was done answered {other}"),
        }
        wait_until("the device to be empty", PATIENCE, || {
            device
                .status()
                .is_ok_and(|status| status.state == State::Empty)
        })?;
    }
    ensure!(
        interrupted > 0,
        "no reset was interrupted; it proves nothing"
    );
    Ok(())
}
