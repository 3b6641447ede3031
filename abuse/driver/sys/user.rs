// SPDX-License-Identifier: GPL-2.0-only

//! User memory: structs in and out, with faults and without.
//!
//! C header: `include/linux/uaccess.h`.

use super::few::Few;
use super::ffi;
use crate::abi;
use core::marker::PhantomData;
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

/// Reads `count` values into an empty list, no more than there is room for. May fault and sleep.
#[inline(always)]
pub(crate) fn read_few<T: Plain, const N: usize>(
    address: u64,
    count: usize,
    values: &mut Few<T, N>,
) -> Result {
    let room = values.room(count).ok_or(EINVAL)?;
    let len = size_of_val(room);
    // SAFETY: There is so much room; the callee checks the source.
    let left =
        unsafe { bindings::_copy_from_user(room.as_mut_ptr().cast(), address as *const _, len) };
    if left > 0 {
        return Err(EFAULT);
    }
    // SAFETY: `count` values have been written, and `Plain` ones take any bytes.
    unsafe { values.set_len(count) };
    Ok(())
}

/// While it lives, this thread meets no page faults: a copy from or to user memory that is not there
/// fails instead.
pub(crate) struct NoFaults(PhantomData<*mut ()>);

impl NoFaults {
    /// Begins.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        // SAFETY: Ended by drop, on the same thread since the type is not `Send`.
        unsafe { ffi::abuse_pagefault_disable() };
        NoFaults(PhantomData)
    }
}

impl Drop for NoFaults {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: Pairs with `new`.
        unsafe { ffi::abuse_pagefault_enable() };
    }
}

/// Reads into a value; whether all of it came. May fault and sleep.
#[inline(always)]
fn read_into<T: Plain>(address: u64, value: &mut T) -> bool {
    let value: *mut T = value;
    // SAFETY: There is so much room, and `Plain` values take any bytes; the callee checks the source.
    // The object is not looked for in the stack: its size is known here, as `copy_from_user` has it.
    let left =
        unsafe { bindings::_copy_from_user(value.cast(), address as *const _, size_of::<T>()) };
    left == 0
}

/// Reads a value. May fault and sleep.
pub(crate) fn read<T: Plain>(address: u64) -> Result<T> {
    let mut value = T::default();
    read_into(address, &mut value)
        .then_some(value)
        .ok_or(EFAULT)
}

/// Writes a value. May fault and sleep.
#[inline(always)]
pub(crate) fn write<T: Plain>(address: u64, value: &T) -> Result {
    let value: *const T = value;
    // SAFETY: The source is valid, and `Plain` values have no padding; the callee checks the
    // destination. As for the rest, see `read_into`.
    let left = unsafe { bindings::_copy_to_user(address as *mut _, value.cast(), size_of::<T>()) };
    match left {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Writes a value from byte `FROM` on: what is before it has not changed. May fault and sleep.
#[inline(always)]
pub(crate) fn write_from<T: Plain, const FROM: usize>(address: u64, value: &T) -> Result {
    const { assert!(FROM < size_of::<T>()) };
    let rest = core::ptr::from_ref(value).cast::<u8>().wrapping_add(FROM);
    let to = address.wrapping_add(FROM as u64);
    // SAFETY: So many bytes of the value are behind `FROM`; as for the rest, see `write`.
    let left = unsafe { bindings::_copy_to_user(to as *mut _, rest.cast(), size_of::<T>() - FROM) };
    match left {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
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
    let mut value = T::default();
    read_sized_into(address, &mut value)?;
    Ok(value)
}

/// As [`read_sized`], in its place.
#[inline(always)]
pub(crate) fn read_sized_into<T: Plain>(address: u64, value: &mut T) -> Result {
    const { assert!(size_of::<T>() % 8 == 0 && size_of::<T>() > 0) };
    // As a rule it is of the known size: it is read at once.
    let whole = read_into(address, value);
    let size = bytes_of(value)
        .first_chunk()
        .map(|size| u32::from_ne_bytes(*size));
    if !whole || size != Some(size_of::<T>() as u32) {
        check_size(address, size_of::<T>(), whole)?;
    }
    let value: *const T = value;
    // SAFETY: The source is valid, and of whole words. The callee checks the destination.
    match unsafe { ffi::abuse_is_writable(address as *mut _, value.cast(), size_of::<T>() as u32) }
    {
        true => Ok(()),
        false => Err(EFAULT),
    }
}

/// What is wrong with the size of a struct, if anything is. A shorter one may end where memory does,
/// so that not the `whole` of what is known could be read.
#[cold]
fn check_size(address: u64, known: usize, whole: bool) -> Result {
    let size = read::<u32>(address)? as usize;
    if size < known {
        return Err(EINVAL);
    }
    if size > LONGEST {
        return Err(E2BIG);
    }
    if !whole {
        return Err(EFAULT);
    }
    check_rest(address, known, size)
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

/// Writes an array; whether all of it arrived.
#[inline(always)]
pub(crate) fn write_nofault<T: Plain>(address: u64, values: &[T], _no_faults: &NoFaults) -> bool {
    // SAFETY: The source is valid, and `Plain` values have no padding; the callee checks the
    // destination; there are no page faults.
    let left = unsafe {
        bindings::_copy_to_user(
            address as *mut _,
            values.as_ptr().cast(),
            size_of_val(values),
        )
    };
    left == 0
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
