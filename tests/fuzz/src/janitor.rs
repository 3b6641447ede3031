// SPDX-License-Identifier: MIT

//! The janitor, who keeps anything from waiting for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use abuse::{Device, NewDevice, Registry, State};
use abuse_scenarios::kit::detectors::patience;
use anyhow::Result;
use nix::errno::Errno;

use crate::director::{hangs, tick};
use crate::rng::Rng;

/// How long anything may wait for a worker before the janitor resets the device. A reset takes as
/// long as a hundred calls: more of them, and there would be little else.
const PATIENCE: Duration = Duration::from_millis(400);
/// And how many times as long a disk may live.
const LIFE: u32 = 16;
/// Devices that players have added and that may stay.
const MOST_EXTRA: usize = 8;

/// Resets devices where something waits for too long, and now and then for no reason.
#[derive(Default)]
pub(crate) struct Janitor {
    pub(crate) over: AtomicBool,
    pub(crate) resets: AtomicU64,
    rounds: AtomicU64,
    pub(crate) replaced: AtomicU64,
    seen: std::sync::Mutex<Option<(u64, Instant)>>,
}

impl Janitor {
    pub(crate) fn keep(&self, mut devices: Vec<Device>, seed: u64) -> Result<()> {
        let registry = Registry::open()?;
        let used = devices.len() as u32;
        let mut rng = Rng::new(&[seed, 0x006a_616e_6974_6f72]);
        let most = patience(PATIENCE);
        let mut since: Vec<Option<Instant>> = vec![None; devices.len()];
        while !self.over.load(Relaxed) {
            for (device, since) in devices.iter_mut().zip(&mut since) {
                let status = match device.status() {
                    Err(error) if error.errno() == Some(Errno::ENODEV as i32) => {
                        *since = None;
                        self.replace(&registry, device);
                        continue;
                    }
                    status => status?,
                };
                if !matches!(status.state, State::Ready | State::Live) {
                    *since = None;
                    continue;
                }
                let born = *since.get_or_insert_with(Instant::now);
                let waits = [status.oldest_queued, status.oldest_taken];
                let late = waits.iter().flatten().any(|&age| age > most);
                if late || born.elapsed() > LIFE * most || rng.one_in(400) {
                    self.resets.fetch_add(1, Relaxed);
                    // Somebody else may have been faster.
                    let _ = device.reset(true, None);
                }
            }
            let rounds = self.rounds.fetch_add(1, Relaxed);
            if rounds % 32 == 0 {
                self.thin_out(&registry, used);
            }
            thread::sleep(tick());
        }
        Ok(())
    }

    /// Adds a device that was removed anew. Others may be about to do the same, or not done with the
    /// removal: then it is tried again.
    fn replace(&self, registry: &Registry, device: &mut Device) {
        let number = device.number();
        if registry.add(&NewDevice::numbered(number)).is_ok() {
            self.replaced.fetch_add(1, Relaxed);
        }
        if let Ok(new) = Device::open(number.to_string()) {
            *device = new;
        }
    }

    /// Removes some of those that were added by players.
    fn thin_out(&self, registry: &Registry, used: u32) {
        let numbers = Device::numbers().unwrap_or_default();
        for number in numbers
            .into_iter()
            .filter(|&number| number >= used)
            .skip(MOST_EXTRA)
        {
            let _ = registry.remove(number, None, true, None);
        }
    }

    /// It is to wait for nobody.
    pub(crate) fn missing(&self) -> Option<String> {
        let rounds = self.rounds.load(Relaxed);
        let mut seen = self.seen.lock().ok()?;
        match &*seen {
            Some((before, since)) if *before == rounds => (since.elapsed() > hangs()).then(|| {
                format!(
                    "STATUS or RESET2 has not returned for {} s",
                    hangs().as_secs()
                )
            }),
            _ => {
                *seen = Some((rounds, Instant::now()));
                None
            }
        }
    }
}
