// SPDX-License-Identifier: MIT
/*
 * knock - tries every call on the control node that is its standard input, with
 * arguments that would be accepted, and prints "CALL ERRNO" for each. With a
 * path it tries to open that for reading and for writing instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "abuse.h"

static const char *name_of(int error)
{
	static char number[16];

	switch (error) {
	case 0: return "ok";
	case EPERM: return "EPERM";
	case EACCES: return "EACCES";
	case EBADF: return "EBADF";
	case EFAULT: return "EFAULT";
	case ENXIO: return "ENXIO";
	case EBUSY: return "EBUSY";
	case EINVAL: return "EINVAL";
	case ENOMSG: return "ENOMSG";
	case EROFS: return "EROFS";
	}
	snprintf(number, sizeof(number), "%d", error);
	return number;
}

static void knock(const char *name, unsigned int number, void *argument)
{
	int error = ioctl(0, number, argument) < 0 ? errno : 0;

	printf("%s %s\n", name, name_of(error));
}

static int try_open(const char *path)
{
	int reading = open(path, O_RDONLY);

	printf("read %s\n", name_of(reading < 0 ? errno : 0));
	printf("write %s\n", name_of(open(path, O_RDWR) < 0 ? errno : 0));
	printf("only-write %s\n", name_of(open(path, O_WRONLY) < 0 ? errno : 0));
	return 0;
}

/* On /dev/abuse-control. */
static int knock_control(void)
{
	struct abuse_add add = { .size = sizeof(add), .number = ABUSE_ANY_NUMBER };
	struct abuse_remove gone = { .size = sizeof(gone), .flags = ABUSE_RM_FORCE };

	knock("ADD", ABUSE_ADD, &add);
	gone.number = add.number;
	gone.sequence = add.sequence;
	knock("REMOVE", ABUSE_REMOVE, &gone);
	knock("ADD-null", ABUSE_ADD, NULL);
	knock("REMOVE-null", ABUSE_REMOVE, NULL);
	return 0;
}

int main(int count, char **words)
{
	struct abuse_status status = { .size = sizeof(status) };
	struct abuse_setup setup = { .size = sizeof(setup), .bytes = 1 << 24 };
	struct abuse_exchange exchange = { .size = sizeof(exchange), .take_max = 1 };
	struct abuse_requeue requeue = { .size = sizeof(requeue), .flags = ABUSE_RQ_ALL };
	struct abuse_reconnect reconnect = { .size = sizeof(reconnect) };
	struct abuse_reset reset = { .size = sizeof(reset), .flags = ABUSE_RS_FORCE };
	struct abuse_resize resize = { .size = sizeof(resize), .bytes = 1 << 25 };
	struct abuse_info info = { .ab_size = 1 << 24, .ab_blocksize = 512, .ab_max_queue = 8 };
	struct abuse_xfr_hdr header = { .ab_result = ABUSE_RESULT_DEVICE_FAILURE };
	struct abuse_xfr_hdr next = { 0 };
	struct abuse_info told;
	struct abuse_take take;
	static char arena[1 << 20];
	struct pollfd node = { .events = POLLIN };

	if (count > 1 && !strcmp(words[1], "--control"))
		return knock_control();
	if (count > 1)
		return try_open(words[1]);
	exchange.take = (uintptr_t)&take;
	exchange.arena = (uintptr_t)arena;
	exchange.arena_bytes = sizeof(arena);
	knock("GET_BIO", ABUSE_GET_BIO, &next);
	knock("PUT_BIO", ABUSE_PUT_BIO, &header);
	knock("SET_STATUS", ABUSE_SET_STATUS, &info);
	knock("RESET", ABUSE_RESET, NULL);
	knock("SETUP", ABUSE_SETUP, &setup);
	knock("EXCHANGE", ABUSE_EXCHANGE, &exchange);
	knock("REQUEUE", ABUSE_REQUEUE, &requeue);
	knock("RECONNECT", ABUSE_RECONNECT, &reconnect);
	knock("RESIZE", ABUSE_RESIZE, &resize);
	knock("RESET2", ABUSE_RESET2, &reset);
	/* Nothing is worth a look: the right is looked at first. */
	knock("PUT_BIO-null", ABUSE_PUT_BIO, NULL);
	knock("SETUP-null", ABUSE_SETUP, NULL);
	knock("GET_STATUS", ABUSE_GET_STATUS, &told);
	knock("STATUS", ABUSE_STATUS, &status);
	printf("poll %s\n", poll(&node, 1, 0) < 0 ? name_of(errno) : "ok");
	return 0;
}
