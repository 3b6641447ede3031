// SPDX-License-Identifier: GPL-2.0-only

//! Files below a node in sysfs that say something of what the node stands for.
//!
//! C headers: `include/linux/device.h`, `include/linux/sysfs.h`.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use kernel::bindings;
use kernel::ffi::c_char;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

/// Writes what a file says.
pub(crate) type Show<T> = fn(&T, &mut Text<'_>) -> fmt::Result;

/// One file.
///
/// # Invariants
///
/// `raw` comes first and its callback is that of `T`.
#[repr(C)]
pub(crate) struct Attribute<T> {
    raw: bindings::device_attribute,
    show: Show<T>,
}

// SAFETY: Nothing in it changes; the pointers are to what is static.
unsafe impl<T> Sync for Attribute<T> {}

impl<T: Send + Sync + 'static> Attribute<T> {
    /// A file that everybody may read. `show` must be cheap: nobody can be kept from asking.
    pub(crate) const fn open(name: &'static CStr, show: Show<T>) -> Self {
        Self::new(name, 0o444, show)
    }

    /// A file that root may read.
    pub(crate) const fn secret(name: &'static CStr, show: Show<T>) -> Self {
        Self::new(name, 0o440, show)
    }

    const fn new(name: &'static CStr, mode: bindings::umode_t, show: Show<T>) -> Self {
        // SAFETY: An attribute without a callback is all zero.
        let mut raw: bindings::device_attribute = unsafe { core::mem::zeroed() };
        raw.attr.name = name.to_bytes_with_nul().as_ptr().cast();
        raw.attr.mode = mode;
        raw.__bindgen_anon_1.show = Some(Self::show);
        // INVARIANT: Just set.
        Attribute { raw, show }
    }

    /// # Safety
    ///
    /// Called by the driver core only, for a device that [`super::chrdev::Nodes::publish`] made with
    /// data of this type.
    unsafe extern "C" fn show(
        device: *mut bindings::device,
        attribute: *mut bindings::device_attribute,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: By the type invariant this is where the whole of it begins.
        let show = unsafe { (*attribute.cast::<Self>()).show };
        // SAFETY: The data are kept by whoever unregisters the device, which waits for this call.
        let data = unsafe { &*(*device).driver_data.cast::<T>() };
        // SAFETY: A page to be filled, which is nobody else's.
        let page = unsafe { core::slice::from_raw_parts_mut(page.cast::<u8>(), PAGE_SIZE) };
        let mut text = Text { page, len: 0 };
        match show(data, &mut text) {
            Ok(()) => text.len as isize,
            Err(_) => EFBIG.to_errno() as isize,
        }
    }
}

/// A page of text that is being written.
pub(crate) struct Text<'a> {
    page: &'a mut [u8],
    len: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.saturating_add(text.len());
        let place = self.page.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Files that belong together: in a directory of this name, or beside the node's own.
pub(crate) struct Group<T: 'static> {
    /// The directory.
    pub(crate) name: Option<&'static CStr>,
    /// The files.
    pub(crate) attributes: &'static [Attribute<T>],
}

/// Groups as the driver core wants them.
///
/// # Invariants
///
/// `list` ends with null; the others are groups, whose lists of attributes end so too and are those
/// of `T`. All they point to is static, or kept here and never changes.
pub(crate) struct Groups<T> {
    list: KVec<*const bindings::attribute_group>,
    _groups: KVec<bindings::attribute_group>,
    _lists: KVec<KVec<*mut bindings::attribute>>,
    _data: PhantomData<fn(&T)>,
}

// SAFETY: Nothing in it changes.
unsafe impl<T> Send for Groups<T> {}
// SAFETY: As above.
unsafe impl<T> Sync for Groups<T> {}

impl<T: Send + Sync + 'static> Groups<T> {
    /// Puts them together.
    pub(crate) fn new(table: &'static [Group<T>]) -> Result<Self> {
        let mut lists = KVec::with_capacity(table.len(), GFP_KERNEL)?;
        let mut groups = KVec::with_capacity(table.len(), GFP_KERNEL)?;
        let mut list = KVec::with_capacity(table.len() + 1, GFP_KERNEL)?;
        for group in table {
            let mut attributes = KVec::with_capacity(group.attributes.len() + 1, GFP_KERNEL)?;
            for attribute in group.attributes {
                attributes.push((&raw const attribute.raw.attr).cast_mut(), GFP_KERNEL)?;
            }
            attributes.push(core::ptr::null_mut(), GFP_KERNEL)?;
            // SAFETY: A group without anything is all zero.
            let mut raw: bindings::attribute_group = unsafe { core::mem::zeroed() };
            raw.name = group
                .name
                .map_or(core::ptr::null(), |name| name.as_char_ptr());
            // The elements stay where they are when the vector is moved.
            raw.__bindgen_anon_2.attrs = attributes.as_mut_ptr();
            lists.push(attributes, GFP_KERNEL)?;
            groups.push(raw, GFP_KERNEL)?;
        }
        for group in &groups {
            list.push(&raw const *group, GFP_KERNEL)?;
        }
        list.push(core::ptr::null(), GFP_KERNEL)?;
        // INVARIANT: Made so above.
        Ok(Groups {
            list,
            _groups: groups,
            _lists: lists,
            _data: PhantomData,
        })
    }

    pub(super) fn as_ptr(&self) -> *mut *const bindings::attribute_group {
        self.list.as_ptr().cast_mut()
    }
}

/// A variable of an event, `KEY=value`.
///
/// # Invariants
///
/// There is a NUL in it.
pub(crate) struct Variable([u8; 48]);

impl Variable {
    /// Writes it down; what does not fit is cut off.
    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        let mut bytes = [0; 48];
        let mut to = Text {
            // INVARIANT: The last byte stays zero.
            page: bytes.split_last_mut().map_or(&mut [], |(_, rest)| rest),
            len: 0,
        };
        let _ = to.write_fmt(text);
        Variable(bytes)
    }

    pub(super) fn as_ptr(&self) -> *mut c_char {
        self.0.as_ptr().cast_mut().cast()
    }
}
