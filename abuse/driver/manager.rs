// SPDX-License-Identifier: GPL-2.0-only

//! /dev/abuse-control: devices are added and removed here.
//!
//! As with the nodes of devices, the right to change anything is a descriptor that is open for
//! writing (EBADF). The node is root's alone: who serves disks need not be able to make them go.

use crate::abi;
use crate::control::CALL;
use crate::name::Name;
use crate::sys::chrdev::Node;
use crate::sys::task::NoIo;
use crate::sys::user;
use crate::table;
use kernel::prelude::*;

/// An open /dev/abuse-control.
pub(crate) struct Manager {
    writable: bool,
}

impl Node for Manager {
    fn open(_minor: u32, writable: bool) -> Result<KBox<Self>> {
        Ok(KBox::new(Manager { writable }, GFP_KERNEL)?)
    }

    fn ioctl(&self, command: u32, argument: u64, _compat: bool) -> Result<isize> {
        const ADD: u32 = abi::IOC_ADD & CALL;
        const REMOVE: u32 = abi::IOC_REMOVE & CALL;
        let serve = match command & CALL {
            ADD => add,
            REMOVE => remove,
            _ => return Err(ENOTTY),
        };
        if !self.writable {
            return Err(EBADF);
        }
        // A process that serves a disk must not wait for that disk.
        let _noio = NoIo::new();
        serve(argument).map(|()| 0)
    }

    fn release(self: KBox<Self>) {}
}

fn add(argument: u64) -> Result {
    let mut call: abi::Add = user::read_sized(argument)?;
    if call.flags != 0 || call.reserved != 0 || call.reserved1 != 0 {
        return Err(EINVAL);
    }
    let name = Name::parse(&call.name).ok_or(EINVAL)?;
    let number = Some(call.number).filter(|&number| number != abi::ANY_NUMBER);
    let device = table::add(number, name)?;
    call.number = device.number();
    call.sequence = device.sequence();
    user::write(argument, &call)
}

fn remove(argument: u64) -> Result {
    let mut call: abi::Remove = user::read_sized(argument)?;
    if call.flags & !abi::RM_FORCE != 0 || call.reserved != 0 || call.reserved1 != [0; 2] {
        return Err(EINVAL);
    }
    let force = call.flags & abi::RM_FORCE != 0;
    let (device, begun) = table::remove(call.number, call.sequence, force)?;
    call.failed = begun.failed;
    call.draining = begun.draining;
    user::write(argument, &call)?;
    match call.timeout_ns {
        0 => Ok(()),
        timeout => device.wait_removal(timeout),
    }
}
