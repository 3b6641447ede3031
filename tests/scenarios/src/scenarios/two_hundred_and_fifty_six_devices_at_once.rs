// SPDX-License-Identifier: MIT

//! Two hundred and fifty-six more devices are there at once; an idle one takes less than 64 KiB. All are
//! set up, each is served and read by itself, and all go again.

use std::thread;
use std::time::Duration;

use abuse::{backend::Ram, Device, Registry, Setup, Worker};
use anyhow::{anyhow, ensure, Context, Result};

use crate::kit::{kernel_memory, wait_until, Direct, Guest, PATIENCE};

const MANY: usize = 256;
/// Kilobytes of an idle device.
const IDLE: i64 = 64;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    guest.allow(Duration::from_secs(400));
    let before = kernel_memory::kilobytes()?;
    let devices: Vec<Device> = (0..MANY).map(|_| guest.add()).collect::<Result<_>>()?;
    let each = (kernel_memory::kilobytes()? - before) / MANY as i64;
    ensure!(each < IDLE, "an idle device takes {each} kB");
    guest.figure(format!("an idle device takes {each} kB"));

    let setup = Setup {
        depth: 4,
        ..Setup::new(1 << 20)
    };
    let mut workers = Vec::new();
    at_once(&devices, |device| {
        device.setup(&setup)?;
        let path = device.disk_path();
        wait_until("the disk's node", PATIENCE, || path.exists())
    })?;
    for device in &devices {
        let name = format!("many-{}", device.number());
        let backend = Ram::open(&name, setup.bytes)?;
        Ram::remove(&name)?;
        let worker = Worker::new(Device::open(device.number().to_string())?)
            .threads(1)
            .harden(false);
        let stop = worker.stop_handle();
        workers.push((stop, thread::spawn(move || worker.run(backend))));
    }
    let place = |number: u32| [number as u8, (number >> 8) as u8].repeat(2048);
    for write in [true, false] {
        at_once(&devices, |device| {
            let file = Direct::open(device.disk_path())?;
            match write {
                true => file.write(8192, &place(device.number()))?,
                false => ensure!(file.read(8192, 4096)? == place(device.number())),
            }
            Ok(())
        })?;
    }
    for (stop, served) in workers {
        stop.stop();
        let served = served.join().map_err(|_| anyhow!("a worker panicked"))??;
        ensure!(served.completed >= 2, "{served:?}");
    }
    let registry = Registry::open()?;
    at_once(&devices, |device| {
        let sequence = Some(device.status()?.sequence);
        registry.remove(device.number(), sequence, false, Some(PATIENCE))?;
        Ok(())
    })
}

/// Does it to all devices, from several threads.
fn at_once(devices: &[Device], what: impl Fn(&Device) -> Result<()> + Sync) -> Result<()> {
    let part = |part: &[Device]| {
        let mut each = part.iter();
        each.try_for_each(|device| {
            what(device).with_context(|| device.disk_path().display().to_string())
        })
    };
    thread::scope(|scope| {
        let parts: Vec<_> = devices
            .chunks(MANY / 16)
            .map(|devices| scope.spawn(move || part(devices)))
            .collect();
        let mut ends = parts.into_iter().map(|thread| thread.join());
        ends.try_for_each(|end| end.map_err(|_| anyhow!("a thread panicked"))?)
    })
}
