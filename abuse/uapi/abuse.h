/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * abuse.h - the contract between the abuse driver and the processes that serve
 * its disks.
 *
 * Every call is an ioctl on the control node of a device, /dev/abctlN, but for
 * the two on /dev/abuse-control that add and remove devices; the disk itself is
 * /dev/abuseN. There is no connection: any process may take requests
 * with ABUSE_EXCHANGE, and any process may complete what another one took, for
 * as long as the request's id is current. docs/uapi.md says for each call what
 * goes in, what comes out, which errno means what, and what a crash at that
 * moment leaves behind.
 *
 * Shapes: all integers are in the machine's byte order. All structs have the
 * same layout for 32-bit and 64-bit callers, but for the v1 struct abuse_info.
 * User-space addresses travel as 64-bit integers. Reserved fields must be zero
 * (EINVAL). Every v2 struct begins with its own size: the driver accepts longer
 * structs whose unknown tail is zero (else E2BIG), and refuses shorter ones
 * (EINVAL).
 *
 * The Rust mirror of this file is abi.rs; a test holds the two equal.
 */
#ifndef ABUSE_H
#define ABUSE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ------------------------------------------------------------------------ */
/* v1: the interface of 2009. Its numbers and structs never change.          */
/* ------------------------------------------------------------------------ */

#define ABUSE_GET_STATUS	0x4120	/* struct abuse_info, out */
#define ABUSE_SET_STATUS	0x4121	/* struct abuse_info, in */
#define ABUSE_SET_POLL		0x4122	/* was never implemented: EINVAL */
#define ABUSE_RESET		0x4123	/* no argument */
#define ABUSE_GET_BIO		0x4124	/* struct abuse_xfr_hdr, in and out */
#define ABUSE_PUT_BIO		0x4125	/* struct abuse_xfr_hdr, in */

/* abuse_info.ab_flags */
enum {
	ABUSE_FLAGS_READ_ONLY	= 1,	/* the disk refuses writes */
	ABUSE_FLAGS_RECONNECT	= 2,	/* SET_STATUS only: keep the disk, re-offer its requests */
};

/* sizeof 48 on 64-bit, 44 for 32-bit x86 callers. */
struct abuse_info {
	__u64	ab_device;	/* out: always 0; v1 left it to the caller */
	__u64	ab_size;	/* bytes */
	__u32	ab_number;	/* out: N of /dev/abuseN */
	__u32	ab_flags;	/* ABUSE_FLAGS_* */
	__u32	ab_blocksize;	/* bytes, a power of two from 512 to the page size */
	__u32	ab_max_queue;	/* requests, up to 512 */
	__u32	ab_queue_size;	/* out: requests pending */
	__u32	ab_errors;	/* out: requests that ended with an error */
	__u32	ab_max_vecs;	/* out: most vectors of one request */
};

/* One piece of a request's data. */
struct abuse_vec {
	__u64	ab_address;	/* PUT_BIO, in: where the caller keeps this piece */
	__u32	ab_len;		/* GET_BIO, out: bytes */
	__u32	ab_offset;	/* GET_BIO, out: offset of the piece in its page */
};

struct abuse_xfr_hdr {
	__u64	ab_id;			/* the request */
	__u64	ab_sector;		/* in units of 512 bytes */
	__u32	ab_command;		/* ABUSE_READ, ... */
	__u32	ab_result;		/* PUT_BIO, in: ABUSE_RESULT_* */
	__u32	ab_vec_count;
	__u32	ab_vec_offset;		/* unused */
	__u64	ab_transfer_address;	/* of struct abuse_vec[]; 0: header only */
};

/* abuse_xfr_hdr.ab_command */
enum {
	ABUSE_READ		= 0,
	ABUSE_WRITE		= 1,
	ABUSE_SYNC_NOTIFICATION	= 2,	/* a flush; no vectors */
};

/* abuse_xfr_hdr.ab_result */
enum {
	ABUSE_RESULT_OKAY		= 0,
	ABUSE_RESULT_MEDIA_FAILURE	= 1,	/* this request ends with EIO */
	ABUSE_RESULT_DEVICE_FAILURE	= 2,	/* everything pending ends with EIO */
};

