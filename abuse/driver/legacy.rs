// SPDX-License-Identifier: GPL-2.0-only

//! The six calls of 2009, to the byte.
//!
//! GET_BIO shows a request and leaves it queued; PUT_BIO moves its data, both ways, and completes
//! it. So a client of 2009 that dies between the two loses nothing but its time, and a write is
//! acknowledged in the very call that hands out its data: that is the order the old clients know,
//! and the reason v2 has another.

use crate::abi::{self, Info, Setup, Vector, XfrHdr};
use crate::device::Device;
use crate::exchange::finish_one;
use crate::ledger::{Finish, Op};
use crate::shape::{self, Bad};
use crate::sys::request::{Request, Status};
use crate::sys::trace;
use crate::sys::user::{self, NoFaults};
use crate::transfer;
use crate::Store;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::sync::Arc;

/// No such request, or nothing there: what v1 answers.
const ENOMSG: i32 = kernel::bindings::ENOMSG as i32;

fn enomsg() -> Error {
    Error::from_errno(-ENOMSG)
}

/// Bytes of a caller's `struct abuse_info`.
fn info_size(compat: bool) -> usize {
    if compat {
        abi::INFO32_SIZE
    } else {
        size_of::<Info>()
    }
}

/// GET_STATUS.
pub(crate) fn get_status(device: &Arc<Device>, argument: u64, compat: bool) -> Result {
    let argument = address(argument)?;
    let status = device.status();
    let config: Setup = status.config;
    let read_only = config.features & abi::F_READ_ONLY != 0;
    let info = Info {
        device: 0,
        bytes: config.bytes,
        number: device.number(),
        flags: if read_only { abi::FLAGS_READ_ONLY } else { 0 },
        blocksize: config.logical_block,
        max_queue: config.depth,
        queue_size: status
            .queued
            .saturating_add(status.taken)
            .saturating_add(status.draining),
        errors: status.errors,
        max_vecs: abi::V1_MAX_VECS,
        _pad: 0,
    };
    user::write_start(argument, &info, info_size(compat))
}

/// SET_STATUS.
pub(crate) fn set_status(
    device: &Arc<Device>,
    argument: u64,
    compat: bool,
    partitions: bool,
    cpus: u32,
    page: u32,
) -> Result {
    let info: Info = user::read_start(argument, info_size(compat))?;
    let asked = shape::of_2009(&info, partitions, page).map_err(errno)?;
    let mut settled = shape::settle(&asked, cpus, page).map_err(errno)?;
    // The queue keeps its length, as the disk its size: what cannot be had is not passed over.
    let keeps = |shape: &Setup| {
        shape.bytes == settled.bytes
            && shape.logical_block == settled.logical_block
            && (info.max_queue == 0 || info.max_queue == shape.depth)
    };
    let call = abi::Reconnect {
        flags: match info.flags & abi::FLAGS_READ_ONLY {
            0 => abi::RC_READ_WRITE,
            _ => abi::RC_READ_ONLY,
        },
        ..abi::Reconnect::default()
    };
    loop {
        let Some((shape, _)) = device.shape() else {
            return Device::setup(device, &mut settled).map_err(|error| {
                // Somebody else was faster: as if it had been set up before.
                if error == EBUSY {
                    EINVAL
                } else {
                    error
                }
            });
        };
        if info.flags & abi::FLAGS_RECONNECT == 0 || !keeps(&shape) {
            return Err(EINVAL);
        }
        return match Device::reconnect(device, &call) {
            // Reset in between: as if it had been empty before.
            Err(error) if error == ENXIO => continue,
            Err(error) => Err(error),
            Ok((outcome, _, _)) if outcome.is_in_vain() => Err(EBUSY),
            Ok(_) => Ok(()),
        };
    }
}

/// RESET.
pub(crate) fn reset(device: &Arc<Device>) -> Result {
    Device::reset(device, true).map(|_| ())
}

/// GET_BIO.
pub(crate) fn get_bio(device: &Arc<Device>, argument: u64) -> Result {
    let argument = address(argument)?;
    let mut header: XfrHdr = user::read(argument)?;
    let mut vectors = vectors()?;
    let shown = device.ledger.lock().v1_next(|id, request| {
        if trace::get_is_on() {
            trace::show(device.number(), id, request);
        }
        header.id = id;
        header.sector = request.sector();
        header.command = command_of(request.op());
        header.vec_count = describe(request, &mut vectors);
    });
    header.vec_offset = 0;
    if shown.is_none() {
        header.id = 0;
        header.vec_count = 0;
        header.transfer_address = 0;
        user::write(argument, &header)?;
        return Err(enomsg());
    }
    user::write(argument, &header)?;
    Device::mark_live(device);
    if header.transfer_address != 0 {
        let vectors = vectors.get(..header.vec_count as usize).unwrap_or(&[]);
        for (index, vector) in vectors.iter().enumerate() {
            let offset = index.wrapping_mul(size_of::<Vector>()) as u64;
            user::write(header.transfer_address.wrapping_add(offset), vector)?;
        }
    }
    Ok(())
}

