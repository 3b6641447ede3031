/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints abuse:abuse_*: the life of each request. docs/uapi.md tells what they say.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM abuse

#if !defined(ABUSE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ABUSE_TRACE_H

#include <linux/tracepoint.h>

/* What every event says of its request. */
#ifndef ABUSE_TRACE_REQUEST
#define ABUSE_TRACE_REQUEST
struct abuse_trace_request {
	u64 id;
	u64 sector;
	u32 device;
	u32 bytes;
	u32 op;
};
#endif

#define ABUSE_SHOW_OP(op)				\
	__print_symbolic(op,				\
		{ 0, "read" },				\
		{ 1, "write" },				\
		{ 2, "flush" },				\
		{ 3, "discard" },			\
		{ 4, "write-zeroes" },			\
		{ 5, "secure-erase" },			\
		{ 255, "unknown" })

#define ABUSE_FIELDS					\
	__field(u32, device)				\
	__field(u32, op)				\
	__field(u64, id)				\
	__field(u64, sector)				\
	__field(u32, bytes)

#define ABUSE_ASSIGN					\
	__entry->device = request->device;		\
	__entry->op = request->op;			\
	__entry->id = request->id;			\
	__entry->sector = request->sector;		\
	__entry->bytes = request->bytes

#define ABUSE_FORMAT "abuse%u id=%#llx %s sector=%llu bytes=%u"
#define ABUSE_VALUES							\
	__entry->device, __entry->id, ABUSE_SHOW_OP(__entry->op),	\
	__entry->sector, __entry->bytes

/* The block layer brought a request; it waits for somebody to take it. */
TRACE_EVENT(abuse_queue,
	TP_PROTO(const struct abuse_trace_request *request, u32 flags),
	TP_ARGS(request, flags),
	TP_STRUCT__entry(
		ABUSE_FIELDS
		__field(u32, flags)
	),
	TP_fast_assign(
		ABUSE_ASSIGN;
		__entry->flags = flags;
	),
	TP_printk(ABUSE_FORMAT " flags=%s", ABUSE_VALUES,
		__print_flags(__entry->flags, "|",
			{ 0x1, "fua" },
			{ 0x2, "nounmap" }))
);

/* A process has taken it; with shown, a client of 2009 has only seen it. */
TRACE_EVENT(abuse_get,
	TP_PROTO(const struct abuse_trace_request *request, u32 pid, u32 attempt, u64 age,
		 bool shown),
	TP_ARGS(request, pid, attempt, age, shown),
	TP_STRUCT__entry(
		ABUSE_FIELDS
		__field(u32, pid)
		__field(u64, age)
		__field(u32, attempt)
		__field(bool, shown)
	),
	TP_fast_assign(
		ABUSE_ASSIGN;
		__entry->pid = pid;
		__entry->age = age;
		__entry->attempt = attempt;
		__entry->shown = shown;
	),
	TP_printk(ABUSE_FORMAT " pid=%u attempt=%u age=%lluns%s", ABUSE_VALUES,
		__entry->pid, __entry->attempt, __entry->age,
		__entry->shown ? " shown" : "")
);

/*
 * A process says that it is done. result is what becomes of it, 0 or a negative errno; refused is 0,
 * or why this changed nothing: then only the id is known.
 */
TRACE_EVENT(abuse_put,
	TP_PROTO(const struct abuse_trace_request *request, u32 pid, int result, int refused),
	TP_ARGS(request, pid, result, refused),
	TP_STRUCT__entry(
		ABUSE_FIELDS
		__field(u32, pid)
		__field(int, result)
		__field(int, refused)
	),
	TP_fast_assign(
		ABUSE_ASSIGN;
		__entry->pid = pid;
		__entry->result = result;
		__entry->refused = refused;
	),
	TP_printk(ABUSE_FORMAT " pid=%u result=%d refused=%d", ABUSE_VALUES,
		__entry->pid, __entry->result, __entry->refused)
);

/*
 * It is offered again, under another id; with new_id 0 it ends, because too many of its owners died.
 * pid is who had it.
 */
TRACE_EVENT(abuse_requeue,
	TP_PROTO(const struct abuse_trace_request *request, u64 new_id, u32 pid, u32 attempt,
		 u64 held, u32 why),
	TP_ARGS(request, new_id, pid, attempt, held, why),
	TP_STRUCT__entry(
		ABUSE_FIELDS
		__field(u32, pid)
		__field(u64, new_id)
		__field(u64, held)
		__field(u32, attempt)
		__field(u32, why)
	),
	TP_fast_assign(
		ABUSE_ASSIGN;
		__entry->pid = pid;
		__entry->new_id = new_id;
		__entry->held = held;
		__entry->attempt = attempt;
		__entry->why = why;
	),
	TP_printk(ABUSE_FORMAT " new_id=%#llx pid=%u attempt=%u held=%lluns why=%s", ABUSE_VALUES,
		__entry->new_id, __entry->pid, __entry->attempt, __entry->held,
		__print_symbolic(__entry->why,
			{ 0, "asked" },
			{ 1, "lease" },
			{ 2, "forced" },
			{ 3, "closed" },
			{ 4, "died" },
			{ 5, "put-failed" },
			{ 6, "forward-failed" }))
);

/* The block layer is told how it ended: 0 or a negative errno. */
TRACE_EVENT(abuse_end,
	TP_PROTO(const struct abuse_trace_request *request, int error, u64 age),
	TP_ARGS(request, error, age),
	TP_STRUCT__entry(
		ABUSE_FIELDS
		__field(int, error)
		__field(u64, age)
	),
	TP_fast_assign(
		ABUSE_ASSIGN;
		__entry->error = error;
		__entry->age = age;
	),
	TP_printk(ABUSE_FORMAT " error=%d age=%lluns", ABUSE_VALUES,
		__entry->error, __entry->age)
);

#endif /* ABUSE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
