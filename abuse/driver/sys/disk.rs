// SPDX-License-Identifier: GPL-2.0-only

//! A disk: tag set, queue and gendisk.
//!
//! C headers: `include/linux/blk-mq.h`, `include/linux/blkdev.h`.

use super::chrdev::Visible;
use super::ffi;
use super::request::{Request, Status};
use crate::abi;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

// Checked by static_assert in helpers.c.
const FEAT_WRITE_CACHE: u32 = 1 << 0;
const FEAT_FUA: u32 = 1 << 1;
const FEAT_ROTATIONAL: u32 = 1 << 2;
const OPEN_READ: u32 = 1 << 0;
const OPEN_WRITE: u32 = 1 << 1;

/// Where the requests of a disk go.
pub(crate) trait Queue: Send + Sync + 'static {
    /// Accepts a request by the number of its tag, which is unique within the disk; or gives it
    /// back, to be failed. Must not sleep or allocate.
    fn queue(&self, tag: u32, request: Request) -> core::result::Result<(), Request>;

    /// Accepts all that `next` yields, or ends them with an error. Must not sleep or allocate.
    fn queue_all(&self, next: impl FnMut() -> Option<(u32, Request)>);
}

/// A disk that is visible in /dev until it is dropped.
///
/// # Invariants
///
/// `disk` was added, its tag set is `_set`, and its queue data are `_data`; both go after it.
pub(crate) struct Disk<T: Queue> {
    disk: NonNull<bindings::gendisk>,
    _set: TagSet<T>,
    _data: Arc<T>,
}

// SAFETY: A gendisk and a tag set may be used and released from any thread.
unsafe impl<T: Queue> Send for Disk<T> {}
// SAFETY: As above.
unsafe impl<T: Queue> Sync for Disk<T> {}

impl<T: Queue> Disk<T> {
    /// Makes the disk /dev/abuse`number` of a shape that was checked before, in sysfs below the node
    /// that controls it. `tags` were made for this shape. Partitions are not looked for until
    /// [`DiskRef::scan`].
    pub(crate) fn new(
        number: u32,
        shape: &abi::Setup,
        set: TagSet<T>,
        parent: Option<&Visible<T>>,
        data: Arc<T>,
    ) -> Result<Self> {
        let mut limits = limits(shape);
        let queue_data: *const T = &*data;
        // SAFETY: The tag set and the limits are valid; `data` outlives the queue.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                set.set.get(),
                &mut limits,
                queue_data as *mut _,
                kernel::static_lock_class!().as_ptr(),
            )
        })?;
        let unadded = Unadded(disk);
        // SAFETY: Allocated above, and not visible to anybody yet.
        let gendisk = unsafe { &mut *disk };
        write_name(&mut gendisk.disk_name, number);
        gendisk.fops = &Ops::<T>::DISK;
        // SAFETY: As above.
        unsafe { ffi::abuse_disk_suppress_scan(disk, true) };
        // SAFETY: As above.
        unsafe { bindings::set_capacity(disk, shape.bytes >> 9) };
        if shape.features & abi::F_READ_ONLY != 0 {
            // SAFETY: As above.
            unsafe { bindings::set_disk_ro(disk, true) };
        }
        let parent = parent.map_or(core::ptr::null_mut(), Visible::device);
        // SAFETY: As above; the parent is registered or none, and there are no attributes.
        let added = unsafe { bindings::device_add_disk(parent, disk, core::ptr::null_mut()) };
        // The driver core calls a name for which it had no memory invalid; there is nothing else in
        // a disk of ours that could be.
        to_result(added).map_err(|error| if error == EINVAL { ENOMEM } else { error })?;
        core::mem::forget(unadded);
        let disk = NonNull::new(disk).ok_or(ENOMEM)?;
        // INVARIANT: Added above.
        Ok(Disk {
            disk,
            _set: set,
            _data: data,
        })
    }

    /// Refuses new I/O from now on, and tells whoever mounted it. Waits for a mount or an unmount
    /// that is under way: all that was queued must have been ended, or must be ended by others.
    pub(crate) fn mark_dead(&self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::blk_mark_disk_dead(self.disk.as_ptr()) };
    }

    /// How often the disk and its partitions are open.
    pub(crate) fn openers(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { ffi::abuse_disk_openers(self.disk.as_ptr()) }
    }

    /// Runs `f` while nobody can open or close the disk; `None` if somebody is at it right now.
    /// Never waits.
    pub(crate) fn try_exclude_openers<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        // SAFETY: Valid by the type invariant.
        let lock = unsafe { &raw mut (*self.disk.as_ptr()).open_mutex };
        // SAFETY: The mutex of a valid disk.
        if unsafe { bindings::mutex_trylock(lock) } == 0 {
            return None;
        }
        let result = f();
        // SAFETY: Locked above.
        unsafe { bindings::mutex_unlock(lock) };
        Some(result)
    }

    /// Changes the capacity, and tells user space. Waits for nobody.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::set_capacity_and_notify(self.disk.as_ptr(), bytes >> 9) };
    }

    /// Where the last partition ends; it may come and go unless openers are excluded.
    pub(crate) fn partitions_end(&self) -> u64 {
        // SAFETY: Valid by the type invariant.
        unsafe { ffi::abuse_disk_partitions_end(self.disk.as_ptr()) }.saturating_mul(512)
    }

    /// Makes the disk read-only, or writable again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::set_disk_ro(self.disk.as_ptr(), read_only) };
    }

    /// Another reference to the disk, for work that takes longer than a lock may be held.
    pub(crate) fn reference(&self) -> DiskRef {
        let disk = self.disk.as_ptr();
        // SAFETY: Valid by the type invariant; the device of a whole disk is its part0's.
        unsafe { bindings::get_device(&raw mut (*(*disk).part0).bd_device) };
        DiskRef(self.disk)
    }
}

