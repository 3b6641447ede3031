// SPDX-License-Identifier: GPL-2.0-only

//! Control nodes: a range of character devices with one table of file operations.
//!
//! C headers: `include/linux/cdev.h`, `include/linux/device/class.h`, `include/linux/fs.h`.

use super::attributes::{Groups, Variable};
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::ffi::{c_int, c_long, c_uint, c_ulong, c_void};
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::poll::PollTable;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// `FMODE_WRITE`; checked by static_assert in helpers.c, as the poll bits below.
const FMODE_WRITE: u32 = 0x2;

/// Something can be taken now.
pub(crate) const POLL_IN: u32 = 0x1 | 0x40;
/// There is no device any more.
pub(crate) const POLL_ERR: u32 = 0x8;
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
    /// What can be done now. By default nothing ever happens.
    fn poll(&self, _file: &File, _table: &PollTable<'_>) -> u32 {
        0
    }
    /// The node is closed for good: no thread is inside any of the calls above.
    fn release(self: KBox<Self>);
}

/// Minor numbers a module may use.
pub(crate) const MINORS: u32 = 1 << 20;

/// The class `abuse` in sysfs.
///
/// # Invariants
///
/// The pointer is a class that was created, and is destroyed only by drop.
pub(crate) struct Class(*mut bindings::class);

// SAFETY: A class may be used from any thread.
unsafe impl Send for Class {}
// SAFETY: As above.
unsafe impl Sync for Class {}

impl Class {
    /// Makes it.
    pub(crate) fn new() -> Result<Arc<Self>> {
        // SAFETY: The name is static.
        let class = from_err_ptr(unsafe { bindings::class_create(c"abuse".as_char_ptr()) })?;
        // INVARIANT: Just created.
        Ok(Arc::new(Class(class), GFP_KERNEL)?)
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        // SAFETY: Created, by the type invariant.
        unsafe { bindings::class_destroy(self.0) };
    }
}

/// A range of character devices that can be opened, until it is dropped.
///
/// # Invariants
///
/// `cdev` was added for the region.
pub(crate) struct Nodes {
    cdev: Pin<KBox<Opaque<bindings::cdev>>>,
    region: Region,
    class: Arc<Class>,
}

// SAFETY: All of it may be used from any thread.
unsafe impl Send for Nodes {}
// SAFETY: As above.
unsafe impl Sync for Nodes {}

impl Nodes {
    /// Registers `count` minor numbers under a name for /proc/devices. No node is visible yet.
    pub(crate) fn new<T: Node>(class: Arc<Class>, name: &'static CStr, count: u32) -> Result<Self> {
        let mut dev: bindings::dev_t = 0;
        // SAFETY: The name is static.
        to_result(unsafe {
            bindings::alloc_chrdev_region(&mut dev, 0, count, name.as_char_ptr())
        })?;
        let region = Region { dev, count };
        // SAFETY: A cdev may be zero before it is initialised.
        let cdev: bindings::cdev = unsafe { core::mem::zeroed() };
        let cdev = KBox::into_pin(KBox::new(Opaque::new(cdev), GFP_KERNEL)?);
        // SAFETY: Pinned, and the table is static.
        unsafe { bindings::cdev_init(cdev.get(), &Ops::<T>::TABLE) };
        // SAFETY: Initialised above.
        unsafe { (*cdev.get()).owner = crate::THIS_MODULE.as_ptr() };
        // SAFETY: As above, and the region is ours.
        to_result(unsafe { bindings::cdev_add(cdev.get(), dev, count) })?;
        // INVARIANT: Added above.
        Ok(Nodes {
            cdev,
            region,
            class,
        })
    }

    /// Makes the node of a minor number visible in /dev and in sysfs, where `%u` in `format` is the
    /// number and the files of `groups` say something of `data`.
    pub(crate) fn publish<T: Send + Sync + 'static>(
        &self,
        minor: u32,
        format: &'static CStr,
        data: Arc<T>,
        groups: Arc<Groups<T>>,
    ) -> Result<Visible<T>> {
        let of: *const T = &*data;
        let device = self.create(minor, format, of.cast_mut().cast(), groups.as_ptr())?;
        // INVARIANT: Registered just now, with these data and groups.
        Ok(Visible {
            device,
            _files: Some((data, groups)),
            _class: self.class.clone(),
        })
    }

    /// The same without files in sysfs.
    pub(crate) fn publish_bare(&self, minor: u32, format: &'static CStr) -> Result<Visible<()>> {
        let none = core::ptr::null_mut();
        let device = self.create(minor, format, none, core::ptr::null_mut())?;
        // INVARIANT: Registered just now.
        Ok(Visible {
            device,
            _files: None,
            _class: self.class.clone(),
        })
    }

    /// Registers a device. What `data` and `groups` point to must outlive it.
    fn create(
        &self,
        minor: u32,
        format: &'static CStr,
        data: *mut c_void,
        groups: *mut *const bindings::attribute_group,
    ) -> Result<NonNull<bindings::device>> {
        // SAFETY: The class is valid by its invariant; the formats take one number or none; the rest
        // is for the callers, who keep it in `Visible`.
        let device = from_err_ptr(unsafe {
            bindings::device_create_with_groups(
                self.class.0,
                core::ptr::null_mut(),
                self.region.dev | minor,
                data,
                groups,
                format.as_char_ptr(),
                minor,
            )
        })?;
        NonNull::new(device).ok_or(ENOMEM)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // SAFETY: Added by the type invariant.
        unsafe { bindings::cdev_del(self.cdev.get()) };
    }
}

/// A node that is visible until this is dropped, which waits for whoever reads its files.
///
/// # Invariants
///
/// `device` is registered, and unregistered only by drop. If it has files, `_files` is what they
/// read and what they are; that goes after the device.
pub(crate) struct Visible<T> {
    device: NonNull<bindings::device>,
    _files: Option<(Arc<T>, Arc<Groups<T>>)>,
    _class: Arc<Class>,
}

// SAFETY: A device may be used and unregistered from any thread.
unsafe impl<T: Send + Sync> Send for Visible<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Visible<T> {}

impl<T> Visible<T> {
    /// The device in sysfs, for others to be its children; valid as long as `self`.
    pub(super) fn device(&self) -> *mut bindings::device {
        self.device.as_ptr()
    }

    /// Tells user space that something has changed.
    pub(crate) fn announce<const N: usize>(&self, variables: &[Variable; N]) {
        let mut list = [core::ptr::null_mut(); 8];
        // The last stays null.
        for (place, variable) in list.iter_mut().take(7).zip(variables) {
            *place = variable.as_ptr();
        }
        let change = bindings::kobject_action_KOBJ_CHANGE;
        // SAFETY: Registered by the type invariant; the list ends with null, and its strings, which
        // the callee only reads, with NUL.
        unsafe {
            bindings::kobject_uevent_env(
                &raw mut (*self.device.as_ptr()).kobj,
                change,
                list.as_mut_ptr(),
            )
        };
    }
}

impl<T> Drop for Visible<T> {
    fn drop(&mut self) {
        // SAFETY: Registered, by the type invariant.
        unsafe { bindings::device_unregister(self.device.as_ptr()) };
    }
}

struct Region {
    dev: bindings::dev_t,
    count: u32,
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: Allocated by `Nodes::new`.
        unsafe { bindings::unregister_chrdev_region(self.dev, self.count) };
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
