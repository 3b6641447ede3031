// SPDX-License-Identifier: GPL-2.0-only

//! A block device whose requests any process can serve.
//!
//! This file: module parameters, wiring, and the order in which things appear and go. Calls go one
//! way, down:
//!
//! - `control`: the nodes and their ioctls; `legacy`: the calls of 2009; `exchange`: the one call of
//!   a busy worker
//! - `device`: one device, its life cycle, and those who wait for it
//! - `shape`: what a set-up asks for; `transfer`: request pages to and from user memory
//! - `ledger`: who may answer what; pure, and tested in user space
//! - `sys`: every `unsafe` block

#[path = "../uapi/abi.rs"]
#[allow(
    unreachable_pub,
    dead_code,
    reason = "shared with user space, where it is public"
)]
mod abi;
mod control;
mod device;
mod exchange;
#[expect(
    dead_code,
    reason = "compiled unchanged into its tests, which use all of it"
)]
mod ledger;
mod legacy;
mod shape;
mod sys;
mod transfer;

use control::Control;
use device::Device;
use kernel::prelude::*;
use kernel::sync::Arc;
use sys::chrdev::{Nodes, MINORS};
use sys::devices::DEVICES;
use sys::work::WorkQueue;

/// Tables that may be large.
type Store<T> = KVVec<T>;

/// Version of the driver.
const VERSION: &str = "0.1.0";

module! {
    type: Abuse,
    name: "abuse",
    authors: ["The ABUSE project"],
    description: "Block devices served by any process in user space",
    license: "GPL",
    params: {
        max_abuse: u32 {
            default: 0,
            description: "Devices made at load; 0: eight",
        },
        max_part: u32 {
            default: 0,
            description: "Partitions of devices set up by the calls of 2009; 0: not looked for",
        },
    },
}

/// Devices at load if `max_abuse` does not say.
const DEFAULT_DEVICES: u32 = 8;

/// The device with this number.
fn device(number: u32) -> Option<Arc<Device>> {
    let devices = DEVICES.lock();
    let mut devices = devices.iter();
    devices.find(|device| device.number() == number).cloned()
}

/// Whether devices set up by the calls of 2009 have partitions.
fn partitions() -> bool {
    *module_parameters::max_part.value() > 0
}

/// The module while it is loaded. Fields are dropped in order: first nobody can open a node any
/// more, then the work queue runs dry.
struct Abuse {
    nodes: Nodes<Control>,
    work: Arc<WorkQueue>,
}

impl kernel::Module for Abuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        sys::devices::init()?;
        let count = match *module_parameters::max_abuse.value() {
            0 => DEFAULT_DEVICES,
            count if count <= MINORS => count,
            _ => return Err(EINVAL),
        };
        let work = Arc::new(WorkQueue::new()?, GFP_KERNEL)?;
        let nodes = Nodes::new()?;
        let module = Abuse {
            nodes,
            work: work.clone(),
        };
        for number in 0..count {
            let device = Device::new(number, u64::from(number) + 1, work.clone())?;
            DEVICES.lock().push(device, GFP_KERNEL)?;
        }
        // Last, when nothing can fail any more: a node may be opened at once.
        for number in 0..count {
            if let Err(error) = module.nodes.publish(number) {
                pr_err!("abctl{} is not visible: {:?}\n", number, error);
            }
        }
        pr_info!("{} devices, version {}\n", count, VERSION);
        Ok(module)
    }
}

impl Drop for Abuse {
    /// No node is open, and no device is set up: either would hold the module.
    fn drop(&mut self) {
        let devices = core::mem::take(&mut *DEVICES.lock());
        for device in devices.iter() {
            self.nodes.withdraw(device.number());
        }
        // Work holds devices, and devices hold the queue: no work may outlive this code.
        self.work.flush();
    }
}