/// PUT_BIO.
pub(crate) fn put_bio(device: &Arc<Device>, argument: u64) -> Result {
    let argument = address(argument)?;
    let header: XfrHdr = user::read(argument)?;
    if header.result == abi::V1_DEVICE_FAILURE {
        device.fail_all();
        return Ok(());
    }
    let mut theirs = vectors()?;
    let mut ours = vectors()?;
    for _ in 0..=transfer::TRIES {
        let begun = device.ledger.lock().finish_begin(header.id, true);
        let finish = begun.map_err(|_| {
            if trace::put_is_on() {
                trace::put_refused(device.number(), header.id, enomsg().to_errno());
            }
            enomsg()
        })?;
        let count = describe(&finish.request, &mut ours);
        let same = finish.request.sector() == header.sector
            && count == header.vec_count
            && command_of(finish.request.op()) == header.command;
        if !same {
            finish_one(device, finish, None);
            return Err(EINVAL);
        }
        if header.result == abi::V1_MEDIA_FAILURE {
            finish_one(device, finish, Some(Status::IO_ERROR));
            return Ok(());
        }
        let theirs = theirs.get_mut(..count as usize).ok_or(EINVAL)?;
        let Some(missing) = transfer(&finish, header.transfer_address, theirs) else {
            finish_one(device, finish, Some(Status::OK));
            return Ok(());
        };
        let read = finish.facts.op == Op::Read;
        finish_one(device, finish, None);
        match missing {
            Missing::Vectors => {
                let len = core::mem::size_of_val(theirs);
                user::fault_in_readable(header.transfer_address, len)?;
            }
            // All of it: there may be more pieces whose pages are missing than tries.
            Missing::Data => theirs
                .iter()
                .zip(ours.iter())
                .try_for_each(|(piece, our)| {
                    let (at, len) = (piece.address, our.len as usize);
                    match read {
                        true => user::fault_in_readable(at, len),
                        false => user::fault_in_writable(at, len),
                    }
                })?,
        }
    }
    Err(EFAULT)
}

/// User memory that was not there.
enum Missing {
    /// The vectors.
    Vectors,
    /// What they name.
    Data,
}

/// Moves the data of a request as the caller's vectors say, without faulting.
fn transfer(finish: &Finish<Request>, address: u64, theirs: &mut [Vector]) -> Option<Missing> {
    if theirs.is_empty() {
        return None;
    }
    if !user::read_nofault(address, theirs) {
        return Some(Missing::Vectors);
    }
    let no_faults = NoFaults::new();
    let mut pieces = finish.request.segments().zip(theirs.iter());
    let all = pieces.all(|(segment, vector)| match finish.facts.op {
        Op::Read => segment.copy_from_user(vector.address, &no_faults),
        _ => segment.copy_to_user(vector.address, &no_faults),
    });
    (!all).then_some(Missing::Data)
}

/// Room for the vectors of one request.
fn vectors() -> Result<Store<Vector>> {
    let mut vectors = Store::with_capacity(abi::V1_MAX_VECS as usize, GFP_KERNEL)?;
    for _ in 0..abi::V1_MAX_VECS {
        vectors.push(Vector::default(), GFP_KERNEL)?;
    }
    Ok(vectors)
}

/// Writes down the pieces of a request; their addresses are the client's business.
fn describe(request: &Request, vectors: &mut [Vector]) -> u32 {
    if !request.op().is_some_and(Op::has_data) {
        return 0;
    }
    let mut count = 0;
    for (segment, vector) in request.segments().zip(vectors.iter_mut()) {
        *vector = Vector {
            address: 0,
            len: segment.len(),
            offset: segment.offset(),
        };
        count += 1;
    }
    count
}

fn command_of(op: Option<Op>) -> u32 {
    match op {
        Some(Op::Read) => abi::V1_READ,
        Some(Op::Write) => abi::V1_WRITE,
        _ => abi::V1_SYNC_NOTIFICATION,
    }
}

fn address(argument: u64) -> Result<u64> {
    if argument == 0 {
        Err(EINVAL)
    } else {
        Ok(argument)
    }
}

/// The errno of a refused set-up.
pub(crate) fn errno(bad: Bad) -> Error {
    match bad {
        Bad::Invalid => EINVAL,
        Bad::TooBig => EFBIG,
    }
}
