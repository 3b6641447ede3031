/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory, in C:
 *
 *	cc -O2 -o memory_disk memory_disk.c && ./memory_disk /dev/abctl0
 *
 * It sets the device up if that was not done (64 MiB) and serves it until it is killed. One
 * ABUSE_EXCHANGE completes the last batch of requests and takes the next.
 */
#define _GNU_SOURCE
#include <abuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define BATCH 64

/* Serves one request from the disk's bytes and says how it ended. */
static struct abuse_done serve(const struct abuse_take *take, char *disk)
{
	struct abuse_done done = { .id = take->id };
	char *place = disk + take->sector * 512;
	char *buffer = (char *)(unsigned long)take->buffer;

	switch (take->op) {
	case ABUSE_OP_READ:
		memcpy(buffer, place, take->length);
		done.buffer = take->buffer;
		done.length = take->length;
		break;
	case ABUSE_OP_WRITE:
		memcpy(place, buffer, take->length);
		break;
	case ABUSE_OP_FLUSH:
		break;
	default:
		done.result = ABUSE_NOT_SUPPORTED;
	}
	return done;
}

static int fail(const char *node, const char *what)
{
	fprintf(stderr, "%s: %s failed: %s\n", node, what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	const char *node = argc > 1 ? argv[1] : "/dev/abctl0";
	static struct abuse_take take[BATCH];
	static struct abuse_done done[BATCH];
	struct abuse_status status = { .size = sizeof(status) };
	struct abuse_setup setup = { .size = sizeof(setup), .bytes = 64 << 20 };
	struct abuse_exchange exchange = {
		.size = sizeof(exchange),
		.done = (unsigned long)done,
		.take = (unsigned long)take,
		.take_max = BATCH,
		.timeout_ns = ABUSE_FOREVER,
	};
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fail(node, "open");
	if (ioctl(fd, ABUSE_STATUS, &status) < 0)
		return fail(node, "status");
	if (status.state != ABUSE_STATE_EMPTY)
		setup = status.config;
	else if (ioctl(fd, ABUSE_SETUP, &setup) < 0)
		return fail(node, "setup");

	char *disk = calloc(1, setup.bytes);
	/* Write data arrive here, and reads are answered from here. */
	void *arena = mmap(NULL, setup.max_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!disk || arena == MAP_FAILED)
		return fail(node, "allocate");
	exchange.arena = (unsigned long)arena;
	exchange.arena_bytes = setup.max_bytes;

	for (;;) {
		if (ioctl(fd, ABUSE_EXCHANGE, &exchange) < 0) {
			if (errno == EINTR)
				continue;
			return fail(node, "exchange");
		}
		for (unsigned int i = 0; i < exchange.taken; i++)
			done[i] = serve(&take[i], disk);
		exchange.done_count = exchange.taken;
	}
}