impl<T: Queue> Drop for Disk<T> {
    /// Removes the disk. Waits until every request has been ended.
    fn drop(&mut self) {
        // SAFETY: Added, by the type invariant, and removed only here.
        unsafe { bindings::del_gendisk(self.disk.as_ptr()) };
        // SAFETY: Ours; openers hold their own references.
        unsafe { bindings::put_disk(self.disk.as_ptr()) };
        // `del_gendisk` has taken the queue off the tag set, which is freed now; and then `data`,
        // which requests were given to, is released.
    }
}

/// A counted reference to a disk that may have been removed.
pub(crate) struct DiskRef(NonNull<bindings::gendisk>);

impl DiskRef {
    /// Tells user space about a change of state. `state` is `KEY=value`, NUL-terminated.
    pub(crate) fn announce(&self, state: &'static CStr) {
        // SAFETY: The reference keeps the disk; the callee only reads the string.
        unsafe { ffi::abuse_disk_uevent_change(self.0.as_ptr(), state.as_char_ptr().cast_mut()) };
    }

    /// Lets partitions be looked for: now if `look`, and on request from now on. Waits for I/O,
    /// which fails once the disk is dead.
    pub(crate) fn scan(&self, look: bool) {
        let disk = self.0.as_ptr();
        // SAFETY: The reference keeps the disk.
        unsafe { ffi::abuse_disk_suppress_scan(disk, false) };
        if !look {
            return;
        }
        // An exclusive open looks, as the kernel's own first scan does: not while somebody has the
        // disk for himself, who would not like to see partitions appear under him.
        // SAFETY: As above.
        unsafe { ffi::abuse_disk_need_scan(disk, true) };
        // SAFETY: As above.
        let dev = unsafe { (*(*disk).part0).bd_dev };
        // SAFETY: Takes no ownership; the holder only has to be unique.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_dev(dev, OPEN_READ, disk.cast(), core::ptr::null())
        });
        if let Ok(file) = file {
            // SAFETY: Opened above.
            unsafe { bindings::bdev_fput(file) };
        }
        // SAFETY: As above.
        unsafe { ffi::abuse_disk_need_scan(disk, false) };
    }
}

impl Drop for DiskRef {
    fn drop(&mut self) {
        // SAFETY: Counted by `reference`.
        unsafe { bindings::put_disk(self.0.as_ptr()) };
    }
}

/// A disk that is put when it cannot be added.
struct Unadded(*mut bindings::gendisk);

impl Drop for Unadded {
    fn drop(&mut self) {
        // SAFETY: Allocated and never added.
        unsafe { bindings::put_disk(self.0) };
    }
}

/// The tags of a disk, freed on drop.
///
/// # Invariants
///
/// The tag set is allocated.
pub(crate) struct TagSet<T: Queue> {
    set: Pin<KBox<Opaque<bindings::blk_mq_tag_set>>>,
    _queue: PhantomData<fn(T)>,
}

// SAFETY: A tag set may be used and freed from any thread.
unsafe impl<T: Queue> Send for TagSet<T> {}