/* Most vectors GET_BIO returns, and what ab_max_vecs says. */
#define ABUSE_V1_MAX_VECS	256
/* Highest ab_max_queue SET_STATUS accepts. */
#define ABUSE_V1_MAX_QUEUE	512

/* ------------------------------------------------------------------------ */
/* v2                                                                        */
/* ------------------------------------------------------------------------ */

#define ABUSE_ABI_VERSION	2

/* Limits of a device. */
#define ABUSE_MAX_DEPTH		4096	/* requests per hardware queue */
#define ABUSE_MAX_TAGS		65536	/* requests per device: depth times queues */
#define ABUSE_MAX_BYTES		(16u << 20)	/* bytes of one request */
#define ABUSE_MAX_SEGMENTS	256	/* pieces of one request */
#define ABUSE_MAX_EXTENTS	256	/* places one request is forwarded to */
#define ABUSE_MAX_SPIN		1000000	/* looks before an EXCHANGE sleeps */
/* Each taken request's buffer starts at a multiple of this from the arena. */
#define ABUSE_ARENA_ALIGN	4096
/* abuse_exchange.timeout_ns: wait for ever. */
#define ABUSE_FOREVER		0xffffffffffffffffULL
/* abuse_add.number: the lowest that is free. */
#define ABUSE_ANY_NUMBER	0xffffffffu
/* Bytes of a device's name, with the NUL behind it. */
#define ABUSE_NAME_SIZE		64

/* abuse_take.op, and the index of abuse_status.ops[]. */
enum {
	ABUSE_OP_READ		= 0,
	ABUSE_OP_WRITE		= 1,
	ABUSE_OP_FLUSH		= 2,	/* length 0; covers every write completed before it was taken */
	ABUSE_OP_DISCARD	= 3,	/* no data; contents become undefined */
	ABUSE_OP_WRITE_ZEROES	= 4,	/* no data; contents become zero */
	ABUSE_OP_SECURE_ERASE	= 5,	/* no data; contents become unrecoverable */
};
#define ABUSE_OP_COUNT		6

/* abuse_take.flags */
#define ABUSE_REQ_FUA		0x1	/* durable before it is completed */
#define ABUSE_REQ_NOUNMAP	0x2	/* WRITE_ZEROES: keep the space allocated */
/* The result of the last forward that came back, shifted up by so many bits; 0: none did. */
#define ABUSE_REQ_FAILED_SHIFT	12

/* abuse_done.result */
enum {
	ABUSE_OK		= 0,
	ABUSE_IO_ERROR		= 1,	/* EIO */
	ABUSE_NO_SPACE		= 2,	/* ENOSPC */
	ABUSE_TIMED_OUT		= 3,	/* ETIMEDOUT */
	ABUSE_MEDIUM_ERROR	= 4,	/* ENODATA: this place on the medium is bad */
	ABUSE_NOT_SUPPORTED	= 5,	/* EOPNOTSUPP */
	ABUSE_WRITE_PROTECTED	= 6,	/* EREMOTEIO: the target refuses the write */
};

/* abuse_done.flags */
#define ABUSE_DONE_ZERO		0x1	/* READ: the data are all zero; buffer and length are ignored */
#define ABUSE_DONE_FORWARD	0x2	/*
					 * the driver does it itself, in files: buffer is the address of
					 * struct abuse_extent[length]
					 */
#define ABUSE_DONE_RETURN	0x4	/*
					 * FORWARD: if it fails the request is offered again, with
					 * ABUSE_REQ_FAILED_SHIFT; without this flag it ends with the error
					 */

/* A piece of a file that a request is forwarded to. 16 bytes. */
struct abuse_extent {
	__aligned_u64 offset;	/* in: bytes */
	__u32	length;		/* in: bytes, not 0 but for a FLUSH; together the request's length */
	__s32	fd;		/* in: a file or a block device of the caller */
};

