// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The contract between the driver and its workers: the Rust mirror of `abuse.h`.
//!
//! This one file is compiled into the kernel module and into the crate `abuse`; a test holds it
//! equal to the header, field by field, for 64-bit and 32-bit callers. `abuse.h` says what each
//! call does; units and directions are repeated here only where a Rust reader needs them.
//! `docs/uapi.md` lists every errno.

use core::mem::size_of;

// --- v1 -----------------------------------------------------------------------------------------

/// v1: read the shape of the device into an [`Info`].
pub const GET_STATUS: u32 = 0x4120;
/// v1: set the device up from an [`Info`].
pub const SET_STATUS: u32 = 0x4121;
/// v1: was never implemented; answers EINVAL.
pub const SET_POLL: u32 = 0x4122;
/// v1: end everything pending and un-configure the device.
pub const RESET: u32 = 0x4123;
/// v1: look at the next request through an [`XfrHdr`]; it stays queued.
pub const GET_BIO: u32 = 0x4124;
/// v1: move the data of the request an [`XfrHdr`] names and complete it.
pub const PUT_BIO: u32 = 0x4125;

/// [`Info::flags`]: the disk refuses writes.
pub const FLAGS_READ_ONLY: u32 = 1;
/// [`Info::flags`] of SET_STATUS: keep the disk, offer its taken requests again.
pub const FLAGS_RECONNECT: u32 = 2;

/// [`XfrHdr::command`]: read.
pub const V1_READ: u32 = 0;
/// [`XfrHdr::command`]: write.
pub const V1_WRITE: u32 = 1;
/// [`XfrHdr::command`]: flush, without vectors.
pub const V1_SYNC_NOTIFICATION: u32 = 2;

/// [`XfrHdr::result`]: done.
pub const V1_OKAY: u32 = 0;
/// [`XfrHdr::result`]: this request ends with EIO.
pub const V1_MEDIA_FAILURE: u32 = 1;
/// [`XfrHdr::result`]: everything pending ends with EIO.
pub const V1_DEVICE_FAILURE: u32 = 2;

/// Most vectors GET_BIO returns.
pub const V1_MAX_VECS: u32 = 256;
/// Highest [`Info::max_queue`] SET_STATUS accepts.
pub const V1_MAX_QUEUE: u32 = 512;

/// `struct abuse_info` of 64-bit callers: the shape of a device, as of 2009.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Out: always 0.
    pub device: u64,
    /// Bytes.
    pub bytes: u64,
    /// Out: N of /dev/abuseN.
    pub number: u32,
    /// `FLAGS_*`.
    pub flags: u32,
    /// Bytes, a power of two from 512 to the page size.
    pub blocksize: u32,
    /// Requests, up to [`V1_MAX_QUEUE`].
    pub max_queue: u32,
    /// Out: requests pending.
    pub queue_size: u32,
    /// Out: requests that ended with an error.
    pub errors: u32,
    /// Out: most vectors of one request.
    pub max_vecs: u32,
    /// Padding of the 64-bit layout; 32-bit callers have none.
    pub _pad: u32,
}

/// Size of `struct abuse_info` for 32-bit x86 callers: an [`Info`] without its padding.
pub const INFO32_SIZE: usize = 44;

/// `struct abuse_vec`: one piece of a request's data.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vector {
    /// PUT_BIO, in: where the caller keeps this piece.
    pub address: u64,
    /// GET_BIO, out: bytes.
    pub len: u32,
    /// GET_BIO, out: offset of the piece in its page.
    pub offset: u32,
}

/// `struct abuse_xfr_hdr`: one request, as v1 shows it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XfrHdr {
    /// The request.
    pub id: u64,
    /// In units of 512 bytes.
    pub sector: u64,
    /// `V1_READ`, `V1_WRITE` or `V1_SYNC_NOTIFICATION`.
    pub command: u32,
    /// PUT_BIO, in: `V1_OKAY`, `V1_MEDIA_FAILURE` or `V1_DEVICE_FAILURE`.
    pub result: u32,
    /// Number of vectors.
    pub vec_count: u32,
    /// Unused.
    pub vec_offset: u32,
    /// Address of a [`Vector`] array; 0: header only.
    pub transfer_address: u64,
}