impl<T: Queue> TagSet<T> {
    /// Allocates the tags for a shape; fewer per queue where memory is short.
    pub(crate) fn new(shape: &abi::Setup) -> Result<Self> {
        // SAFETY: A tag set may be zero before it is allocated.
        let mut set: bindings::blk_mq_tag_set = unsafe { core::mem::zeroed() };
        set.ops = &Ops::<T>::QUEUE;
        set.nr_hw_queues = shape.queues;
        set.nr_maps = 1;
        set.queue_depth = shape.depth;
        set.numa_node = bindings::NUMA_NO_NODE;
        // The worker decides on order; a scheduler is a write to sysfs away.
        set.flags = bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT;
        let set = KBox::into_pin(KBox::new(Opaque::new(set), GFP_KERNEL)?);
        // SAFETY: Initialised above and pinned.
        to_result(unsafe { bindings::blk_mq_alloc_tag_set(set.get()) })?;
        // INVARIANT: Allocated above.
        Ok(TagSet {
            set,
            _queue: PhantomData,
        })
    }

    /// Hardware queues there are, and requests that each can have.
    pub(crate) fn size(&self) -> (u32, u32) {
        let set = self.set.get();
        // SAFETY: Allocated, by the type invariant; neither changes before it is a disk's.
        unsafe { ((*set).nr_hw_queues, (*set).queue_depth) }
    }
}

impl<T: Queue> Drop for TagSet<T> {
    fn drop(&mut self) {
        // SAFETY: Allocated, by the type invariant; a disk drops it after its queue.
        unsafe { bindings::blk_mq_free_tag_set(self.set.get()) };
    }
}

/// `abuseN`, NUL-terminated.
fn write_name(name: &mut [kernel::ffi::c_char; 32], number: u32) {
    let mut digits = [0u8; 10];
    let mut rest = number;
    let mut len = 0;
    for digit in digits.iter_mut() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        len += 1;
        if rest == 0 {
            break;
        }
    }
    let mut places = name.iter_mut();
    let mut put = |byte: u8| {
        if let Some(place) = places.next() {
            *place = byte as kernel::ffi::c_char;
        }
    };
    b"abuse".iter().for_each(|&byte| put(byte));
    digits.iter().take(len).rev().for_each(|&byte| put(byte));
    put(0);
}

fn limits(shape: &abi::Setup) -> bindings::queue_limits {
    // SAFETY: Limits may be zero: the block layer fills in its defaults.
    let mut limits: bindings::queue_limits = unsafe { core::mem::zeroed() };
    let has = |feature: u32| shape.features & feature != 0;
    limits.logical_block_size = shape.logical_block;
    limits.physical_block_size = shape.physical_block;
    limits.io_min = shape.io_min;
    limits.io_opt = shape.io_opt;
    limits.max_hw_sectors = shape.max_bytes >> 9;
    // Else the block layer stops at 4 MiB, whatever the hardware takes.
    limits.max_user_sectors = limits.max_hw_sectors;
    limits.max_segments = shape.max_segments as u16;
    limits.max_segment_size = u32::MAX;
    if !has(abi::F_WRITE_THROUGH) {
        limits.features |= FEAT_WRITE_CACHE;
        if !has(abi::F_NO_FUA) {
            limits.features |= FEAT_FUA;
        }
    }
    if has(abi::F_ROTATIONAL) {
        limits.features |= FEAT_ROTATIONAL;
    }
    let sectors = shape.max_discard_bytes >> 9;
    if has(abi::F_DISCARD) {
        limits.max_hw_discard_sectors = sectors;
        limits.max_discard_segments = 1;
    }
    if has(abi::F_DISCARD) || has(abi::F_SECURE_ERASE) {
        limits.discard_granularity = shape.discard_granularity;
    }
    if has(abi::F_WRITE_ZEROES) {
        limits.max_write_zeroes_sectors = sectors;
        limits.max_hw_wzeroes_unmap_sectors = sectors;
    }
    if has(abi::F_SECURE_ERASE) {
        limits.max_secure_erase_sectors = sectors;
    }
    limits
}

/// The tables of callbacks.
struct Ops<T>(PhantomData<T>);

impl<T: Queue> Ops<T> {
    const DISK: bindings::block_device_operations = {
        // SAFETY: A table without any callback is all zero.
        let mut table: bindings::block_device_operations = unsafe { core::mem::zeroed() };
        // Keeps the module while the disk is open.
        table.owner = crate::THIS_MODULE.as_ptr();
        table.open = Some(Self::open);
        table.release = Some(Self::release);
        table
    };

    const QUEUE: bindings::blk_mq_ops = {
        // SAFETY: As above.
        let mut table: bindings::blk_mq_ops = unsafe { core::mem::zeroed() };
        table.queue_rq = Some(Self::queue_rq);
        table.queue_rqs = Some(Self::queue_rqs);
        table
    };

