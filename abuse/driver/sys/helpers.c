// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is inline or a macro in the kernel and so out of Rust's reach, as plain
 * functions; and the proof that the constants sys/ repeats are the kernel's.
 * No policy here.
 */
#include <linux/backing-dev.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/bottom_half.h>
#include <linux/cred.h>
#include <linux/eventpoll.h>
#include <linux/falloc.h>
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
static_assert((__force u32)RQF_SCHED_TAGS == 1u << 4);
static_assert((__force u32)(RQF_IO_STAT | RQF_STATS | RQF_USE_SCHED) == 0x920);
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

/* sys/flight.rs */
static_assert(IOCB_DSYNC == 0x2);
static_assert(IOCB_NOWAIT == 0x8);
static_assert(FALLOC_FL_KEEP_SIZE == 0x1);
static_assert(FALLOC_FL_PUNCH_HOLE == 0x2);
static_assert(FALLOC_FL_ZERO_RANGE == 0x10);
static_assert(EIOCBQUEUED == 529);

/*
 * Whether a struct that was just read from @to can be written back: its first and its last word are,
 * so that both pages are seen that it may lie on.
 */
bool abuse_is_writable(u64 __user *to, const u64 *from, unsigned int len)
{
	unsigned int last = len / sizeof(u64) - 1;

	return !put_user(from[0], to) && !put_user(from[last], to + last);
}

void abuse_pagefault_disable(void)
{
	pagefault_disable();
}

void abuse_pagefault_enable(void)
{
	pagefault_enable();
}

/*
 * Bytes of a page that lie at @offset, to user space; true if all were copied. Page faults are
 * disabled: several pages are copied between one abuse_pagefault_disable() and its end. Fails on
 * request like copy_to_user(), of which these are the unchecked inside.
 */
bool abuse_page_to_user(void __user *to, struct page *page, unsigned int offset, unsigned int len)
{
	const void *from = page_address(page) + offset;
	unsigned long left;

	if (should_fail_usercopy() || !access_ok(to, len))
		return false;
	instrument_copy_to_user(to, from, len);
	left = raw_copy_to_user(to, from, len);
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
	instrument_copy_from_user_before(to, from, len);
	left = raw_copy_from_user(to, from, len);
	instrument_copy_from_user_after(to, from, len, left);
	return !left;
}

void abuse_page_zero(struct page *page, unsigned int offset, unsigned int len)
{
	memset(page_address(page) + offset, 0, len);
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

/* From here on the calling thread is not run any more once it calls the scheduler, until it is woken. */
void abuse_sleep_begin(void)
{
	set_current_state(TASK_INTERRUPTIBLE);
}

void abuse_sleep_end(void)
{
	__set_current_state(TASK_RUNNING);
}

/* Whether the calling thread has something better to do than to look whether it has something to do. */
bool abuse_should_stop_spinning(void)
{
	return need_resched() || signal_pending(current);
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

/* The calling thread cleans memory: no I/O to get some, and not throttled by what others dirty. */
unsigned int abuse_flusher_save(void)
{
	unsigned int flags = current->flags & (PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO);

	current->flags |= PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO;
	return flags;
}

void abuse_flusher_restore(unsigned int flags)
{
	current->flags &= ~(PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO);
	current->flags |= flags;
}

/* The calling thread may what whoever opened the file may; returns what it might. */
const struct cred *abuse_creds_of_file(struct file *file)
{
	return override_creds(file->f_cred);
}

void abuse_creds_restore(const struct cred *before)
{
	revert_creds(before);
}

void abuse_file_get(struct file *file)
{
	get_file(file);
}

/* The bits are those of sys/backing.rs. */
u32 abuse_file_facts(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	fmode_t read = FMODE_READ | FMODE_CAN_READ, write = FMODE_WRITE | FMODE_CAN_WRITE;
	bool places = S_ISREG(inode->i_mode) || S_ISBLK(inode->i_mode);

	return (S_ISREG(inode->i_mode) ? 1u << 0 : 0) |
	       (S_ISBLK(inode->i_mode) ? 1u << 1 : 0) |
	       ((file->f_mode & read) == read && file->f_op->read_iter ? 1u << 2 : 0) |
	       ((file->f_mode & write) == write && file->f_op->write_iter ? 1u << 3 : 0) |
	       (file->f_flags & O_APPEND ? 1u << 4 : 0) |
	       (file->f_flags & O_DIRECT ? 1u << 5 : 0) |
	       (places && !mapping_can_writeback(file->f_mapping) ? 1u << 6 : 0) |
	       (file->f_mode & FMODE_NOWAIT ? 1u << 7 : 0);
}

u64 abuse_file_bytes(struct file *file)
{
	return i_size_read(file->f_mapping->host);
}

/* Whether a file is the disk of a request, a partition of it, or on a file system there. */
bool abuse_file_is_on(struct file *file, struct request *request)
{
	struct inode *inode = file->f_mapping->host;
	struct block_device *bdev = S_ISBLK(inode->i_mode) ? I_BDEV(inode) : inode->i_sb->s_bdev;

	return bdev && bdev_get_queue(bdev) == request->q;
}

void abuse_kiocb_init(struct kiocb *kiocb, struct file *file, loff_t place, int flags)
{
	init_sync_kiocb(kiocb, file);
	kiocb->ki_pos = place;
	kiocb->ki_flags |= flags;
}

/* Writes to a regular file may come; waits while its file system is frozen. */
void abuse_kiocb_start_write(struct kiocb *kiocb)
{
	kiocb_start_write(kiocb);
}

/* The same, without waiting. */
bool abuse_kiocb_try_start_write(struct kiocb *kiocb)
{
	struct super_block *sb = file_inode(kiocb->ki_filp)->i_sb;

	if (!sb_start_write_trylock(sb))
		return false;
	/* As kiocb_start_write() does: it ends elsewhere. */
	__sb_writers_release(sb, SB_FREEZE_WRITE);
	return true;
}

void abuse_kiocb_end_write(struct kiocb *kiocb)
{
	kiocb_end_write(kiocb);
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