// --- v2 -----------------------------------------------------------------------------------------

/// Version of this contract.
pub const ABI_VERSION: u32 = 2;

/// Most requests per hardware queue.
pub const MAX_DEPTH: u32 = 4096;
/// Most requests per device: depth times queues.
pub const MAX_TAGS: u32 = 65536;
/// Most bytes of one request.
pub const MAX_BYTES: u32 = 16 << 20;
/// Most pieces of one request.
pub const MAX_SEGMENTS: u32 = 256;
/// Most places one request is forwarded to.
pub const MAX_EXTENTS: u32 = 256;
/// Most looks before an EXCHANGE sleeps.
pub const MAX_SPIN: u32 = 1_000_000;
/// Each taken request's buffer starts at a multiple of this from the arena.
pub const ARENA_ALIGN: u32 = 4096;
/// [`Exchange::timeout_ns`], [`Reset::timeout_ns`]: wait for ever.
pub const FOREVER: u64 = u64::MAX;
/// [`Add::number`]: the lowest that is free.
pub const ANY_NUMBER: u32 = u32::MAX;
/// Bytes of a device's name, with the NUL behind it.
pub const NAME_SIZE: usize = 64;

/// [`Take::op`]: fill the buffer.
pub const OP_READ: u16 = 0;
/// [`Take::op`]: store the buffer.
pub const OP_WRITE: u16 = 1;
/// [`Take::op`]: make every write completed before durable.
pub const OP_FLUSH: u16 = 2;
/// [`Take::op`]: contents may be forgotten.
pub const OP_DISCARD: u16 = 3;
/// [`Take::op`]: contents become zero.
pub const OP_WRITE_ZEROES: u16 = 4;
/// [`Take::op`]: contents become unrecoverable.
pub const OP_SECURE_ERASE: u16 = 5;
/// Number of operations; length of [`Status::ops`].
pub const OP_COUNT: usize = 6;

/// [`Take::flags`]: durable before it is completed.
pub const REQ_FUA: u16 = 0x1;
/// [`Take::flags`] of a write-zeroes: keep the space allocated.
pub const REQ_NOUNMAP: u16 = 0x2;
/// [`Take::flags`]: the result of the last forward that came back, shifted up by so many bits; 0:
/// none did.
pub const REQ_FAILED_SHIFT: u32 = 12;

/// [`Done::result`]: done.
pub const OK: u16 = 0;
/// [`Done::result`]: EIO.
pub const IO_ERROR: u16 = 1;
/// [`Done::result`]: ENOSPC.
pub const NO_SPACE: u16 = 2;
/// [`Done::result`]: ETIMEDOUT.
pub const TIMED_OUT: u16 = 3;
/// [`Done::result`]: ENODATA, this place on the medium is bad.
pub const MEDIUM_ERROR: u16 = 4;
/// [`Done::result`]: EOPNOTSUPP.
pub const NOT_SUPPORTED: u16 = 5;
/// [`Done::result`]: EREMOTEIO, the target refuses the write.
pub const WRITE_PROTECTED: u16 = 6;

/// [`Done::flags`]: the data of this read are all zero; no buffer is needed.
pub const DONE_ZERO: u16 = 0x1;
/// [`Done::flags`]: the driver does it itself, in files: [`Done::buffer`] is the address of as many
/// [`Extent`]s as [`Done::length`] says.
pub const DONE_FORWARD: u16 = 0x2;
/// [`Done::flags`] of a forward: if it fails the request is offered again, with
/// [`REQ_FAILED_SHIFT`]; else it ends with the error.
pub const DONE_RETURN: u16 = 0x4;