    /// Remembers, in the disk's private data, that somebody may write.
    ///
    /// # Safety
    ///
    /// Called by the block layer only, with a valid disk whose `open_mutex` is held.
    unsafe extern "C" fn open(
        disk: *mut bindings::gendisk,
        mode: bindings::blk_mode_t,
    ) -> kernel::ffi::c_int {
        if mode & OPEN_WRITE != 0 {
            // SAFETY: Valid by the contract, and nobody else uses this field.
            unsafe { (*disk).private_data = disk.cast() };
        }
        0
    }

    /// The last opener has gone, and one of them may have written: user space should look again at
    /// what is on the disk. udevd could watch for that by itself, but then it reads the partition
    /// table in its one main process, and looks at no device at all while this one has no worker.
    ///
    /// # Safety
    ///
    /// As [`Ops::open`].
    unsafe extern "C" fn release(disk: *mut bindings::gendisk) {
        // SAFETY: Valid by the contract.
        let written = unsafe { !(*disk).private_data.is_null() };
        // SAFETY: As above.
        if !written || unsafe { ffi::abuse_disk_openers(disk) } > 0 {
            return;
        }
        // SAFETY: As above.
        unsafe { (*disk).private_data = core::ptr::null_mut() };
        // SAFETY: As above.
        if !unsafe { ffi::abuse_disk_is_dead(disk) } {
            // SAFETY: As above; the openers' references keep the disk's device.
            unsafe { bindings::disk_uevent(disk, bindings::kobject_action_KOBJ_CHANGE) };
        }
    }

    /// # Safety
    ///
    /// Called by the block layer only, with a valid hardware queue and request.
    unsafe extern "C" fn queue_rq(
        hctx: *mut bindings::blk_mq_hw_ctx,
        data: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: Valid by the contract.
        let request = unsafe { (*data).rq };
        // SAFETY: As above; the queue data were set by `Disk::new` and outlive the queue.
        let target = unsafe { &*((*(*hctx).queue).queuedata as *const T) };
        // SAFETY: As above.
        let tag = unsafe { Self::tag(request) };
        // SAFETY: As above.
        unsafe { bindings::blk_mq_start_request(request) };
        let Some(request) = NonNull::new(request) else {
            return Status::IO_ERROR.0;
        };
        // SAFETY: Started above; the block layer gives it to us.
        let request = unsafe { Request::from_raw(request) };
        match target.queue(tag, request) {
            Ok(()) => Status::OK.0,
            Err(request) => {
                let _ = request.into_raw();
                Status::IO_ERROR.0
            }
        }
    }

    /// The tag of a request among those of all hardware queues.
    ///
    /// # Safety
    ///
    /// The request must be one of this driver's disks', with a tag.
    #[inline(always)]
    unsafe fn tag(request: *const bindings::request) -> u32 {
        // SAFETY: By the contract; a request with a tag has a hardware queue, and that a tag set.
        let (queue, depth) = unsafe {
            let hctx = (*request).mq_hctx;
            ((*hctx).queue_num, (*(*(*hctx).queue).tag_set).queue_depth)
        };
        // SAFETY: By the contract.
        let tag = unsafe { (*request).tag } as u32;
        queue.wrapping_mul(depth).wrapping_add(tag)
    }

    /// Several requests at once: all that one submitter has gathered for this disk.
    ///
    /// # Safety
    ///
    /// Called by the block layer only, with a list of valid requests with tags, all of one queue.
    unsafe extern "C" fn queue_rqs(list: *mut bindings::rq_list) {
        // SAFETY: Valid by the contract. None of them is left behind.
        let mut first = unsafe { core::mem::take(&mut *list) }.head;
        if first.is_null() {
            return;
        }
        // SAFETY: By the contract; the queue data were set by `Disk::new` and outlive the queue.
        let target = unsafe { &*((*(*first).q).queuedata as *const T) };
        let mut request = first;
        while !request.is_null() {
            // SAFETY: By the contract.
            unsafe { bindings::blk_mq_start_request(request) };
            // SAFETY: By the contract.
            request = unsafe { (*request).__bindgen_anon_1.rq_next };
        }
        target.queue_all(|| {
            let request = NonNull::new(first)?;
            // SAFETY: In the list, by the contract.
            first = unsafe { (*request.as_ptr()).__bindgen_anon_1.rq_next };
            // SAFETY: As above.
            let tag = unsafe { Self::tag(request.as_ptr()) };
            // SAFETY: Started above; the block layer gives it to us.
            Some((tag, unsafe { Request::from_raw(request) }))
        });
    }
}
