// SPDX-License-Identifier: MIT
/*
 * every_call - makes every call of both generations on NODE and prints what came
 * back, byte for byte, so that the answers to a 64-bit and to a 32-bit program can
 * be compared. All its memory lies at addresses that both have. What differs from
 * one run to the next - ids, ages, counters of the device - is printed as whether
 * it is there at all.
 *
 * usage: every_call NODE DISK
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abuse.h"

#define PLACE ((char *)0x10000000)
#define ARENA (PLACE + 0x100000)
#define ROOM 0x100000
#define WAIT 60000000000ULL

static int node;
static const char *disk;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void bytes(const char *what, const void *at, size_t len)
{
	const unsigned char *byte = at;

	printf("%s ", what);
	while (len--)
		printf("%02x", *byte++);
	printf("\n");
}

static int call(const char *what, unsigned int number, void *argument)
{
	int error = ioctl(node, number, argument) < 0 ? errno : 0;

	printf("%s: %d\n", what, error);
	return error;
}

/* Whether a value is there is all that two runs have in common. */
#define THERE(field) ((field) = !!(field))

/* One request of DISK from a child, which ends when it is answered. */
static pid_t request(int write)
{
	pid_t child = fork();
	void *buffer;
	int fd;

	if (child < 0)
		fail("fork");
	if (child > 0)
		return child;
	fd = open(disk, O_RDWR | O_DIRECT);
	if (fd < 0 || posix_memalign(&buffer, 4096, 4096))
		_exit(2);
	memset(buffer, 0x5a, 4096);
	if (write)
		_exit(pwrite(fd, buffer, 4096, 8192) != 4096);
	_exit(pread(fd, buffer, 4096, 4096) != 4096 || *(char *)buffer != 0x33);
}

static void ended(const char *what, pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
	printf("%s ended: %d\n", what, status);
}

static struct abuse_take take(void)
{
	struct abuse_exchange *exchange = (void *)PLACE;
	struct abuse_take *entry = (void *)(PLACE + 4096), taken;

	memset(PLACE, 0, 8192);
	exchange->size = sizeof(*exchange);
	exchange->take = (uintptr_t)entry;
	exchange->arena = (uintptr_t)ARENA;
	exchange->arena_bytes = ROOM;
	exchange->timeout_ns = WAIT;
	exchange->take_max = 1;
	call("EXCHANGE", ABUSE_EXCHANGE, exchange);
	taken = *entry;
	THERE(exchange->epoch);
	bytes("exchange", exchange, sizeof(*exchange));
	THERE(entry->id);
	THERE(entry->age_ns);
	THERE(entry->epoch);
	bytes("take", entry, sizeof(*entry));
	return taken;
}

static void put(const struct abuse_take *taken)
{
	struct abuse_exchange *exchange = (void *)PLACE;
	struct abuse_done *done = (void *)(PLACE + 4096);

	memset(PLACE, 0, 8192);
	memset(ARENA, 0x33, 4096);
	exchange->size = sizeof(*exchange);
	exchange->done = (uintptr_t)done;
	exchange->done_count = 2;
	done[0].id = taken->id;
	done[0].buffer = (uintptr_t)ARENA;
	done[0].length = taken->length;
	/* And one that nobody ever took. */
	done[1].id = 1;
	call("EXCHANGE", ABUSE_EXCHANGE, exchange);
	THERE(exchange->epoch);
	bytes("exchange", exchange, sizeof(*exchange));
	THERE(done[0].id);
	bytes("done", done, 2 * sizeof(*done));
}

static void status(void)
{
	struct abuse_status *status = (void *)PLACE;
	int op;

	memset(PLACE, 0, 4096);
	status->size = sizeof(*status);
	call("STATUS", ABUSE_STATUS, status);
	THERE(status->sequence);
	THERE(status->epoch);
	THERE(status->oldest_queued_ns);
	THERE(status->oldest_taken_ns);
	for (op = 0; op < ABUSE_OP_COUNT; op++) {
		THERE(status->ops[op].total_ns);
		THERE(status->ops[op].service_ns);
	}
	/* Left here by the children, which may be on their way out. */
	status->openers = 0;
	/* Counts of the last disk stay; whose that was is not this program's business. */
	if (status->state == ABUSE_STATE_EMPTY) {
		memset(status->ops, 0, sizeof(status->ops));
		status->epoch = 0; /* of a device that never was set up */
		status->errors = 0;
		status->stale = 0;
		status->refused = 0;
	}
	bytes("status", status, sizeof(*status));
}