/// `struct abuse_extent`: a piece of a file that a request is forwarded to.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub offset: u64,
    /// Bytes, not 0 but for a flush; together the request's length.
    pub length: u32,
    /// A file or a block device of the caller.
    pub fd: i32,
}

/// `struct abuse_done`: a request to complete.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// As it was taken.
    pub id: u64,
    /// Read: address of the data. Forward: of the extents.
    pub buffer: u64,
    /// Read: bytes at `buffer`, exactly the request's length. Forward: extents.
    pub length: u32,
    /// [`OK`], [`IO_ERROR`], ...
    pub result: u16,
    /// `DONE_*`.
    pub flags: u16,
    /// Out: negative errno of a refused entry; written only then.
    pub status: i32,
    /// Zero.
    pub reserved: u32,
}

/// `struct abuse_take`: a request that was taken; all of it written by the driver.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// Never 0, never the same twice.
    pub id: u64,
    /// In units of 512 bytes.
    pub sector: u64,
    /// Where in the arena the request's bytes are: write data, or room for a read.
    pub buffer: u64,
    /// Nanoseconds since the block layer queued it.
    pub age_ns: u64,
    /// Bytes.
    pub length: u32,
    /// Owners that died holding it: 0 at first.
    pub attempt: u32,
    /// Epoch of the device when it was taken.
    pub epoch: u32,
    /// `OP_*`.
    pub op: u16,
    /// `REQ_*`.
    pub flags: u16,
}

/// [`Exchange::flags`]: what this call takes stays taken when the file is closed.
pub const X_DETACHED: u32 = 0x1;
/// [`Exchange::flags`]: do not copy write data out; the arena may be 0.
pub const X_NO_DATA: u32 = 0x2;

/// `struct abuse_exchange`: complete requests, then take new ones.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Size of this struct.
    pub size: u32,
    /// `X_*`.
    pub flags: u32,
    /// Address of [`Done`]s.
    pub done: u64,
    /// Address of room for [`Take`]s.
    pub take: u64,
    /// Where the driver places the requests' bytes.
    pub arena: u64,
    /// Bytes at `arena`.
    pub arena_bytes: u64,
    /// Token of the worker; 0: the driver makes one from pid and start time.
    pub owner: u64,
    /// How long to wait for `take_min` requests; 0: not at all.
    pub timeout_ns: u64,
    /// Number of entries at `done`.
    pub done_count: u32,
    /// Out: how many of them were refused.
    pub done_failed: u32,
    /// Room at `take`, in entries.
    pub take_max: u32,
    /// Wait for so many; 0 is taken as 1.
    pub take_min: u32,
    /// Out: entries of `take` that were filled.
    pub taken: u32,
    /// Out: requests still unclaimed.
    pub queued: u32,
    /// Out: epoch of the device.
    pub epoch: u32,
    /// Look so often for requests before sleeping; at most [`MAX_SPIN`].
    pub spin: u32,
}

/// [`Setup::features`]: the disk refuses writes.
pub const F_READ_ONLY: u32 = 0x001;
/// [`Setup::features`]: no volatile cache; every write is durable before it is completed.
pub const F_WRITE_THROUGH: u32 = 0x002;
/// [`Setup::features`]: the block layer turns FUA into write and flush.
pub const F_NO_FUA: u32 = 0x004;
/// [`Setup::features`]: seeks are expensive.
pub const F_ROTATIONAL: u32 = 0x008;
/// [`Setup::features`]: look for partitions once a worker waits.
pub const F_PARTSCAN: u32 = 0x010;
/// [`Setup::features`]: discard is offered.
pub const F_DISCARD: u32 = 0x020;
/// [`Setup::features`]: write-zeroes is offered.
pub const F_WRITE_ZEROES: u32 = 0x040;
/// [`Setup::features`]: secure erase is offered.
pub const F_SECURE_ERASE: u32 = 0x080;
/// All features this version knows.
pub const F_ALL: u32 = 0x0ff;