/* A request to complete. 32 bytes. */
struct abuse_done {
	__aligned_u64 id;	/* in: as it was taken */
	__aligned_u64 buffer;	/* in: READ: address of the data; FORWARD: of the extents */
	__u32	length;		/* in: READ: bytes at buffer, exactly the request's length; FORWARD: extents */
	__u16	result;		/* in: ABUSE_OK, ... */
	__u16	flags;		/* in: ABUSE_DONE_* */
	__s32	status;		/*
				 * out: 0, or why the entry changed nothing: -ESTALE (the id has
				 * been completed or re-offered), -ENOENT (never given out, or not
				 * taken), -EINVAL, -EFAULT, -EAGAIN (the buffer kept vanishing);
				 * FORWARD: -EBADF, -EOPNOTSUPP, -ELOOP, -ERANGE, -ENOMEM too.
				 * Written only for entries that were refused: clear it first.
				 */
	__u32	reserved;
};

/* A request that was taken. 48 bytes, all written by the driver. */
struct abuse_take {
	__aligned_u64 id;	/* never 0, never the same twice */
	__aligned_u64 sector;	/* in units of 512 bytes */
	__aligned_u64 buffer;	/* where in the arena the request's bytes are: WRITE data, room for READ */
	__aligned_u64 age_ns;	/* since the block layer queued it */
	__u32	length;		/* bytes */
	__u32	attempt;	/* owners that died holding it: 0 at first */
	__u32	epoch;		/* of the device when it was taken */
	__u16	op;		/* ABUSE_OP_* */
	__u16	flags;		/* ABUSE_REQ_* */
};

/* abuse_exchange.flags */
#define ABUSE_X_DETACHED	0x1	/* what this call takes stays taken when the file is closed */
#define ABUSE_X_NO_DATA		0x2	/* do not copy WRITE data out; the arena may be 0 */

/*
 * Complete done_count requests, then take up to take_max new ones, waiting up to
 * timeout_ns until take_min are there. 88 bytes.
 */
struct abuse_exchange {
	__u32	size;		/* in: sizeof(struct abuse_exchange) */
	__u32	flags;		/* in: ABUSE_X_* */
	__aligned_u64 done;	/* in: struct abuse_done[done_count] */
	__aligned_u64 take;	/* in: room for struct abuse_take[take_max] */
	__aligned_u64 arena;	/* in: where the driver places the requests' bytes */
	__aligned_u64 arena_bytes;	/* in: at least config.max_bytes, else EMSGSIZE when one does not fit */
	__aligned_u64 owner;	/* in: token of the worker; 0: the driver makes one from pid and start time */
	__aligned_u64 timeout_ns;	/* in: 0: do not wait; ABUSE_FOREVER */
	__u32	done_count;	/* in */
	__u32	done_failed;	/* out: entries of done[] that were refused */
	__u32	take_max;	/* in */
	__u32	take_min;	/* in: 0 is taken as 1 */
	__u32	taken;		/* out: entries of take[] that were filled */
	__u32	queued;		/* out: requests still unclaimed */
	__u32	epoch;		/* out */
	__u32	spin;		/* in: look so often for requests before sleeping; at most ABUSE_MAX_SPIN */
};

/* abuse_setup.features: what the disk is. A cleared struct is the safe default. */
#define ABUSE_F_READ_ONLY	0x001	/* the disk refuses writes */
#define ABUSE_F_WRITE_THROUGH	0x002	/* no volatile cache: every write is durable before it is completed */
#define ABUSE_F_NO_FUA		0x004	/* the block layer turns FUA into write and flush */
#define ABUSE_F_ROTATIONAL	0x008
#define ABUSE_F_PARTSCAN	0x010	/* look for partitions once a worker waits */
#define ABUSE_F_DISCARD		0x020
#define ABUSE_F_WRITE_ZEROES	0x040
#define ABUSE_F_SECURE_ERASE	0x080

/* abuse_setup.policies */
#define ABUSE_P_KEEP_ON_CLOSE	0x1	/* closing a worker's file does not re-offer what it took */
#define ABUSE_P_FENCED_BACKEND	0x2	/* the backend rejects old writers: re-offer from the living too */

