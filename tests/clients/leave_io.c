// SPDX-License-Identifier: MIT
/*
 * leave_io - starts asynchronous I/O on a disk, closes it and exits at once, again
 * and again: the end of the I/O is then what drops the last reference to the open
 * file, in the context of whoever ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEPTH 4
#define BLOCK 4096

static const char USAGE[] =
	"usage: leave_io DISK aio|uring COUNT\n"
	"COUNT processes one after the other, each with four reads past the page cache.\n";

static _Noreturn void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static void submit_aio(int disk, unsigned char *memory)
{
	struct iocb blocks[DEPTH], *list[DEPTH];
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, DEPTH, &context))
		fail("io_setup");
	memset(blocks, 0, sizeof(blocks));
	for (int i = 0; i < DEPTH; i++) {
		blocks[i].aio_lio_opcode = IOCB_CMD_PREAD;
		blocks[i].aio_fildes = disk;
		blocks[i].aio_buf = (uintptr_t)(memory + i * BLOCK);
		blocks[i].aio_nbytes = BLOCK;
		blocks[i].aio_offset = (getpid() % 64 * DEPTH + i) * BLOCK;
		list[i] = &blocks[i];
	}
	if (syscall(SYS_io_submit, context, DEPTH, list) != DEPTH)
		fail("io_submit");
}

static void *map_ring(int ring, size_t bytes, off_t what)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static void submit_uring(int disk, unsigned char *memory)
{
	struct io_uring_params how;
	struct io_uring_sqe *entries;
	unsigned char *queue;
	uint32_t *array, *tail;
	int ring;

	memset(&how, 0, sizeof(how));
	ring = syscall(SYS_io_uring_setup, DEPTH, &how);
	if (ring < 0)
		fail("io_uring_setup");
	queue = map_ring(ring, how.sq_off.array + how.sq_entries * sizeof(uint32_t),
			 IORING_OFF_SQ_RING);
	entries = map_ring(ring, how.sq_entries * sizeof(*entries), IORING_OFF_SQES);
	array = (uint32_t *)(queue + how.sq_off.array);
	tail = (uint32_t *)(queue + how.sq_off.tail);
	for (int i = 0; i < DEPTH; i++) {
		memset(&entries[i], 0, sizeof(entries[i]));
		entries[i].opcode = IORING_OP_READ;
		entries[i].fd = disk;
		entries[i].addr = (uintptr_t)(memory + i * BLOCK);
		entries[i].len = BLOCK;
		entries[i].off = (getpid() % 64 * DEPTH + i) * BLOCK;
		array[i] = i;
	}
	__atomic_store_n(tail, DEPTH, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, DEPTH, 0, 0, NULL, 0) != DEPTH)
		fail("io_uring_enter");
}

static _Noreturn void leave(const char *path, const char *how)
{
	unsigned char *memory = mmap(NULL, DEPTH * BLOCK, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int disk = open(path, O_RDONLY | O_DIRECT);

	if (disk < 0 || memory == MAP_FAILED)
		fail(path);
	if (!strcmp(how, "aio"))
		submit_aio(disk, memory);
	else
		submit_uring(disk, memory);
	close(disk);
	_exit(0);
}

int main(int count, char **words)
{
	int times, status;

	if (count != 4 || (strcmp(words[2], "aio") && strcmp(words[2], "uring"))) {
		fputs(USAGE, stderr);
		return 2;
	}
	times = atoi(words[3]);
	for (int i = 0; i < times; i++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child)
			leave(words[1], words[2]);
		if (waitpid(child, &status, 0) != child || status)
			return 1;
	}
	printf("left %d\n", times);
	return 0;
}