/// [`Setup::policies`]: closing a worker's file does not re-offer what it took.
pub const P_KEEP_ON_CLOSE: u32 = 0x1;
/// [`Setup::policies`]: the backend rejects old writers; re-offer from the living too.
pub const P_FENCED_BACKEND: u32 = 0x2;
/// All policies this version knows.
pub const P_ALL: u32 = 0x3;

/// [`Setup::adjusted`]: depth.
pub const ADJ_DEPTH: u32 = 0x01;
/// [`Setup::adjusted`]: queues.
pub const ADJ_QUEUES: u32 = 0x02;
/// [`Setup::adjusted`]: max_bytes.
pub const ADJ_MAX_BYTES: u32 = 0x04;
/// [`Setup::adjusted`]: max_segments.
pub const ADJ_SEGMENTS: u32 = 0x08;
/// [`Setup::adjusted`]: physical_block.
pub const ADJ_PHYSICAL: u32 = 0x10;
/// [`Setup::adjusted`]: io_min.
pub const ADJ_IO_MIN: u32 = 0x20;
/// [`Setup::adjusted`]: io_opt.
pub const ADJ_IO_OPT: u32 = 0x40;
/// [`Setup::adjusted`]: FUA was dropped, the disk has no volatile cache.
pub const ADJ_FUA: u32 = 0x80;
/// [`Setup::adjusted`]: discard granularity or limit.
pub const ADJ_DISCARD: u32 = 0x100;
/// What each of them is called, in the driver's attributes and by the tools.
pub static ADJ_NAMES: [(u32, &str); 9] = [
    (ADJ_DEPTH, "depth"),
    (ADJ_QUEUES, "queues"),
    (ADJ_MAX_BYTES, "max_bytes"),
    (ADJ_SEGMENTS, "max_segments"),
    (ADJ_PHYSICAL, "physical_block"),
    (ADJ_IO_MIN, "io_min"),
    (ADJ_IO_OPT, "io_opt"),
    (ADJ_FUA, "fua"),
    (ADJ_DISCARD, "discard"),
];

/// `struct abuse_setup`: shape and policies of a disk. 0 means the driver's default.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Size of this struct.
    pub size: u32,
    /// Out: `ADJ_*`.
    pub adjusted: u32,
    /// Capacity: a multiple of `logical_block`, not 0.
    pub bytes: u64,
    /// Bytes, a power of two from 512 to 64 KiB (default 4096).
    pub logical_block: u32,
    /// Bytes, a power of two, at least `logical_block`.
    pub physical_block: u32,
    /// Bytes of the smallest I/O without a penalty.
    pub io_min: u32,
    /// Bytes of the best I/O.
    pub io_opt: u32,
    /// Bytes of the largest request (default 1 MiB).
    pub max_bytes: u32,
    /// Requests per hardware queue (default 128).
    pub depth: u32,
    /// Hardware queues (default 1).
    pub queues: u32,
    /// Pieces of one request (default 256).
    pub max_segments: u32,
    /// `F_*`.
    pub features: u32,
    /// `P_*`.
    pub policies: u32,
    /// Deaths after which a request fails; 0: no limit.
    pub max_attempts: u32,
    /// Bytes (default `logical_block`).
    pub discard_granularity: u32,
    /// Re-offer what was taken longer ago, within the fencing rule; 0: off.
    pub lease_ns: u64,
    /// Fail when the oldest unclaimed request is older; 0: queue for ever.
    pub no_server_ns: u64,
    /// Of one discard, zeroing or erase (default 1 GiB).
    pub max_discard_bytes: u32,
    /// Zero.
    pub reserved0: u32,
    /// Zero.
    pub reserved: [u64; 5],
}

/// [`Status::state`]: not set up, there is no /dev/abuseN.
pub const STATE_EMPTY: u32 = 0;
/// [`Status::state`]: set up; no worker has waited for requests yet.
pub const STATE_READY: u32 = 1;
/// [`Status::state`]: set up, and a worker has waited since.
pub const STATE_LIVE: u32 = 2;
/// [`Status::state`]: a reset is being finished.
pub const STATE_RESETTING: u32 = 3;
/// [`Status::state`]: the device was removed.
pub const STATE_GONE: u32 = 4;

