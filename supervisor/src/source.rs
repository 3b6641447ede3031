// SPDX-License-Identifier: MIT
//! From what an operator wrote to what a unit needs: the device, opened and set up,
//! its place in the runtime directory, and the complete command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::Wanted;
use crate::device::Device;
use crate::exit::Failure;
use crate::slots::Slots;
use crate::terms::AtEnd;
use crate::unit::Plan;
use crate::{prepare, spawn};

/// Makes devices of what is wanted.
pub trait Source {
    /// What it makes.
    type Device: Device;

    /// What is wanted has this name in the log and in the runtime directory, and that device.
    fn open(&self, wanted: &Wanted) -> Result<(String, Self::Device), Failure>;

    /// The complete command line of a worker.
    fn command(&self, wanted: &Wanted, device: &Self::Device) -> Vec<OsString>;

    /// The command line that takes the disk down if nobody uses it; `None`: it stays.
    fn take_down(&self, wanted: &Wanted, device: &Self::Device) -> Option<Vec<OsString>>;

    /// Sets the device up, if that was asked for and has not been done.
    fn set_up(&self, wanted: &Wanted, device: &Self::Device) -> Result<(), Failure>;

    /// Where locks, records and sockets are.
    fn runtime_dir(&self) -> PathBuf;
}

/// A device that is open, and this supervisor's.
#[derive(Debug)]
pub struct Opened<D> {
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Its name in the log and in the runtime directory.
    pub name: String,
    /// Its place there, locked.
    pub slots: Slots,
    /// The device.
    pub device: D,
}

/// Opens what is wanted, all or nothing, and changes nothing.
pub fn open<S: Source>(source: &S, all: Vec<Wanted>) -> Result<Vec<Opened<S::Device>>, Failure> {
    let open = |wanted: Wanted| {
        let (name, device) = source.open(&wanted)?;
        let slots = Slots::open(&source.runtime_dir(), &name)?;
        Ok(Opened {
            wanted,
            name,
            slots,
            device,
        })
    };
    all.into_iter().map(open).collect()
}

/// How it is to be run.
pub fn plan<S: Source>(
    source: &S,
    wanted: &Wanted,
    name: String,
    device: &S::Device,
) -> Result<Plan, Failure> {
    Ok(Plan {
        name,
        command: source.command(wanted, device),
        take_down: source.take_down(wanted, device),
        workers: wanted.terms.workers.into(),
        standby: wanted.terms.standby.into(),
        policy: wanted.terms.policy()?,
    })
}

/// The devices of this machine.
#[derive(Debug)]
pub struct Machine {
    /// Where locks, records and sockets are.
    pub runtime_dir: PathBuf,
}

impl Source for Machine {
    type Device = abuse::Device;

    fn open(&self, wanted: &Wanted) -> Result<(String, abuse::Device), Failure> {
        let device = prepare::open(&wanted.device)?;
        Ok((format!("abctl{}", device.number()), device))
    }

    fn command(&self, wanted: &Wanted, device: &abuse::Device) -> Vec<OsString> {
        spawn::with_control_node(&wanted.command, &device.control_path())
    }

    fn take_down(&self, wanted: &Wanted, device: &abuse::Device) -> Option<Vec<OsString>> {
        // What nothing here says how to set up was somebody else's, and is not ours to reset.
        if wanted.setup.is_empty() || wanted.terms.at_end == AtEnd::Keep {
            return None;
        }
        let timeout = humantime::format_duration(*wanted.terms.drain_timeout);
        let timeout = timeout.to_string().replace(' ', "");
        Some(vec![
            spawn::beside_us("abusectl").into(),
            "reset".into(),
            device.control_path().into(),
            "--timeout".into(),
            timeout.into(),
        ])
    }

    fn set_up(&self, wanted: &Wanted, device: &abuse::Device) -> Result<(), Failure> {
        let setup = prepare::parse(&wanted.setup)?;
        prepare::set_up(device, setup.as_ref())
    }

    fn runtime_dir(&self) -> PathBuf {
        self.runtime_dir.clone()
    }
}