/* abuse_setup.adjusted: which values the driver changed. */
#define ABUSE_ADJ_DEPTH		0x01
#define ABUSE_ADJ_QUEUES	0x02
#define ABUSE_ADJ_MAX_BYTES	0x04
#define ABUSE_ADJ_SEGMENTS	0x08
#define ABUSE_ADJ_PHYSICAL	0x10
#define ABUSE_ADJ_IO_MIN	0x20
#define ABUSE_ADJ_IO_OPT	0x40
#define ABUSE_ADJ_FUA		0x80
#define ABUSE_ADJ_DISCARD	0x100

/* The shape and the policies of a disk. 0 means: the driver's default. 128 bytes. */
struct abuse_setup {
	__u32	size;		/* in: sizeof(struct abuse_setup) */
	__u32	adjusted;	/* out: ABUSE_ADJ_* */
	__aligned_u64 bytes;	/* capacity: a multiple of logical_block, not 0 */
	__u32	logical_block;	/* bytes, a power of two from 512 to 64 KiB (default 4096) */
	__u32	physical_block;	/* bytes, a power of two, at least logical_block */
	__u32	io_min;		/* bytes, smallest I/O without a penalty */
	__u32	io_opt;		/* bytes, best I/O size: a multiple of physical_block */
	__u32	max_bytes;	/* bytes of the largest request (default 1 MiB) */
	__u32	depth;		/* requests per hardware queue (default 128) */
	__u32	queues;		/* hardware queues (default 1) */
	__u32	max_segments;	/* pieces of one request (default 256) */
	__u32	features;	/* ABUSE_F_* */
	__u32	policies;	/* ABUSE_P_* */
	__u32	max_attempts;	/* deaths after which a request fails; 0: no limit */
	__u32	discard_granularity;	/* bytes (default physical_block) */
	__aligned_u64 lease_ns;		/* re-offer what was taken longer ago, within the fencing rule; 0: off */
	__aligned_u64 no_server_ns;	/* fail when the oldest unclaimed request is older; 0: queue for ever */
	__u32	max_discard_bytes;	/* of one discard, zeroing or erase (default 1 GiB) */
	__u32	reserved0;
	__aligned_u64 reserved[5];
};

/* abuse_status.state */
enum {
	ABUSE_STATE_EMPTY	= 0,	/* not set up: no /dev/abuseN */
	ABUSE_STATE_READY	= 1,	/* set up; no worker has waited for requests yet */
	ABUSE_STATE_LIVE	= 2,	/* set up, and a worker has waited since */
	ABUSE_STATE_RESETTING	= 3,	/* a reset is being finished */
	ABUSE_STATE_GONE	= 4,	/* the device was removed */
};

/* Per operation, since the last set-up. 64 bytes. */
struct abuse_op_stats {
	__aligned_u64 queued;	/* requests that came */
	__aligned_u64 taken;	/* claims handed out, redeliveries included */
	__aligned_u64 done;	/* requests completed with ABUSE_OK */
	__aligned_u64 requeued;	/* claims taken back */
	__aligned_u64 failed;	/* requests that ended with an error */
	__aligned_u64 bytes;	/* of the requests in done */
	__aligned_u64 total_ns;	/* from arrival to completion of the requests in done, added up */
	__aligned_u64 service_ns;	/* of that, in the hands of the worker that held the request last */
};

/* abuse_status.abi_features */
#define ABUSE_ABI_EXCHANGE	0x1
#define ABUSE_ABI_V1		0x2
#define ABUSE_ABI_FORWARD	0x4