/// [`Status::abi_features`]: EXCHANGE and its company.
pub const ABI_EXCHANGE: u64 = 0x1;
/// [`Status::abi_features`]: the calls of 2009.
pub const ABI_V1: u64 = 0x2;
/// [`Status::abi_features`]: [`DONE_FORWARD`].
pub const ABI_FORWARD: u64 = 0x4;

/// `struct abuse_op_stats`: counts of one operation since the last set-up.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpStats {
    /// Requests that came.
    pub queued: u64,
    /// Claims handed out, redeliveries included.
    pub taken: u64,
    /// Requests completed with [`OK`].
    pub done: u64,
    /// Claims taken back.
    pub requeued: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Bytes of the requests in `done`.
    pub bytes: u64,
    /// Nanoseconds from arrival to completion of the requests in `done`, added up.
    pub total_ns: u64,
    /// Of that, in the hands of the worker that held the request last.
    pub service_ns: u64,
}

/// `struct abuse_status`: everything about one device.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Size of this struct.
    pub size: u32,
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// `ABI_*`.
    pub abi_features: u64,
    /// N of /dev/abuseN.
    pub number: u32,
    /// `STATE_*`.
    pub state: u32,
    /// Of the device: not used again until the module is reloaded.
    pub sequence: u64,
    /// Counts set-ups and reconnects.
    pub epoch: u32,
    /// Requests nobody has taken.
    pub queued: u32,
    /// Requests a worker holds.
    pub taken: u32,
    /// Requests in the middle of a copy, or forwarded.
    pub draining: u32,
    /// Processes that have taken requests and still have the node open.
    pub workers: u32,
    /// Threads asleep in EXCHANGE.
    pub waiting: u32,
    /// Openers of the disk.
    pub openers: u32,
    /// Requests that ended with an error.
    pub errors: u32,
    /// Age of the oldest unclaimed request; 0: none.
    pub oldest_queued_ns: u64,
    /// Longest time a worker has held one; 0: none.
    pub oldest_taken_ns: u64,
    /// Completions refused because the id was old.
    pub stale: u64,
    /// Re-offers refused because a writer lives.
    pub refused: u64,
    /// Completed changes that no flush has followed; 0 where none has to.
    pub unflushed: u64,
    /// Requests whose data the kernel moves; counted in `draining`.
    pub forwarding: u32,
    /// Zero.
    pub reserved: u32,
    /// As the driver adjusted it; all 0 when not set up.
    pub config: Setup,
    /// Per operation.
    pub ops: [OpStats; OP_COUNT],
    /// Version of the driver, NUL-terminated.
    pub driver: [u8; 32],
    /// As it was added, NUL-terminated; empty: none.
    pub name: [u8; NAME_SIZE],
}

/// All zero; `derive` knows no arrays as long as the name.
impl Default for Status {
    fn default() -> Self {
        Status {
            size: 0,
            abi_version: 0,
            abi_features: 0,
            number: 0,
            state: 0,
            sequence: 0,
            epoch: 0,
            queued: 0,
            taken: 0,
            draining: 0,
            workers: 0,
            waiting: 0,
            openers: 0,
            errors: 0,
            oldest_queued_ns: 0,
            oldest_taken_ns: 0,
            stale: 0,
            refused: 0,
            unflushed: 0,
            forwarding: 0,
            reserved: 0,
            config: Setup::default(),
            ops: [OpStats::default(); OP_COUNT],
            driver: [0; 32],
            name: [0; NAME_SIZE],
        }
    }
}

/// [`Requeue::flags`]: taken under this token.
pub const RQ_OWNER: u32 = 0x1;
/// [`Requeue::flags`]: taken by this process.
pub const RQ_PID: u32 = 0x2;
/// [`Requeue::flags`]: this one.
pub const RQ_ID: u32 = 0x4;
/// [`Requeue::flags`]: held for longer than this.
pub const RQ_OLDER: u32 = 0x8;
/// [`Requeue::flags`]: all of them.
pub const RQ_ALL: u32 = 0x10;
/// [`Requeue::flags`]: modifying requests of living owners too.
pub const RQ_FORCE: u32 = 0x100;