static void second_generation(void)
{
	struct abuse_setup *setup = (void *)PLACE;
	struct abuse_requeue *requeue = (void *)PLACE;
	struct abuse_reconnect *reconnect = (void *)PLACE;
	struct abuse_reset *reset = (void *)PLACE;
	struct abuse_resize *resize = (void *)PLACE;
	struct abuse_take taken;
	pid_t child;

	status();
	memset(PLACE, 0, 4096);
	setup->size = sizeof(*setup);
	setup->bytes = 1 << 24;
	setup->logical_block = 512;
	setup->depth = 9999;
	setup->max_attempts = 77;
	setup->no_server_ns = 1ULL << 60;
	call("SETUP", ABUSE_SETUP, setup);
	bytes("setup", setup, sizeof(*setup));
	while (access(disk, F_OK))
		usleep(1000);

	child = request(1);
	taken = take();
	bytes("data", ARENA, 16);
	put(&taken);
	ended("write", child);

	child = request(0);
	taken = take();
	memset(PLACE, 0, 4096);
	requeue->size = sizeof(*requeue);
	requeue->flags = ABUSE_RQ_ID;
	requeue->id = taken.id;
	call("REQUEUE", ABUSE_REQUEUE, requeue);
	THERE(requeue->id);
	bytes("requeue", requeue, sizeof(*requeue));
	put(&taken);
	taken = take();
	memset(PLACE, 0, 4096);
	reconnect->size = sizeof(*reconnect);
	reconnect->flags = ABUSE_RC_LEASE;
	reconnect->lease_ns = 1ULL << 59;
	call("RECONNECT", ABUSE_RECONNECT, reconnect);
	THERE(reconnect->old_epoch);
	THERE(reconnect->new_epoch);
	bytes("reconnect", reconnect, sizeof(*reconnect));
	taken = take();
	put(&taken);
	ended("read", child);

	status();
	memset(PLACE, 0, 4096);
	resize->size = sizeof(*resize);
	resize->bytes = 1 << 25;
	call("RESIZE", ABUSE_RESIZE, resize);
	bytes("resize", resize, sizeof(*resize));
	memset(PLACE, 0, 4096);
	reset->size = sizeof(*reset);
	reset->flags = ABUSE_RS_FORCE;
	reset->timeout_ns = ABUSE_FOREVER;
	call("RESET2", ABUSE_RESET2, reset);
	bytes("reset", reset, sizeof(*reset));
}

/* Shows the next request and completes it, with 0x33 for a read. */
static void serve(void)
{
	struct abuse_xfr_hdr *header = (void *)PLACE, shown;
	struct abuse_vec *vectors = (void *)(PLACE + 4096);
	struct pollfd ready = { .fd = node, .events = POLLIN };
	unsigned int index;
	char *next = ARENA;

	poll(&ready, 1, 60000);
	memset(PLACE, 0, 3 * 4096);
	header->ab_transfer_address = (uintptr_t)vectors;
	call("GET_BIO", ABUSE_GET_BIO, header);
	shown = *header;
	THERE(header->ab_id);
	bytes("header", header, sizeof(*header));
	bytes("vectors", vectors, shown.ab_vec_count * sizeof(*vectors));
	*header = shown;
	memset(ARENA, 0x33, 4096);
	for (index = 0; index < header->ab_vec_count; index++) {
		vectors[index].ab_address = (uintptr_t)next;
		next += vectors[index].ab_len;
	}
	call("PUT_BIO", ABUSE_PUT_BIO, header);
	THERE(header->ab_id);
	bytes("header", header, sizeof(*header));
	bytes("data", ARENA, 16);
}

static void told(void)
{
	struct abuse_info *info = (void *)PLACE;

	memset(PLACE, 0xee, 4096);
	call("GET_STATUS", ABUSE_GET_STATUS, info);
	/* The rest is of another size in 32 bits, where nothing may be written. */
	bytes("info", info, offsetof(struct abuse_info, ab_max_vecs) + 4);
	bytes("behind", PLACE + sizeof(*info), 16);
}

static void first_generation(void)
{
	struct abuse_info *info = (void *)PLACE;
	pid_t child;

	told();
	memset(PLACE, 0, 4096);
	info->ab_size = 1 << 24;
	info->ab_blocksize = 512;
	info->ab_max_queue = 8;
	/* Flags that 2009 did not know are not looked at. */
	info->ab_flags = 0x100;
	call("SET_STATUS", ABUSE_SET_STATUS, info);
	while (access(disk, F_OK))
		usleep(1000);
	told();
	child = request(1);
	serve();
	ended("write", child);
	child = request(0);
	serve();
	ended("read", child);
	call("GET_BIO", ABUSE_GET_BIO, memset(PLACE, 0, 4096));
	call("SET_POLL", ABUSE_SET_POLL, NULL);
	told();
	call("RESET", ABUSE_RESET, NULL);
}

/* Another device comes and goes. */
static void life(void)
{
	struct abuse_add *add = (void *)PLACE;
	struct abuse_remove *remove = (void *)PLACE;
	unsigned long long sequence;
	int served = node;

	node = open("/dev/abuse-control", O_RDWR);
	if (node < 0)
		fail("/dev/abuse-control");
	memset(PLACE, 0, 4096);
	add->size = sizeof(*add);
	add->number = 4242;
	strcpy(add->name, "every-call");
	call("ADD", ABUSE_ADD, add);
	sequence = add->sequence;
	THERE(add->sequence);
	bytes("add", add, sizeof(*add));
	memset(PLACE, 0, 4096);
	remove->size = sizeof(*remove);
	remove->number = 4242;
	remove->sequence = sequence;
	remove->timeout_ns = ABUSE_FOREVER;
	call("REMOVE", ABUSE_REMOVE, remove);
	THERE(remove->sequence);
	bytes("remove", remove, sizeof(*remove));
	close(node);
	node = served;
}

int main(int count, char **words)
{
	if (count != 3) {
		fprintf(stderr, "usage: every_call NODE DISK\n");
		return 2;
	}
	disk = words[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	node = open(words[1], O_RDWR);
	if (node < 0)
		fail(words[1]);
	if (mmap(PLACE, 0x200000, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE,
		 -1, 0) != PLACE)
		fail("mmap");
	second_generation();
	first_generation();
	life();
	return 0;
}