/* Everything about one device. Needs no write access. 720 bytes. */
struct abuse_status {
	__u32	size;		/* in: sizeof(struct abuse_status) */
	__u32	abi_version;	/* ABUSE_ABI_VERSION */
	__aligned_u64 abi_features;	/* ABUSE_ABI_* */
	__u32	number;		/* N of /dev/abuseN */
	__u32	state;		/* ABUSE_STATE_* */
	__aligned_u64 sequence;	/* of the device: not used again until the module is reloaded */
	__u32	epoch;		/* counts set-ups and reconnects */
	__u32	queued;		/* requests nobody has taken */
	__u32	taken;		/* requests a worker holds */
	__u32	draining;	/* requests in the middle of a copy, or forwarded */
	__u32	workers;	/* processes that have taken requests and still have the node open */
	__u32	waiting;	/* threads asleep in EXCHANGE */
	__u32	openers;	/* of the disk */
	__u32	errors;		/* requests that ended with an error */
	__aligned_u64 oldest_queued_ns;	/* age of the oldest unclaimed request; 0: none */
	__aligned_u64 oldest_taken_ns;	/* longest time a worker has held one; 0: none */
	__aligned_u64 stale;	/* completions refused because the id was old */
	__aligned_u64 refused;	/* re-offers refused because a writer lives */
	__aligned_u64 unflushed; /* completed changes that no flush has followed; 0 where none has to */
	__u32	forwarding;	/* requests whose data the kernel moves; counted in draining */
	__u32	reserved;
	struct abuse_setup config;	/* as the driver adjusted it; 0 when not set up */
	struct abuse_op_stats ops[ABUSE_OP_COUNT];
	char	driver[32];	/* version of the driver, NUL-terminated */
	char	name[ABUSE_NAME_SIZE];	/* as it was added, NUL-terminated; empty: none */
};

/* abuse_requeue.flags: which taken requests; several selectors must all hold. */
#define ABUSE_RQ_OWNER		0x1	/* taken under this token */
#define ABUSE_RQ_PID		0x2	/* taken by this process */
#define ABUSE_RQ_ID		0x4	/* this one */
#define ABUSE_RQ_OLDER		0x8	/* held for longer than this */
#define ABUSE_RQ_ALL		0x10	/* all of them */
#define ABUSE_RQ_FORCE		0x100	/* modifying requests of living owners too */

/*
 * Offer taken requests again. Modifying requests whose owner lives are left
 * alone and counted in refused, unless forced or the backend fences: EBUSY if
 * nothing else was there to re-offer. 56 bytes.
 */
struct abuse_requeue {
	__u32	size;		/* in: sizeof(struct abuse_requeue) */
	__u32	flags;		/* in: ABUSE_RQ_* */
	__aligned_u64 owner;	/* in */
	__aligned_u64 id;	/* in */
	__aligned_u64 older_than_ns;	/* in */
	__u32	pid;		/* in: in the caller's pid namespace */
	__u32	requeued;	/* out */
	__u32	refused;	/* out */
	__u32	reserved;
	__aligned_u64 reserved1;
};

/* abuse_reconnect.flags */
#define ABUSE_RC_FORCE		0x1	/* modifying requests of living owners too */
#define ABUSE_RC_READ_ONLY	0x2	/* make the disk read-only */
#define ABUSE_RC_READ_WRITE	0x4	/* make the disk writable again */
#define ABUSE_RC_MAX_ATTEMPTS	0x8	/* max_attempts as said here */
#define ABUSE_RC_LEASE		0x10	/* lease_ns as said here */
#define ABUSE_RC_NO_SERVER	0x20	/* no_server_ns as said here */

/*
 * Begin a new epoch: change what is asked for, and offer everything taken again, as
 * ABUSE_RQ_ALL does, by the policies as they are then. EBUSY, no new epoch and nothing
 * changed, if living writers kept all there was. What is not to change is 0. 64 bytes.
 */
struct abuse_reconnect {
	__u32	size;		/* in: sizeof(struct abuse_reconnect) */
	__u32	flags;		/* in: ABUSE_RC_* */
	__u32	old_epoch;	/* out */
	__u32	new_epoch;	/* out */
	__u32	requeued;	/* out */
	__u32	refused;	/* out */
	__u32	policies;	/* in: ABUSE_P_*, of those in policy_mask */
	__u32	policy_mask;	/* in: ABUSE_P_* that become as in policies */
	__u32	max_attempts;	/* in: with ABUSE_RC_MAX_ATTEMPTS */
	__u32	reserved0;
	__aligned_u64 lease_ns;	/* in: with ABUSE_RC_LEASE; 0: off */
	__aligned_u64 no_server_ns;	/* in: with ABUSE_RC_NO_SERVER; 0: queue for ever */
	__aligned_u64 reserved;
};