/// `struct abuse_requeue`: offer taken requests again.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requeue {
    /// Size of this struct.
    pub size: u32,
    /// `RQ_*`; several selectors must all hold.
    pub flags: u32,
    /// Token.
    pub owner: u64,
    /// Request.
    pub id: u64,
    /// Nanoseconds.
    pub older_than_ns: u64,
    /// In the caller's pid namespace.
    pub pid: u32,
    /// Out: how many were offered again.
    pub requeued: u32,
    /// Out: how many were left to a living writer.
    pub refused: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero.
    pub reserved1: u64,
}

/// [`Reconnect::flags`]: modifying requests of living owners too.
pub const RC_FORCE: u32 = 0x1;
/// [`Reconnect::flags`]: make the disk read-only.
pub const RC_READ_ONLY: u32 = 0x2;
/// [`Reconnect::flags`]: make the disk writable again.
pub const RC_READ_WRITE: u32 = 0x4;
/// [`Reconnect::flags`]: [`Reconnect::max_attempts`] is to be the disk's.
pub const RC_MAX_ATTEMPTS: u32 = 0x8;
/// [`Reconnect::flags`]: [`Reconnect::lease_ns`] is to be the disk's.
pub const RC_LEASE: u32 = 0x10;
/// [`Reconnect::flags`]: [`Reconnect::no_server_ns`] is to be the disk's.
pub const RC_NO_SERVER: u32 = 0x20;

/// `struct abuse_reconnect`: begin a new epoch, change what is asked for, and offer everything
/// taken again. What is not to change is 0.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconnect {
    /// Size of this struct.
    pub size: u32,
    /// `RC_*`.
    pub flags: u32,
    /// Out.
    pub old_epoch: u32,
    /// Out.
    pub new_epoch: u32,
    /// Out: how many were offered again.
    pub requeued: u32,
    /// Out: how many were left to a living writer.
    pub refused: u32,
    /// `P_*`, of those in `policy_mask`.
    pub policies: u32,
    /// `P_*` that become as in `policies`.
    pub policy_mask: u32,
    /// With [`RC_MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// Zero.
    pub reserved0: u32,
    /// With [`RC_LEASE`]; 0: off.
    pub lease_ns: u64,
    /// With [`RC_NO_SERVER`]; 0: queue for ever.
    pub no_server_ns: u64,
    /// Zero.
    pub reserved: u64,
}

/// [`Reset::flags`]: even when open, mounted, or with requests pending.
pub const RS_FORCE: u32 = 0x1;

/// `struct abuse_reset`: end everything pending and un-configure the device.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Size of this struct.
    pub size: u32,
    /// `RS_*`.
    pub flags: u32,
    /// How long to wait until the disk is gone.
    pub timeout_ns: u64,
    /// Out: requests ended with EIO.
    pub failed: u32,
    /// Out: requests still in the middle of a copy, or forwarded.
    pub draining: u32,
    /// Zero.
    pub reserved: u64,
}

/// [`Resize::flags`]: shrink although it is open, or below the end of a partition.
pub const RZ_FORCE: u32 = 0x1;

/// `struct abuse_resize`: change the capacity of a disk that is there.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// Size of this struct.
    pub size: u32,
    /// `RZ_*`.
    pub flags: u32,
    /// A multiple of the logical block, not 0.
    pub bytes: u64,
    /// Out.
    pub old_bytes: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// `struct abuse_add`: add a device, empty.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Add {
    /// Size of this struct.
    pub size: u32,
    /// None yet.
    pub flags: u32,
    /// N of /dev/abctlN, or [`ANY_NUMBER`]; out: N.
    pub number: u32,
    /// Zero.
    pub reserved: u32,
    /// Out: of the device.
    pub sequence: u64,
    /// Letters, digits and `._+-`, NUL-terminated; empty: none.
    pub name: [u8; NAME_SIZE],
    /// Zero.
    pub reserved1: u64,
}

