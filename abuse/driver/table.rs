// SPDX-License-Identifier: GPL-2.0-only

//! Which devices there are, and how they come and go.
//!
//! The table is one lock, held for as long as it takes to look something up or to enter it, and never
//! while anything waits: what becomes of one device delays no other.
//!
//! A device is added in two steps: it is entered, and its node is made. It is removed in three: it is
//! gone, which everybody who waits is told; its disk goes, which may take as long as a filesystem
//! that is being unmounted; then its node goes and the number is free.

use crate::device::{Device, ResetBegun, REMOVAL};
use crate::name::Name;
use crate::sys::attributes::Groups;
use crate::sys::chrdev::{Nodes, MINORS};
use crate::sys::devices::TABLE;
use crate::sys::work::WorkQueue;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;

// Not among the kernel crate's error codes.
const ESTALE: i32 = kernel::bindings::ESTALE as i32;

/// The devices, in the order of their numbers.
pub(crate) struct Table {
    devices: KVec<Arc<Device>>,
    tools: Option<Tools>,
    /// Of the device that was added last.
    sequence: u64,
    /// Devices there may be.
    most: usize,
}

/// What devices are made with; there while the module is loaded.
#[derive(Clone)]
struct Tools {
    nodes: Arc<Nodes>,
    /// What each of them has in sysfs.
    files: Arc<Groups<Device>>,
    work: Arc<WorkQueue>,
}

impl Table {
    /// No device, and none can be added.
    pub(crate) const fn new() -> Self {
        Table {
            devices: KVec::new(),
            tools: None,
            sequence: 0,
            most: 0,
        }
    }

    /// Where the device with this number is, or belongs.
    fn place(&self, number: u32) -> core::result::Result<usize, usize> {
        self.devices
            .binary_search_by_key(&number, |device| device.number())
    }

    fn get(&self, number: u32) -> Option<&Arc<Device>> {
        let place = self.place(number).ok()?;
        self.devices.get(place)
    }

    /// The lowest number that no device has.
    fn free(&self) -> u32 {
        let taken = self.devices.iter().zip(0u32..);
        taken
            .take_while(|(device, number)| device.number() == *number)
            .count() as u32
    }
}

/// Devices can be added from now on, up to `most`.
pub(crate) fn open(nodes: Arc<Nodes>, files: Arc<Groups<Device>>, work: Arc<WorkQueue>, most: u32) {
    let mut table = TABLE.lock();
    table.tools = Some(Tools { nodes, files, work });
    table.most = most as usize;
}

/// The device with this number.
pub(crate) fn find(number: u32) -> Option<Arc<Device>> {
    TABLE.lock().get(number).cloned()
}

/// Enters a device; `None` means the lowest number that is free. Nobody sees it yet.
///
/// EEXIST: another has the number or the name; EBUSY if that one is being removed. ENOSPC: there is
/// no such number, or too many devices.
pub(crate) fn enter(number: Option<u32>, name: Name) -> Result<Arc<Device>> {
    let taken = |device: &Arc<Device>| {
        if device.is_gone() {
            EBUSY
        } else {
            EEXIST
        }
    };
    let mut table = TABLE.lock();
    let work = table.tools.as_ref().ok_or(ENODEV)?.work.clone();
    let number = number.unwrap_or_else(|| table.free());
    let place = match table.place(number) {
        Ok(place) => {
            let there = table.devices.get(place);
            return Err(there.map_or(EEXIST, taken));
        }
        Err(place) => place,
    };
    let namesake = |device: &&Arc<Device>| !name.is_none() && *device.name() == name;
    if let Some(there) = table.devices.iter().find(namesake) {
        return Err(taken(there));
    }
    if number >= MINORS || table.devices.len() >= table.most {
        return Err(ENOSPC);
    }
    table.sequence = table.sequence.wrapping_add(1);
    let device = Device::new(number, table.sequence, name, work)?;
    table.devices.reserve(1, GFP_KERNEL)?;
    let entered = table.devices.insert_within_capacity(place, device.clone());
    entered.map_err(|_| ENOMEM)?;
    Ok(device)
}

/// Makes the node of a device that was entered.
pub(crate) fn publish(device: &Arc<Device>) -> Result {
    let tools = TABLE.lock().tools.clone().ok_or(ENODEV)?;
    let (number, files) = (device.number(), tools.files);
    device.publish(|| {
        tools
            .nodes
            .publish(number, c"abctl%u", device.clone(), files)
    })
}

/// Adds a device: enters it and makes its node.
pub(crate) fn add(number: Option<u32>, name: Name) -> Result<Arc<Device>> {
    let device = enter(number, name)?;
    if let Err(error) = publish(&device) {
        // Nobody saw it, but whoever made up a node of this number.
        let _ = Device::remove(&device, true);
        return Err(error);
    }
    Ok(device)
}

/// Begins to remove the device of this number, if it is the one that is meant.
///
/// ENODEV: there is none; ESTALE: it is another one. Otherwise as [`Device::remove`].
pub(crate) fn remove(number: u32, sequence: u64, force: bool) -> Result<(Arc<Device>, ResetBegun)> {
    let device = find(number).ok_or(ENODEV)?;
    if sequence != 0 && device.sequence() != sequence {
        return Err(Error::from_errno(-ESTALE));
    }
    let begun = Device::remove(&device, force)?;
    Ok((device, begun))
}

/// The module goes: no node is open, and no device is set up, since either would hold it.
pub(crate) fn close() {
    let mut table = TABLE.lock();
    let devices = core::mem::take(&mut table.devices);
    let tools = table.tools.take();
    drop(table);
    for device in devices.iter() {
        device.withdraw();
    }
    // Work holds devices, and devices hold the queue: no work may outlive this code.
    if let Some(tools) = tools {
        tools.work.drain();
    }
}

impl WorkItem<REMOVAL> for Device {
    type Pointer = Arc<Device>;

    /// The end of a removal, when there is no disk any more.
    fn run(this: Arc<Device>) {
        // First, or the number could be added again while the node is still there.
        this.withdraw();
        let mut table = TABLE.lock();
        let place = table.place(this.number());
        if let Ok(place) = place {
            let same = |device: &Arc<Device>| device.sequence() == this.sequence();
            if table.devices.get(place).is_some_and(same) {
                let _ = table.devices.remove(place);
            }
        }
        drop(table);
        this.depart();
    }
}
