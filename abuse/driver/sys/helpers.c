// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is inline or a macro in the kernel and so out of Rust's reach, as plain
 * functions; and the proof that the constants sys/ repeats are the kernel's.
 * No policy here.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/bottom_half.h>
#include <linux/eventpoll.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#ifdef CONFIG_HIGHMEM
#error "abuse copies through the direct map; kernels with HIGHMEM are not supported"
#endif

/* sys/request.rs */
static_assert((__force u32)REQ_OP_MASK == 0xff);
static_assert((__force u32)REQ_OP_READ == 0);
static_assert((__force u32)REQ_OP_WRITE == 1);
static_assert((__force u32)REQ_OP_FLUSH == 2);
static_assert((__force u32)REQ_OP_DISCARD == 3);
static_assert((__force u32)REQ_OP_SECURE_ERASE == 5);
static_assert((__force u32)REQ_OP_WRITE_ZEROES == 9);
static_assert((__force u32)REQ_FUA == 1u << 17);
static_assert((__force u32)REQ_NOUNMAP == 1u << 28);
static_assert((__force u8)BLK_STS_OK == 0);
static_assert((__force u8)BLK_STS_NOTSUPP == 1);
static_assert((__force u8)BLK_STS_TIMEOUT == 2);
static_assert((__force u8)BLK_STS_NOSPC == 3);
static_assert((__force u8)BLK_STS_TARGET == 5);
static_assert((__force u8)BLK_STS_MEDIUM == 7);
static_assert((__force u8)BLK_STS_IOERR == 10);

/* sys/disk.rs */
static_assert((__force u32)BLK_FEAT_WRITE_CACHE == 1u << 0);
static_assert((__force u32)BLK_FEAT_FUA == 1u << 1);
static_assert((__force u32)BLK_FEAT_ROTATIONAL == 1u << 2);
static_assert((__force u32)BLK_OPEN_READ == 1u << 0);
static_assert((__force u32)BLK_OPEN_WRITE == 1u << 1);

/* sys/chrdev.rs */
static_assert((__force u32)FMODE_WRITE == 0x2);
static_assert((__force u32)EPOLLIN == 0x1);
static_assert((__force u32)EPOLLERR == 0x8);
static_assert((__force u32)EPOLLHUP == 0x10);
static_assert((__force u32)EPOLLRDNORM == 0x40);
static_assert((__force u32)EPOLLMSG == 0x400);

/*
 * Bytes of a page that lie at @offset, to user space; true if all were copied. Never faults, but
 * fails on request like copy_to_user(), of which these are the unchecked inside.
 */
bool abuse_page_to_user(void __user *to, struct page *page, unsigned int offset, unsigned int len)
{
	const void *from = page_address(page) + offset;
	unsigned long left;

	if (should_fail_usercopy() || !access_ok(to, len))
		return false;
	pagefault_disable();
	instrument_copy_to_user(to, from, len);
	left = raw_copy_to_user(to, from, len);
	pagefault_enable();
	return !left;
}

/* The other way. */
bool abuse_page_from_user(struct page *page, unsigned int offset, const void __user *from,
			  unsigned int len)
{
	void *to = page_address(page) + offset;
	unsigned long left;

	if (should_fail_usercopy() || !access_ok(from, len))
		return false;
	barrier_nospec();
	pagefault_disable();
	instrument_copy_from_user_before(to, from, len);
	left = raw_copy_from_user(to, from, len);
	instrument_copy_from_user_after(to, from, len, left);
	pagefault_enable();
	return !left;
}

void abuse_page_zero(struct page *page, unsigned int offset, unsigned int len)
{
	memset(page_address(page) + offset, 0, len);
}

/*
 * Puts a request that went well among those that blk_mq_end_request_batch() will end. False if the
 * block layer wants it to be ended by itself.
 */
bool abuse_request_end_together(struct request *request, struct io_comp_batch *batch)
{
	return blk_mq_add_to_batch(request, batch, false, blk_mq_end_request_batch);
}

/* The process of the caller; counted. */
struct pid *abuse_current_process(void)
{
	return get_pid(task_tgid(current));
}

/* The same, not counted: only to be compared. */
const void *abuse_current_process_key(void)
{
	return task_tgid(current);
}

/* A token for a process that brought none. */
u64 abuse_current_token(void)
{
	struct task_struct *leader = current->group_leader;

	return ((u64)task_tgid_nr(current) << 32) ^ READ_ONCE(leader->start_boottime);
}

/*
 * Whether any thread of a process may still be inside a system call. A zombie is dead, whether it
 * has been reaped or not: this is what makes a pidfd readable.
 */
bool abuse_process_is_alive(struct pid *pid)
{
	struct task_struct *task;
	bool alive;

	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_TGID);
	alive = task && !(READ_ONCE(task->exit_state) && thread_group_empty(task));
	rcu_read_unlock();
	return alive;
}

bool abuse_current_is_dying(void)
{
	return current->flags & PF_EXITING;
}

void abuse_bh_disable(void)
{
	local_bh_disable();
}

void abuse_bh_enable(void)
{
	local_bh_enable();
}

unsigned int abuse_noio_save(void)
{
	return memalloc_noio_save();
}

void abuse_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

unsigned int abuse_disk_openers(struct gendisk *disk)
{
	return disk_openers(disk);
}

/* Whether partitions are looked for when the disk is opened; returns what was. */
bool abuse_disk_suppress_scan(struct gendisk *disk, bool suppress)
{
	if (suppress)
		return test_and_set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	return test_and_clear_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
}

/* Whether the next open looks for partitions. */
void abuse_disk_need_scan(struct gendisk *disk, bool need)
{
	if (need)
		set_bit(GD_NEED_PART_SCAN, &disk->state);
	else
		clear_bit(GD_NEED_PART_SCAN, &disk->state);
}

bool abuse_disk_is_dead(struct gendisk *disk)
{
	return test_bit(GD_DEAD, &disk->state);
}

/* Where the last partition ends, in sectors. */
u64 abuse_disk_partitions_end(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long index;
	u64 end = 0;

	rcu_read_lock();
	xa_for_each_start(&disk->part_tbl, index, part, 1)
		end = max_t(u64, end, part->bd_start_sect + bdev_nr_sectors(part));
	rcu_read_unlock();
	return end;
}

void abuse_disk_uevent_change(struct gendisk *disk, char *state)
{
	char *envp[] = { state, NULL };

	kobject_uevent_env(&disk_to_dev(disk)->kobj, KOBJ_CHANGE, envp);
}
