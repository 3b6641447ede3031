// SPDX-License-Identifier: MIT

//! Devices are added and removed while the module is loaded, by number, by name, or the next that is
//! free; the control node and the disk come and go with them, and no sequence comes twice. Only who can
//! write to /dev/abuse-control may do so, and that is root.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use abuse::abi::{self, Add, Remove};
use abuse::{Device, NewDevice, Registry, State};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::kit::raw::{expect, Raw};
use crate::kit::{refused, Direct, Guest, PATIENCE};

const CONTROL: &str = "/dev/abuse-control";

pub(super) fn run(guest: &Guest) -> Result<()> {
    let registry = Registry::open()?;
    let mut sequences: HashSet<u64> = Registry::list()?.iter().map(|one| one.sequence).collect();
    let before = sequences.len();
    for round in 0..3 {
        let next = registry.add(&NewDevice::default())?;
        ensure!(next.number == before as u32, "{next:?}");
        let far = registry.add(&NewDevice::numbered(1000))?;
        ensure!(far.number == 1000);
        let named = registry.add(&NewDevice::named("the.third_1+2"))?;
        ensure!(named.number == next.number + 1);
        for added in [next, far, named] {
            ensure!(sequences.insert(added.sequence), "{added:?} came twice");
            let device = Device::open(added.number.to_string())?;
            let status = device.status()?;
            ensure!(
                (status.sequence, status.state) == (added.sequence, State::Empty),
                "{status:?}"
            );
            let name = (added == named).then(|| "the.third_1+2".to_string());
            ensure!(status.name == name, "{status:?}");
            ensure!(device.control_path().exists() && !device.disk_path().exists());
        }
        let all: Vec<u32> = Registry::list()?.iter().map(|one| one.number).collect();
        ensure!(all.len() == before + 3 && all.is_sorted(), "{all:?}");

        refused(registry.add(&NewDevice::numbered(1000)), Errno::EEXIST)?;
        refused(
            registry.add(&NewDevice::named("the.third_1+2")),
            Errno::EEXIST,
        )?;
        serves(guest, "1000").context("the disk of an added device")?;
        for added in [next, far, named] {
            let gone = registry.remove(added.number, Some(added.sequence), false, Some(PATIENCE));
            let gone = gone.with_context(|| format!("round {round}"))?;
            ensure!(gone.failed == 0);
            for node in ["abctl", "abuse"] {
                let path = format!("/dev/{node}{}", added.number);
                ensure!(!std::path::Path::new(&path).exists(), "{path} was left");
            }
            refused(
                registry.remove(added.number, Some(added.sequence), false, None),
                Errno::ENODEV,
            )?;
        }
    }

    // As an operator does it.
    let said = guest.abusectl(0, &["add", "77"])?;
    ensure!(said == "/dev/abctl77\n", "{said}");
    let said = guest.abusectl(5, &["add", "77"])?;
    ensure!(said.contains("has this number already"), "{said}");
    ensure!(guest.abusectl(0, &["list", "77"])?.contains("empty"));
    let said = guest.abusectl(0, &["remove", "/dev/abctl77"])?;
    ensure!(
        said == "/dev/abctl77: removed, 0 requests failed\n",
        "{said}"
    );
    guest.abusectl(4, &["remove", "77"])?;
    guest.abusectl(4, &["info", "77"])?;

    let mode = std::fs::metadata(CONTROL)?.mode() & 0o7777;
    ensure!(mode == 0o600, "{CONTROL} has mode {mode:o}");
    let looks = Raw::open_read_only(CONTROL)?;
    let mut add = Add {
        size: size_of::<Add>() as u32,
        number: abi::ANY_NUMBER,
        ..Add::default()
    };
    expect(
        "a reader adds",
        looks.call(abi::IOC_ADD, &mut add),
        Errno::EBADF,
    )?;
    let mut remove = Remove {
        size: size_of::<Remove>() as u32,
        ..Remove::default()
    };
    let got = looks.call(abi::IOC_REMOVE, &mut remove);
    expect("a reader removes", got, Errno::EBADF)?;
    ensure!(Registry::list()?.len() == before);
    Ok(())
}

fn serves(guest: &Guest, number: &str) -> Result<()> {
    // It looks at what was written, and a slow machine's may have it open for longer than a reset waits.
    let _udev = guest.hold_udev()?;
    let disk = guest.disk_on(Device::open(number)?, &abuse::Setup::new(1 << 20))?;
    let mut server = disk.serve("ram:added")?;
    let file = Direct::open(disk.path())?;
    file.write(4096, &[7; 4096])?;
    ensure!(file.read(4096, 4096)? == [7; 4096]);
    drop(file);
    guest.abusectl(0, &["reset", number])?;
    server.wait(PATIENCE)?;
    Ok(())
}
