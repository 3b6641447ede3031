// SPDX-License-Identifier: MIT

//! Two hundred and fifty-six more devices are there at once; an idle one takes less than 64 KiB. All are
//! set up, each is served and read by itself, and all go again.

use std::thread;

use abuse::{backend::Ram, Device, Registry, Setup, Worker};
use anyhow::{anyhow, ensure, Context, Result};

use crate::kit::{kernel_memory, wait_until, Direct, Guest, PATIENCE};

const MANY: usize = 256;
/// Kilobytes of an idle device.
const IDLE: i64 = 64;

pub(super) fn run(guest: &Guest) -> Result<()> {
    let _udev = guest.hold_udev()?;
    let before = kernel_memory::kilobytes()?;
    let devices: Vec<Device> = (0..MANY).map(|_| guest.add()).collect::<Result<_>>()?;
    let each = (kernel_memory::kilobytes()? - before) / MANY as i64;
    ensure!(each < IDLE, "an idle device takes {each} kB");
    println!("# an idle device takes {each} kB");

    let setup = Setup {
        depth: 4,
        ..Setup::new(1 << 20)
    };
    let mut workers = Vec::new();
    for device in &devices {
        let path = device.disk_path();
        device.setup(&setup)?;
        wait_until("the disk's node", PATIENCE, || path.exists())?;
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
        for device in &devices {
            let file = Direct::open(device.disk_path())?;
            match write {
                true => file.write(8192, &place(device.number()))?,
                false => ensure!(file.read(8192, 4096)? == place(device.number())),
            }
        }
    }
    for (stop, served) in workers {
        stop.stop();
        let served = served.join().map_err(|_| anyhow!("a worker panicked"))??;
        ensure!(served.completed >= 2, "{served:?}");
    }
    let registry = Registry::open()?;
    for device in &devices {
        let sequence = device.status()?.sequence;
        registry
            .remove(device.number(), Some(sequence), false, Some(PATIENCE))
            .with_context(|| device.disk_path().display().to_string())?;
    }
    Ok(())
}
