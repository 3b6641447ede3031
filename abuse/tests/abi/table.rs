// SPDX-License-Identifier: MIT

//! Both names of everything in the contract: the header's and the mirror's.

use std::mem::{offset_of, size_of};

use abuse::abi::*;

pub struct Struct {
    pub c: &'static str,
    pub rust: &'static str,
    pub size: usize,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub c: &'static str,
    pub rust: &'static str,
    pub offset: usize,
    pub size: usize,
    pub kind: &'static str,
}

/// Size and type of the field that a function picks.
fn shape<T, F>(_pick: fn(&T) -> &F) -> (usize, &'static str) {
    (size_of::<F>(), std::any::type_name::<F>())
}

/// `header_struct = Mirror { header_field = mirror_field, ... }`
macro_rules! structs {
    ($($c:ident = $rust:ident { $($cf:ident = $rf:ident),* $(,)? })*) => {
        pub fn structs() -> Vec<Struct> {
            vec![$(Struct {
                c: stringify!($c),
                rust: stringify!($rust),
                size: size_of::<$rust>(),
                fields: vec![$({
                    let (size, kind) = shape(|one: &$rust| &one.$rf);
                    Field {
                        c: stringify!($cf),
                        rust: stringify!($rf),
                        offset: offset_of!($rust, $rf),
                        size,
                        kind,
                    }
                }),*],
            }),*]
        }
    };
}

/// `HEADER_NAME = MIRROR_NAME`
macro_rules! constants {
    ($($c:ident = $rust:ident),* $(,)?) => {
        /// Name in the header, name in the mirror, value there.
        pub fn constants() -> Vec<(&'static str, &'static str, u64)> {
            vec![$((stringify!($c), stringify!($rust), $rust as u64)),*]
        }
    };
}

structs! {
    abuse_info = Info {
        ab_device = device,
        ab_size = bytes,
        ab_number = number,
        ab_flags = flags,
        ab_blocksize = blocksize,
        ab_max_queue = max_queue,
        ab_queue_size = queue_size,
        ab_errors = errors,
        ab_max_vecs = max_vecs,
    }
    abuse_vec = Vector {
        ab_address = address,
        ab_len = len,
        ab_offset = offset,
    }
    abuse_xfr_hdr = XfrHdr {
        ab_id = id,
        ab_sector = sector,
        ab_command = command,
        ab_result = result,
        ab_vec_count = vec_count,
        ab_vec_offset = vec_offset,
        ab_transfer_address = transfer_address,
    }
    abuse_extent = Extent {
        offset = offset,
        length = length,
        fd = fd,
    }
    abuse_done = Done {
        id = id,
        buffer = buffer,
        length = length,
        result = result,
        flags = flags,
        status = status,
        reserved = reserved,
    }
    abuse_take = Take {
        id = id,
        sector = sector,
        buffer = buffer,
        age_ns = age_ns,
        length = length,
        attempt = attempt,
        epoch = epoch,
        op = op,
        flags = flags,
    }
    abuse_exchange = Exchange {
        size = size,
        flags = flags,
        done = done,
        take = take,
        arena = arena,
        arena_bytes = arena_bytes,
        owner = owner,
        timeout_ns = timeout_ns,
        done_count = done_count,
        done_failed = done_failed,
        take_max = take_max,
        take_min = take_min,
        taken = taken,
        queued = queued,
        epoch = epoch,
        spin = spin,
    }
    abuse_setup = Setup {
        size = size,
        adjusted = adjusted,
        bytes = bytes,
        logical_block = logical_block,
        physical_block = physical_block,
        io_min = io_min,
        io_opt = io_opt,
        max_bytes = max_bytes,
        depth = depth,
        queues = queues,
        max_segments = max_segments,
        features = features,
        policies = policies,
        max_attempts = max_attempts,
        discard_granularity = discard_granularity,
        lease_ns = lease_ns,
        no_server_ns = no_server_ns,
        max_discard_bytes = max_discard_bytes,
        reserved0 = reserved0,
        reserved = reserved,
    }
    abuse_op_stats = OpStats {
        queued = queued,
        taken = taken,
        done = done,
        requeued = requeued,
        failed = failed,
        bytes = bytes,
        total_ns = total_ns,
        service_ns = service_ns,
    }
    abuse_status = Status {
        size = size,
        abi_version = abi_version,
        abi_features = abi_features,
        number = number,
        state = state,
        sequence = sequence,
        epoch = epoch,
        queued = queued,
        taken = taken,
        draining = draining,
        workers = workers,
        waiting = waiting,
        openers = openers,
        errors = errors,
        oldest_queued_ns = oldest_queued_ns,
        oldest_taken_ns = oldest_taken_ns,
        stale = stale,
        refused = refused,
        unflushed = unflushed,
        forwarding = forwarding,
        reserved = reserved,
        config = config,
        ops = ops,
        driver = driver,
        name = name,
    }
    abuse_requeue = Requeue {
        size = size,
        flags = flags,
        owner = owner,
        id = id,
        older_than_ns = older_than_ns,
        pid = pid,
        requeued = requeued,
        refused = refused,
        reserved = reserved,
        reserved1 = reserved1,
    }
    abuse_reconnect = Reconnect {
        size = size,
        flags = flags,
        old_epoch = old_epoch,
        new_epoch = new_epoch,
        requeued = requeued,
        refused = refused,
        policies = policies,
        policy_mask = policy_mask,
        max_attempts = max_attempts,
        reserved0 = reserved0,
        lease_ns = lease_ns,
        no_server_ns = no_server_ns,
        reserved = reserved,
    }
    abuse_reset = Reset {
        size = size,
        flags = flags,
        timeout_ns = timeout_ns,
        failed = failed,
        draining = draining,
        reserved = reserved,
    }
    abuse_resize = Resize {
        size = size,
        flags = flags,
        bytes = bytes,
        old_bytes = old_bytes,
        reserved = reserved,
    }
    abuse_add = Add {
        size = size,
        flags = flags,
        number = number,
        reserved = reserved,
        sequence = sequence,
        name = name,
        reserved1 = reserved1,
    }
    abuse_remove = Remove {
        size = size,
        flags = flags,
        number = number,
        reserved = reserved,
        sequence = sequence,
        timeout_ns = timeout_ns,
        failed = failed,
        draining = draining,
        reserved1 = reserved1,
    }
}

