// SPDX-License-Identifier: GPL-2.0-only

//! User memory: structs in and out, with faults and without.
//!
//! C header: `include/linux/uaccess.h`.

use crate::abi;
use core::mem::{size_of, size_of_val};
use kernel::bindings;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

/// Structs that may be copied byte by byte, both ways.
///
/// # Safety
///
/// Every bit pattern is valid, and there is no padding.
pub(crate) unsafe trait Plain: Copy + Default {}

macro_rules! plain {
    ($($t:ty),*) => {$(
        // SAFETY: `repr(C)`, integers only; abi.rs pads explicitly, and its sizes are asserted.
        unsafe impl Plain for $t {}
    )*};
}
plain!(u32, i32, u64);
plain!(
    abi::Info,
    abi::Vector,
    abi::XfrHdr,
    abi::Done,
    abi::Extent,
    abi::Take,
    abi::Exchange,
    abi::Setup
);
plain!(abi::Status, abi::Requeue, abi::Reconnect, abi::Reset);
plain!(abi::Add, abi::Remove, abi::Resize);

fn bytes<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` values have no padding.
    unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    bytes(core::slice::from_ref(value))
}

fn bytes_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: `Plain` values have no padding, and take any bytes.
    unsafe { core::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

fn slice(address: u64, len: usize) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(address as usize), len)
}

/// Reads an array. May fault and sleep.
pub(crate) fn read_slice<T: Plain>(address: u64, values: &mut [T]) -> Result {
    let values = bytes_mut(values);
    slice(address, values.len()).reader().read_slice(values)
}

/// Reads a value. May fault and sleep.
pub(crate) fn read<T: Plain>(address: u64) -> Result<T> {
    let mut value = [T::default()];
    read_slice(address, &mut value)?;
    let [value] = value;
    Ok(value)
}

/// Writes a value. May fault and sleep.
pub(crate) fn write<T: Plain>(address: u64, value: &T) -> Result {
    let value = bytes(core::slice::from_ref(value));
    slice(address, value.len()).writer().write_slice(value)
}

/// Writes the first `len` bytes of a value. May fault and sleep.
pub(crate) fn write_start<T: Plain>(address: u64, value: &T, len: usize) -> Result {
    let value = bytes(core::slice::from_ref(value))
        .get(..len)
        .ok_or(EINVAL)?;
    slice(address, len).writer().write_slice(value)
}

/// Reads the first `len` bytes of a value; the rest is zero. May fault and sleep.
pub(crate) fn read_start<T: Plain>(address: u64, len: usize) -> Result<T> {
    let mut value = [T::default()];
    let part = bytes_mut(&mut value).get_mut(..len).ok_or(EINVAL)?;
    slice(address, len).reader().read_slice(part)?;
    let [value] = value;
    Ok(value)
}

/// Longest struct a caller may bring: what future versions may grow to.
const LONGEST: usize = 4096;

/// Reads a struct that begins with its size. A shorter one is refused (EINVAL), a longer one too
/// unless what this version does not know of it is zero (E2BIG). Memory that cannot take the answer
/// is refused now (EFAULT), before anything was done. May fault and sleep.
pub(crate) fn read_sized<T: Plain>(address: u64) -> Result<T> {
    let known = size_of::<T>();
    // As a rule it is of the known size: it is read at once. A shorter one may end where memory does.
    let value = read::<T>(address).ok();
    let size = match value
        .as_ref()
        .and_then(|value| bytes_of(value).first_chunk())
    {
        Some(size) => u32::from_ne_bytes(*size),
        None => read::<u32>(address)?,
    } as usize;
    if size < known {
        return Err(EINVAL);
    }
    if size > LONGEST {
        return Err(E2BIG);
    }
    let value = value.ok_or(EFAULT)?;
    if size > known {
        check_rest(address, known, size)?;
    }
    write(address, &value)?;
    Ok(value)
}

/// What this version does not know of a struct must be zero.
#[cold]
fn check_rest(address: u64, known: usize, size: usize) -> Result {
    let mut rest = slice(address.wrapping_add(known as u64), size - known).reader();
    while !rest.is_empty() {
        let mut chunk = [0u8; 64];
        let len = rest.len().min(chunk.len());
        let Some(chunk) = chunk.get_mut(..len) else {
            break;
        };
        rest.read_slice(chunk)?;
        if chunk.iter().any(|&byte| byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(())
}

/// Writes an array without faulting; whether all of it arrived.
pub(crate) fn write_nofault<T: Plain>(address: u64, values: &[T]) -> bool {
    let values = bytes(values);
    // SAFETY: The source is valid; the callee checks the destination.
    let error = unsafe {
        bindings::copy_to_user_nofault(address as *mut _, values.as_ptr().cast(), values.len())
    };
    error == 0
}

/// Reads an array without faulting; whether all of it came.
pub(crate) fn read_nofault<T: Plain>(address: u64, values: &mut [T]) -> bool {
    let values = bytes_mut(values);
    // SAFETY: The destination is valid; the callee checks the source.
    let error = unsafe {
        bindings::copy_from_user_nofault(
            values.as_mut_ptr().cast(),
            address as *const _,
            values.len(),
        )
    };
    error == 0
}

/// Brings pages in that are about to be written to. May fault and sleep.
pub(crate) fn fault_in_writable(address: u64, len: usize) -> Result {
    // SAFETY: The callee checks the address.
    match unsafe { bindings::fault_in_safe_writeable(address as *mut _, len) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Brings pages in that are about to be read. May fault and sleep.
pub(crate) fn fault_in_readable(address: u64, len: usize) -> Result {
    // SAFETY: The callee checks the address.
    match unsafe { bindings::fault_in_readable(address as *const _, len) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}