/* abuse_reset.flags */
#define ABUSE_RS_FORCE		0x1	/* even when open, mounted, or with requests pending */

/*
 * End everything pending with EIO and un-configure the device. Never waits for a
 * worker; with timeout_ns waits until the disk is gone (EINPROGRESS if it is not
 * by then: the reset goes on by itself). 32 bytes.
 */
struct abuse_reset {
	__u32	size;		/* in: sizeof(struct abuse_reset) */
	__u32	flags;		/* in: ABUSE_RS_* */
	__aligned_u64 timeout_ns;	/* in: 0: do not wait; ABUSE_FOREVER */
	__u32	failed;		/* out: requests ended with EIO */
	__u32	draining;	/* out: requests still in the middle of a copy, or forwarded */
	__aligned_u64 reserved;
};

/* abuse_resize.flags */
#define ABUSE_RZ_FORCE		0x1	/* shrink although it is open, or below the end of a partition */

/*
 * Change the capacity of a disk that is there. Growing is always allowed; EBUSY if
 * shrinking would take from whoever has the disk open, or from a partition. 40 bytes.
 */
struct abuse_resize {
	__u32	size;		/* in: sizeof(struct abuse_resize) */
	__u32	flags;		/* in: ABUSE_RZ_* */
	__aligned_u64 bytes;	/* in: a multiple of logical_block, not 0 */
	__aligned_u64 old_bytes;	/* out */
	__aligned_u64 reserved[2];
};

/* Add a device, empty. On /dev/abuse-control. 96 bytes. */
struct abuse_add {
	__u32	size;		/* in: sizeof(struct abuse_add) */
	__u32	flags;		/* in: none yet */
	__u32	number;		/* in: N of /dev/abctlN, or ABUSE_ANY_NUMBER; out: N */
	__u32	reserved;
	__aligned_u64 sequence;	/* out: of the device, for ABUSE_REMOVE */
	char	name[ABUSE_NAME_SIZE];	/* in: letters, digits and ._+-, NUL-terminated; empty: none */
	__aligned_u64 reserved1;
};

/* abuse_remove.flags */
#define ABUSE_RM_FORCE		0x1	/* even when open, mounted, or with requests pending */

/*
 * Remove a device with its disk, as ABUSE_RESET2 does, and its control node. On
 * /dev/abuse-control. ESTALE if the number has come to another device. 56 bytes.
 */
struct abuse_remove {
	__u32	size;		/* in: sizeof(struct abuse_remove) */
	__u32	flags;		/* in: ABUSE_RM_* */
	__u32	number;		/* in */
	__u32	reserved;
	__aligned_u64 sequence;	/* in: of the device that is meant; 0: whichever has the number */
	__aligned_u64 timeout_ns;	/* in: 0: do not wait until it is gone; ABUSE_FOREVER */
	__u32	failed;		/* out: requests ended with EIO */
	__u32	draining;	/* out: requests still in the middle of a copy, or forwarded */
	__aligned_u64 reserved1[2];
};

#define ABUSE_STATUS		_IOWR('A', 0x26, struct abuse_status)
#define ABUSE_SETUP		_IOWR('A', 0x27, struct abuse_setup)
#define ABUSE_EXCHANGE		_IOWR('A', 0x28, struct abuse_exchange)
#define ABUSE_REQUEUE		_IOWR('A', 0x29, struct abuse_requeue)
#define ABUSE_RECONNECT		_IOWR('A', 0x2a, struct abuse_reconnect)
#define ABUSE_RESET2		_IOWR('A', 0x2b, struct abuse_reset)
/* On /dev/abuse-control: */
#define ABUSE_ADD		_IOWR('A', 0x2c, struct abuse_add)
#define ABUSE_REMOVE		_IOWR('A', 0x2d, struct abuse_remove)
/* On /dev/abctlN again: */
#define ABUSE_RESIZE		_IOWR('A', 0x2e, struct abuse_resize)

#endif /* ABUSE_H */
