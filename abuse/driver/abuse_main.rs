// SPDX-License-Identifier: GPL-2.0-only

//! A block device whose requests any process can serve.
//!
//! This file: module parameters, wiring, and the order in which things appear and go. Calls go one
//! way, down:
//!
//! - `control`: the nodes of devices and their ioctls; `legacy`: the calls of 2009; `exchange`: the
//!   one call of a busy worker; `manager`: the node through which devices come and go
//! - `table`: which devices there are; `attributes`: what sysfs says of them
//! - `device`: one device, its life cycle, and those who wait for it
//! - `shape`: what a set-up asks for; `name`: what may be a name; `transfer`: request pages to and from user memory
//! - `ledger`: who may answer what; pure, and tested in user space
//! - `sys`: every `unsafe` block

macro_rules! version {
    () => {
        "0.1.0"
    };
}
pub(crate) use version;

#[path = "../uapi/abi.rs"]
#[allow(
    unreachable_pub,
    dead_code,
    reason = "shared with user space, where it is public"
)]
mod abi;
mod attributes;
mod control;
mod device;
mod exchange;
#[expect(
    dead_code,
    reason = "compiled unchanged into its tests, which use all of it"
)]
mod ledger;
mod legacy;
mod manager;
mod name;
mod shape;
mod sys;
mod table;
mod transfer;

use control::Control;
use kernel::prelude::*;
use kernel::sync::Arc;
use manager::Manager;
use name::Name;
use sys::attributes::Groups;
use sys::chrdev::{Class, Nodes, Visible, MINORS};
use sys::work::WorkQueue;

/// Tables that may be large.
type Store<T> = KVVec<T>;

/// Version of the driver.
const VERSION: &str = version!();

module! {
    type: Abuse,
    name: "abuse",
    authors: ["The ABUSE project"],
    description: "Block devices served by any process in user space",
    license: "GPL",
    params: {
        max_abuse: u32 {
            default: 0,
            description: "Devices made at load, and most there may be; 0: eight, and as many as are added",
        },
        max_part: u32 {
            default: 0,
            description: "Partitions of devices set up by the calls of 2009; 0: not looked for",
        },
    },
}

/// Devices at load if `max_abuse` does not say.
const DEFAULT_DEVICES: u32 = 8;

/// Whether devices set up by the calls of 2009 have partitions.
fn partitions() -> bool {
    *module_parameters::max_part.value() > 0
}

/// The module while it is loaded.
struct Abuse {
    /// /dev/abuse-control, and what can be opened there; goes first.
    _visible: Option<Visible<()>>,
    _manager: Nodes,
}

impl kernel::Module for Abuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        sys::devices::init()?;
        let (count, most) = match *module_parameters::max_abuse.value() {
            0 => (DEFAULT_DEVICES, MINORS),
            count if count <= MINORS => (count, count),
            _ => return Err(EINVAL),
        };
        let work = Arc::new(WorkQueue::new()?, GFP_KERNEL)?;
        let class = Class::new()?;
        let nodes = Nodes::new::<Control>(class.clone(), c"abuse", MINORS)?;
        let manager = Nodes::new::<Manager>(class, c"abuse-control", 1)?;
        let files = Groups::new(&attributes::GROUPS)?;
        let (nodes, files) = (Arc::new(nodes, GFP_KERNEL)?, Arc::new(files, GFP_KERNEL)?);
        table::open(nodes, files, work, most);
        let mut module = Abuse {
            _visible: None,
            _manager: manager,
        };
        for number in 0..count {
            table::enter(Some(number), Name::NONE)?;
        }
        // Last, when nothing can fail any more: a node may be opened at once.
        for number in 0..count {
            let published =
                table::find(number).map_or(Err(ENODEV), |device| table::publish(&device));
            if let Err(error) = published {
                pr_err!("abctl{} is not visible: {:?}\n", number, error);
            }
        }
        match module._manager.publish_bare(0, c"abuse-control") {
            Ok(visible) => module._visible = Some(visible),
            Err(error) => pr_err!("abuse-control is not visible: {:?}\n", error),
        }
        pr_info!("{} devices, version {}\n", count, VERSION);
        Ok(module)
    }
}

impl Drop for Abuse {
    fn drop(&mut self) {
        table::close();
    }
}
