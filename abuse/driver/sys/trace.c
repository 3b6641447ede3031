// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints, and a function for each: they are macros. Rust looks at the static keys itself
 * (sys/trace.rs), so nothing here is called while nobody traces. No policy here.
 */
#include <linux/blkdev.h>
#include <linux/pid.h>
#include <linux/sched.h>

#define CREATE_TRACE_POINTS
#include "trace.h"

void abuse_do_trace_queue(const struct abuse_trace_request *request, u32 flags)
{
	trace_abuse_queue(request, flags);
}

void abuse_do_trace_get(const struct abuse_trace_request *request, u32 attempt, u64 age, bool shown)
{
	trace_abuse_get(request, task_tgid_nr(current), attempt, age, shown);
}

void abuse_do_trace_put(const struct abuse_trace_request *request, u8 status, int refused)
{
	int result = blk_status_to_errno((__force blk_status_t)status);

	trace_abuse_put(request, task_tgid_nr(current), result, refused);
}

void abuse_do_trace_requeue(const struct abuse_trace_request *request, u64 new_id,
			    struct pid *process, u32 attempt, u64 held, u32 why)
{
	trace_abuse_requeue(request, new_id, pid_nr(process), attempt, held, why);
}

void abuse_do_trace_end(const struct abuse_trace_request *request, u8 status, u64 age)
{
	trace_abuse_end(request, blk_status_to_errno((__force blk_status_t)status), age);
}