constants! {
    ABUSE_GET_STATUS = GET_STATUS,
    ABUSE_SET_STATUS = SET_STATUS,
    ABUSE_SET_POLL = SET_POLL,
    ABUSE_RESET = RESET,
    ABUSE_GET_BIO = GET_BIO,
    ABUSE_PUT_BIO = PUT_BIO,
    ABUSE_FLAGS_READ_ONLY = FLAGS_READ_ONLY,
    ABUSE_FLAGS_RECONNECT = FLAGS_RECONNECT,
    ABUSE_READ = V1_READ,
    ABUSE_WRITE = V1_WRITE,
    ABUSE_SYNC_NOTIFICATION = V1_SYNC_NOTIFICATION,
    ABUSE_RESULT_OKAY = V1_OKAY,
    ABUSE_RESULT_MEDIA_FAILURE = V1_MEDIA_FAILURE,
    ABUSE_RESULT_DEVICE_FAILURE = V1_DEVICE_FAILURE,
    ABUSE_V1_MAX_VECS = V1_MAX_VECS,
    ABUSE_V1_MAX_QUEUE = V1_MAX_QUEUE,
    ABUSE_ABI_VERSION = ABI_VERSION,
    ABUSE_MAX_DEPTH = MAX_DEPTH,
    ABUSE_MAX_TAGS = MAX_TAGS,
    ABUSE_MAX_BYTES = MAX_BYTES,
    ABUSE_MAX_SEGMENTS = MAX_SEGMENTS,
    ABUSE_MAX_EXTENTS = MAX_EXTENTS,
    ABUSE_MAX_SPIN = MAX_SPIN,
    ABUSE_ARENA_ALIGN = ARENA_ALIGN,
    ABUSE_FOREVER = FOREVER,
    ABUSE_ANY_NUMBER = ANY_NUMBER,
    ABUSE_NAME_SIZE = NAME_SIZE,
    ABUSE_OP_READ = OP_READ,
    ABUSE_OP_WRITE = OP_WRITE,
    ABUSE_OP_FLUSH = OP_FLUSH,
    ABUSE_OP_DISCARD = OP_DISCARD,
    ABUSE_OP_WRITE_ZEROES = OP_WRITE_ZEROES,
    ABUSE_OP_SECURE_ERASE = OP_SECURE_ERASE,
    ABUSE_OP_COUNT = OP_COUNT,
    ABUSE_REQ_FUA = REQ_FUA,
    ABUSE_REQ_NOUNMAP = REQ_NOUNMAP,
    ABUSE_REQ_FAILED_SHIFT = REQ_FAILED_SHIFT,
    ABUSE_OK = OK,
    ABUSE_IO_ERROR = IO_ERROR,
    ABUSE_NO_SPACE = NO_SPACE,
    ABUSE_TIMED_OUT = TIMED_OUT,
    ABUSE_MEDIUM_ERROR = MEDIUM_ERROR,
    ABUSE_NOT_SUPPORTED = NOT_SUPPORTED,
    ABUSE_WRITE_PROTECTED = WRITE_PROTECTED,
    ABUSE_DONE_ZERO = DONE_ZERO,
    ABUSE_DONE_FORWARD = DONE_FORWARD,
    ABUSE_DONE_RETURN = DONE_RETURN,
    ABUSE_X_DETACHED = X_DETACHED,
    ABUSE_X_NO_DATA = X_NO_DATA,
    ABUSE_F_READ_ONLY = F_READ_ONLY,
    ABUSE_F_WRITE_THROUGH = F_WRITE_THROUGH,
    ABUSE_F_NO_FUA = F_NO_FUA,
    ABUSE_F_ROTATIONAL = F_ROTATIONAL,
    ABUSE_F_PARTSCAN = F_PARTSCAN,
    ABUSE_F_DISCARD = F_DISCARD,
    ABUSE_F_WRITE_ZEROES = F_WRITE_ZEROES,
    ABUSE_F_SECURE_ERASE = F_SECURE_ERASE,
    ABUSE_P_KEEP_ON_CLOSE = P_KEEP_ON_CLOSE,
    ABUSE_P_FENCED_BACKEND = P_FENCED_BACKEND,
    ABUSE_ADJ_DEPTH = ADJ_DEPTH,
    ABUSE_ADJ_QUEUES = ADJ_QUEUES,
    ABUSE_ADJ_MAX_BYTES = ADJ_MAX_BYTES,
    ABUSE_ADJ_SEGMENTS = ADJ_SEGMENTS,
    ABUSE_ADJ_PHYSICAL = ADJ_PHYSICAL,
    ABUSE_ADJ_IO_MIN = ADJ_IO_MIN,
    ABUSE_ADJ_IO_OPT = ADJ_IO_OPT,
    ABUSE_ADJ_FUA = ADJ_FUA,
    ABUSE_ADJ_DISCARD = ADJ_DISCARD,
    ABUSE_STATE_EMPTY = STATE_EMPTY,
    ABUSE_STATE_READY = STATE_READY,
    ABUSE_STATE_LIVE = STATE_LIVE,
    ABUSE_STATE_RESETTING = STATE_RESETTING,
    ABUSE_STATE_GONE = STATE_GONE,
    ABUSE_ABI_EXCHANGE = ABI_EXCHANGE,
    ABUSE_ABI_V1 = ABI_V1,
    ABUSE_ABI_FORWARD = ABI_FORWARD,
    ABUSE_RQ_OWNER = RQ_OWNER,
    ABUSE_RQ_PID = RQ_PID,
    ABUSE_RQ_ID = RQ_ID,
    ABUSE_RQ_OLDER = RQ_OLDER,
    ABUSE_RQ_ALL = RQ_ALL,
    ABUSE_RQ_FORCE = RQ_FORCE,
    ABUSE_RC_FORCE = RC_FORCE,
    ABUSE_RC_READ_ONLY = RC_READ_ONLY,
    ABUSE_RC_READ_WRITE = RC_READ_WRITE,
    ABUSE_RC_MAX_ATTEMPTS = RC_MAX_ATTEMPTS,
    ABUSE_RC_LEASE = RC_LEASE,
    ABUSE_RC_NO_SERVER = RC_NO_SERVER,
    ABUSE_RS_FORCE = RS_FORCE,
    ABUSE_RZ_FORCE = RZ_FORCE,
    ABUSE_RM_FORCE = RM_FORCE,
    ABUSE_STATUS = IOC_STATUS,
    ABUSE_SETUP = IOC_SETUP,
    ABUSE_EXCHANGE = IOC_EXCHANGE,
    ABUSE_REQUEUE = IOC_REQUEUE,
    ABUSE_RECONNECT = IOC_RECONNECT,
    ABUSE_RESET2 = IOC_RESET,
    ABUSE_ADD = IOC_ADD,
    ABUSE_REMOVE = IOC_REMOVE,
    ABUSE_RESIZE = IOC_RESIZE,
}