/// All zero; `derive` knows no arrays of this length.
impl Default for Add {
    fn default() -> Self {
        Add {
            size: 0,
            flags: 0,
            number: 0,
            reserved: 0,
            sequence: 0,
            name: [0; NAME_SIZE],
            reserved1: 0,
        }
    }
}

/// [`Remove::flags`]: even when open, mounted, or with requests pending.
pub const RM_FORCE: u32 = 0x1;

/// `struct abuse_remove`: remove a device with its disk and its control node.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remove {
    /// Size of this struct.
    pub size: u32,
    /// `RM_*`.
    pub flags: u32,
    /// N of /dev/abctlN.
    pub number: u32,
    /// Zero.
    pub reserved: u32,
    /// Of the device that is meant; 0: whichever has the number.
    pub sequence: u64,
    /// How long to wait until it is gone.
    pub timeout_ns: u64,
    /// Out: requests ended with EIO.
    pub failed: u32,
    /// Out: requests still in the middle of a copy, or forwarded.
    pub draining: u32,
    /// Zero.
    pub reserved1: [u64; 2],
}

/// Number of an ioctl of type 'A' that reads and writes a struct of `size` bytes:
/// `_IOWR` of `asm-generic/ioctl.h`.
const fn iowr(nr: u32, size: usize) -> u32 {
    (3 << 30) | ((size as u32) << 16) | (0x41 << 8) | nr
}

/// v2: read a [`Status`].
pub const IOC_STATUS: u32 = iowr(0x26, size_of::<Status>());
/// v2: set the device up from a [`Setup`], which comes back as adjusted.
pub const IOC_SETUP: u32 = iowr(0x27, size_of::<Setup>());
/// v2: complete and take requests through an [`Exchange`].
pub const IOC_EXCHANGE: u32 = iowr(0x28, size_of::<Exchange>());
/// v2: [`Requeue`].
pub const IOC_REQUEUE: u32 = iowr(0x29, size_of::<Requeue>());
/// v2: [`Reconnect`].
pub const IOC_RECONNECT: u32 = iowr(0x2a, size_of::<Reconnect>());
/// v2: [`Reset`].
pub const IOC_RESET: u32 = iowr(0x2b, size_of::<Reset>());
/// v2, on /dev/abuse-control: [`Add`].
pub const IOC_ADD: u32 = iowr(0x2c, size_of::<Add>());
/// v2, on /dev/abuse-control: [`Remove`].
pub const IOC_REMOVE: u32 = iowr(0x2d, size_of::<Remove>());
/// v2: [`Resize`].
pub const IOC_RESIZE: u32 = iowr(0x2e, size_of::<Resize>());

// The sizes of abuse.h; the test in `abuse/tests/abi.rs` compares every field.
const _: () = assert!(size_of::<Info>() == 48);
const _: () = assert!(size_of::<Vector>() == 16);
const _: () = assert!(size_of::<XfrHdr>() == 40);
const _: () = assert!(size_of::<Done>() == 32);
const _: () = assert!(size_of::<Extent>() == 16);
const _: () = assert!(size_of::<Take>() == 48);
const _: () = assert!(size_of::<Exchange>() == 88);
const _: () = assert!(size_of::<Setup>() == 128);
const _: () = assert!(size_of::<OpStats>() == 64);
const _: () = assert!(size_of::<Status>() == 720);
const _: () = assert!(size_of::<Requeue>() == 56);
const _: () = assert!(size_of::<Reconnect>() == 64);
const _: () = assert!(size_of::<Reset>() == 32);
const _: () = assert!(size_of::<Resize>() == 40);
const _: () = assert!(size_of::<Add>() == 96);
const _: () = assert!(size_of::<Remove>() == 56);
