// SPDX-License-Identifier: GPL-2.0-only

//! Control nodes: a range of character devices with one table of file operations.
//!
//! C headers: `include/linux/cdev.h`, `include/linux/device/class.h`, `include/linux/fs.h`.

use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::ffi::{c_int, c_long, c_uint, c_ulong};
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::poll::PollTable;
use kernel::types::Opaque;

/// `FMODE_WRITE`; checked by static_assert in helpers.c, as the poll bits below.
const FMODE_WRITE: u32 = 0x2;

/// Something can be taken now.
pub(crate) const POLL_IN: u32 = 0x1 | 0x40;
/// There is no disk.
pub(crate) const POLL_HUP: u32 = 0x10;
/// Something is pending: what the driver of 2009 said.
pub(crate) const POLL_MSG: u32 = 0x400;

/// An open control node.
pub(crate) trait Node: Send + Sync + Sized + 'static {
    /// The node of this minor number is opened.
    fn open(minor: u32, writable: bool) -> Result<KBox<Self>>;
    /// An ioctl; `compat` if the caller is a 32-bit program.
    fn ioctl(&self, command: u32, argument: u64, compat: bool) -> Result<isize>;
    /// What can be done now.
    fn poll(&self, file: &File, table: &PollTable<'_>) -> u32;
    /// The node is closed for good: no thread is inside any of the calls above.
    fn release(self: KBox<Self>);
}

/// Minor numbers a module may use.
pub(crate) const MINORS: u32 = 1 << 20;

/// A range of control nodes of class `abuse`, gone when dropped.
///
/// # Invariants
///
/// `cdev` was added for `dev` and the minors after it, and `class` created.
pub(crate) struct Nodes<T: Node> {
    cdev: Pin<KBox<Opaque<bindings::cdev>>>,
    class: *mut bindings::class,
    dev: bindings::dev_t,
    _node: PhantomData<T>,
}

// SAFETY: All of it may be used from any thread.
unsafe impl<T: Node> Send for Nodes<T> {}
// SAFETY: As above.
unsafe impl<T: Node> Sync for Nodes<T> {}

impl<T: Node> Nodes<T> {
    /// Registers the range. No node is visible yet.
    pub(crate) fn new() -> Result<Self> {
        let mut dev: bindings::dev_t = 0;
        // SAFETY: The name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut dev, 0, MINORS, c"abuse".as_char_ptr())
        })?;
        let region = Region(dev);
        // SAFETY: The name is static.
        let class = from_err_ptr(unsafe { bindings::class_create(c"abuse".as_char_ptr()) })?;
        let class = Class(class);
        // SAFETY: A cdev may be zero before it is initialised.
        let cdev: bindings::cdev = unsafe { core::mem::zeroed() };
        let cdev = KBox::into_pin(KBox::new(Opaque::new(cdev), GFP_KERNEL)?);
        // SAFETY: Pinned, and the table is static.
        unsafe { bindings::cdev_init(cdev.get(), &Ops::<T>::TABLE) };
        // SAFETY: Initialised above.
        unsafe { (*cdev.get()).owner = crate::THIS_MODULE.as_ptr() };
        // SAFETY: As above, and the region is ours.
        to_result(unsafe { bindings::cdev_add(cdev.get(), dev, MINORS) })?;
        let raw = class.0;
        core::mem::forget((region, class));
        // INVARIANT: Added and created above.
        Ok(Nodes {
            cdev,
            class: raw,
            dev,
            _node: PhantomData,
        })
    }

    /// Makes /dev/abctl`minor` visible.
    pub(crate) fn publish(&self, minor: u32) -> Result {
        // SAFETY: The class is valid by the type invariant; the format takes one number.
        from_err_ptr(unsafe {
            bindings::device_create(
                self.class,
                core::ptr::null_mut(),
                self.dev | minor,
                core::ptr::null_mut(),
                c"abctl%u".as_char_ptr(),
                minor,
            )
        })?;
        Ok(())
    }

    /// Makes it invisible again.
    pub(crate) fn withdraw(&self, minor: u32) {
        // SAFETY: The class is valid by the type invariant.
        unsafe { bindings::device_destroy(self.class, self.dev | minor) };
    }
}

impl<T: Node> Drop for Nodes<T> {
    fn drop(&mut self) {
        // SAFETY: Added by the type invariant.
        unsafe { bindings::cdev_del(self.cdev.get()) };
        drop(Class(self.class));
        drop(Region(self.dev));
    }
}

struct Region(bindings::dev_t);

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: Allocated by `Nodes::new`.
        unsafe { bindings::unregister_chrdev_region(self.0, MINORS) };
    }
}

struct Class(*mut bindings::class);

impl Drop for Class {
    fn drop(&mut self) {
        // SAFETY: Created by `Nodes::new`.
        unsafe { bindings::class_destroy(self.0) };
    }
}

/// The table of callbacks.
struct Ops<T>(PhantomData<T>);

impl<T: Node> Ops<T> {
    const TABLE: bindings::file_operations = {
        // SAFETY: A table without any callback is all zero.
        let mut table: bindings::file_operations = unsafe { core::mem::zeroed() };
        table.owner = crate::THIS_MODULE.as_ptr();
        table.open = Some(Self::open);
        table.release = Some(Self::release);
        table.unlocked_ioctl = Some(Self::ioctl);
        table.compat_ioctl = Some(Self::compat_ioctl);
        table.poll = Some(Self::poll);
        table
    };

    /// # Safety
    ///
    /// `file` must be a file that `open` succeeded on and that has not been released.
    unsafe fn node<'a>(file: *mut bindings::file) -> &'a T {
        // SAFETY: Set by `open`.
        unsafe { &*((*file).private_data as *const T) }
    }

    /// # Safety
    ///
    /// Called by the VFS only.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Valid by the contract.
        let minor = unsafe { (*inode).i_rdev } & (MINORS - 1);
        // SAFETY: As above.
        let writable = unsafe { (*file).f_mode } & FMODE_WRITE != 0;
        match T::open(minor, writable) {
            Ok(node) => {
                // SAFETY: As above; released by `release`.
                unsafe { (*file).private_data = KBox::into_raw(node).cast() };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS only, on a file that was opened.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Set by `open`, and released once.
        let node = unsafe { KBox::from_raw((*file).private_data.cast::<T>()) };
        node.release();
        0
    }

    /// # Safety
    ///
    /// Called by the VFS only, on a file that was opened.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: By the contract.
        let node = unsafe { Self::node(file) };
        answer(node.ioctl(command, argument as u64, false))
    }

    /// # Safety
    ///
    /// Called by the VFS only, on a file that was opened.
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: By the contract.
        let node = unsafe { Self::node(file) };
        answer(node.ioctl(command, u64::from(argument as u32), true))
    }

    /// # Safety
    ///
    /// Called by the VFS only, on a file that was opened.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: By the contract.
        let node = unsafe { Self::node(file) };
        // SAFETY: As above.
        let table = unsafe { PollTable::from_raw(table) };
        // SAFETY: As above; nobody uses `fdget_pos` on a file without a position.
        let file = unsafe { File::from_raw_file(file) };
        node.poll(file, &table)
    }
}

fn answer(result: Result<isize>) -> c_long {
    match result {
        Ok(value) => value as c_long,
        Err(error) => error.to_errno() as c_long,
    }
}
