// SPDX-License-Identifier: MIT

//! Every allocation and copy of loading the module fails once, where the kernel can fail on request:
//! it is loaded all the same, or refused and leaves no trace; at the end it is loaded and works.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use abuse::Device;
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};

use crate::kit::faults::Faults;
use crate::kit::{skip, wait_until, Direct, Guest, PATIENCE};

const MODULE: &str = "/run/abuse/abuse.ko";
const TRACES: [&str; 3] = ["/sys/module/abuse", "/sys/class/abuse", "/dev/abctl0"];

pub(super) fn run(guest: &Guest) -> Result<()> {
    if !Path::new(MODULE).exists() {
        return skip("the module is somewhere else");
    }
    let Some(mut faults) = Faults::new()? else {
        return skip("this kernel does not fail on request: make test KERNEL=debug");
    };
    guest.allow(Duration::from_secs(900));
    let held = guest.hold_udev()?;
    let mut refused = 0;
    unload()?;
    let failures = Faults::sweep("loading", |fault| {
        let module = File::open(MODULE)?;
        // One device is made as eight are.
        let load = || finit_module(&module, c"max_abuse=1", ModuleInitFlags::empty());
        match fault.during(load)? {
            Ok(()) if fault.hit() => unload(),
            Ok(()) => Ok(()),
            Err(Errno::ENOMEM | Errno::EFAULT | Errno::EAGAIN) if fault.hit() => {
                refused += 1;
                gone()
            }
            Err(error) => bail!("{error}"),
        }
    })?;
    let [slabs, pages, copies] = faults.counts()?;
    unload()?;
    finit_module(&File::open(MODULE)?, c"", ModuleInitFlags::empty())?;
    drop(held);
    wait_until("the control nodes", PATIENCE, || {
        Device::numbers().is_ok_and(|numbers| !numbers.is_empty())
    })?;
    let disk = guest.disk("size=16M")?;
    let _server = disk.serve("ram:loaded")?;
    let file = Direct::open(disk.path())?;
    file.write(0, &[9; 4096])?;
    ensure!(file.read(0, 4096)? == [9; 4096], "other bytes came");
    guest.figure(format!(
        "{failures} failures, {refused} refused: {slabs} of slabs, {pages} of pages, {copies} of copies"
    ));
    Ok(())
}

/// Unloads it, once the last work is over.
fn unload() -> Result<()> {
    wait_until("the module to go", PATIENCE, || {
        delete_module(c"abuse", DeleteModuleFlags::O_NONBLOCK).is_ok()
    })?;
    gone().context("after it was unloaded")
}

fn gone() -> Result<()> {
    for trace in TRACES {
        wait_until(trace, PATIENCE, || !Path::new(trace).exists())
            .with_context(|| format!("{trace} was left"))?;
    }
    Ok(())
}
