// SPDX-License-Identifier: MIT
/*
 * v1_serve - a worker that knows only the six calls of 2009.
 *
 * It opens the control node read-only, as programs of that time did, so it has
 * to be run by an administrator. What it prints is one line per answer:
 * "KEY VALUE" or "CALL ERRNO", for a test to compare.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abuse.h"

#ifndef POLLMSG
#define POLLMSG 0x400
#endif

/* Clients of 2009 left this much room and told nobody. */
#define ROOM 512

static const char USAGE[] =
	"usage: v1_serve status NODE\n"
	"       v1_serve setup NODE SIZE BLOCK QUEUE [ro] [reconnect]\n"
	"       v1_serve reset NODE\n"
	"       v1_serve poll NODE MILLISECONDS\n"
	"       v1_serve get NODE [header]\n"
	"       v1_serve try NODE WRONG...\n"
	"       v1_serve serve NODE [COUNT [FILE]]\n"
	"WRONG: ok null header vectors data id sector count command media device\n"
	"serve: from memory, or from FILE mapped; COUNT requests, 0 for ever.\n";

struct request {
	struct abuse_xfr_hdr header;
	struct abuse_vec vectors[ROOM];
};

static uint64_t address_of(const void *memory)
{
	return (uintptr_t)memory;
}

static const char *name_of(int error)
{
	static char number[16];

	switch (error) {
	case 0: return "ok";
	case EPERM: return "EPERM";
	case ENOENT: return "ENOENT";
	case ENXIO: return "ENXIO";
	case EBADF: return "EBADF";
	case EFAULT: return "EFAULT";
	case EBUSY: return "EBUSY";
	case EINVAL: return "EINVAL";
	case EFBIG: return "EFBIG";
	case ENOMSG: return "ENOMSG";
	case ENOTTY: return "ENOTTY";
	}
	snprintf(number, sizeof(number), "%d", error);
	return number;
}

/* One call; its errno, or 0. */
static int call(int node, unsigned int number, void *argument)
{
	return ioctl(node, number, argument) < 0 ? errno : 0;
}

static int answer(const char *what, int error)
{
	printf("%s %s\n", what, name_of(error));
	return error != 0;
}

static int show_status(int node)
{
	struct abuse_info info;
	int error;

	memset(&info, 0xff, sizeof(info));
	error = call(node, ABUSE_GET_STATUS, &info);
	if (error)
		return answer("status", error);
	printf("struct %zu\n", sizeof(info));
	printf("device %llu\n", (unsigned long long)info.ab_device);
	printf("size %llu\n", (unsigned long long)info.ab_size);
	printf("number %u\nflags %u\nblocksize %u\nmax_queue %u\n", info.ab_number,
	       info.ab_flags, info.ab_blocksize, info.ab_max_queue);
	printf("queue_size %u\nerrors %u\nmax_vecs %u\n", info.ab_queue_size,
	       info.ab_errors, info.ab_max_vecs);
	return 0;
}

static int set_up(int node, int count, char **words)
{
	struct abuse_info info;

	memset(&info, 0, sizeof(info));
	info.ab_size = strtoull(words[0], NULL, 0);
	info.ab_blocksize = strtoul(words[1], NULL, 0);
	info.ab_max_queue = strtoul(words[2], NULL, 0);
	for (int i = 3; i < count; i++) {
		if (!strcmp(words[i], "ro"))
			info.ab_flags |= ABUSE_FLAGS_READ_ONLY;
		else if (!strcmp(words[i], "reconnect"))
			info.ab_flags |= ABUSE_FLAGS_RECONNECT;
		else
			info.ab_flags |= strtoul(words[i], NULL, 0);
	}
	return answer("setup", call(node, ABUSE_SET_STATUS, &info));
}

/* The next request, with a vec_count of 0 and room for all. */
static int get(int node, struct request *request, int header_only)
{
	memset(request, 0, sizeof(*request));
	if (!header_only)
		request->header.ab_transfer_address = address_of(request->vectors);
	return call(node, ABUSE_GET_BIO, &request->header);
}

static int show_next(int node, int header_only)
{
	struct request request;
	int error = get(node, &request, header_only);
	uint64_t bytes = 0, beyond = 0;

	if (error && error != ENOMSG)
		return answer("get", error);
	for (unsigned int i = 0; i < ROOM; i++) {
		if (i < request.header.ab_vec_count)
			bytes += request.vectors[i].ab_len;
		else
			beyond |= request.vectors[i].ab_len | request.vectors[i].ab_address;
	}
	printf("id %llu\n", (unsigned long long)request.header.ab_id);
	printf("sector %llu\n", (unsigned long long)request.header.ab_sector);
	printf("command %u\nvec_count %u\n", request.header.ab_command,
	       request.header.ab_vec_count);
	printf("transfer_address %s\n", request.header.ab_transfer_address ? "kept" : "0");
	printf("bytes %llu\nbeyond %s\n", (unsigned long long)bytes, beyond ? "dirty" : "clean");
	return answer("get", error);
}

/* Says where the pieces of a request lie in memory; 0 if they all lie within it. */
static int place(struct request *request, unsigned char *memory, uint64_t size)
{
	uint64_t at = request->header.ab_sector * 512;

	for (unsigned int i = 0; i < request->header.ab_vec_count; i++) {
		struct abuse_vec *vector = &request->vectors[i];

		if (at > size || vector->ab_len > size - at)
			return -1;
		vector->ab_address = address_of(memory + at);
		at += vector->ab_len;
	}
	return 0;
}

/* Takes one request and puts it back in a way that is wrong. */
static int try(int node, const char *wrong, unsigned char *memory, uint64_t size)
{
	static struct request request;
	struct abuse_xfr_hdr *header = &request.header;
	void *argument = header;
	void *closed = mmap(NULL, 1 << 24, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error = get(node, &request, 0);

	if (error && strcmp(wrong, "device") && strcmp(wrong, "id"))
		return answer("get", error);
	place(&request, memory, size);
	header->ab_result = ABUSE_RESULT_OKAY;
	if (!strcmp(wrong, "null"))
		argument = NULL;
	else if (!strcmp(wrong, "header"))
		argument = closed;
	else if (!strcmp(wrong, "vectors"))
		header->ab_transfer_address = address_of(closed);
	else if (!strcmp(wrong, "data"))
		request.vectors[header->ab_vec_count ? header->ab_vec_count - 1 : 0].ab_address =
			address_of(closed);
	else if (!strcmp(wrong, "id"))
		header->ab_id ^= 1ULL << 40;
	else if (!strcmp(wrong, "sector"))
		header->ab_sector++;
	else if (!strcmp(wrong, "count"))
		header->ab_vec_count++;
	else if (!strcmp(wrong, "command"))
		header->ab_command ^= 1;
	else if (!strcmp(wrong, "media"))
		header->ab_result = ABUSE_RESULT_MEDIA_FAILURE;
	else if (!strcmp(wrong, "device"))
		header->ab_result = ABUSE_RESULT_DEVICE_FAILURE;
	else if (strcmp(wrong, "ok")) {
		fputs(USAGE, stderr);
		exit(2);
	}
	answer(wrong, call(node, ABUSE_PUT_BIO, argument));
	munmap(closed, 1 << 24);
	return 0;
}

static int wait_for_one(int node, int milliseconds)
{
	struct pollfd one = { .fd = node, .events = POLLIN | POLLMSG };

	if (poll(&one, 1, milliseconds) < 0)
		return errno == EINTR ? 0 : -1;
	return one.revents;
}

static int serve(int node, unsigned long count, unsigned char *memory, uint64_t size)
{
	static struct request request;
	unsigned long served = 0;

	while (!count || served < count) {
		int events = wait_for_one(node, -1);
		int error;

		if (events < 0 || (events & POLLHUP))
			break;
		error = get(node, &request, 0);
		if (error == ENOMSG || error == EINTR)
			continue;
		if (error)
			return answer("get", error);
		request.header.ab_result = ABUSE_RESULT_OKAY;
		if (place(&request, memory, size))
			request.header.ab_result = ABUSE_RESULT_MEDIA_FAILURE;
		error = call(node, ABUSE_PUT_BIO, &request.header);
		/* ENOMSG: somebody else was faster. */
		if (error && error != ENOMSG && error != EINTR)
			return answer("put", error);
		served += !error;
	}
	printf("served %lu\n", served);
	return 0;
}

/* The disk: of this process, or of whoever maps the same file. */
static unsigned char *memory_of(const char *file, uint64_t size)
{
	int flags = MAP_SHARED, fd = -1;
	void *memory;

	if (file) {
		fd = open(file, O_RDWR | O_CREAT, 0600);
		if (fd < 0 || ftruncate(fd, size) < 0) {
			perror(file);
			exit(1);
		}
	} else {
		flags |= MAP_ANONYMOUS;
	}
	memory = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (memory == MAP_FAILED) {
		perror("memory");
		exit(1);
	}
	return memory;
}

int main(int count, char **words)
{
	struct abuse_info info;
	unsigned char *memory;
	const char *verb;
	int node, status = 0;

	if (count < 3) {
		fputs(USAGE, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	verb = words[1];
	node = open(words[2], O_RDONLY);
	if (node < 0) {
		perror(words[2]);
		return 1;
	}
	if (!strcmp(verb, "status"))
		return show_status(node);
	if (!strcmp(verb, "setup") && count >= 6)
		return set_up(node, count - 3, words + 3);
	if (!strcmp(verb, "reset"))
		return answer("reset", call(node, ABUSE_RESET, NULL));
	if (!strcmp(verb, "poll") && count == 4) {
		printf("events %#x\n", wait_for_one(node, atoi(words[3])));
		return 0;
	}
	if (!strcmp(verb, "get"))
		return show_next(node, count > 3);

	if (call(node, ABUSE_GET_STATUS, &info))
		return answer("status", errno);
	memory = memory_of(!strcmp(verb, "serve") && count > 4 ? words[4] : NULL, info.ab_size);
	if (!strcmp(verb, "serve"))
		return serve(node, count > 3 ? strtoul(words[3], NULL, 0) : 0, memory, info.ab_size);
	if (strcmp(verb, "try") || count < 4) {
		fputs(USAGE, stderr);
		return 2;
	}
	for (int i = 3; i < count; i++)
		status |= try(node, words[i], memory, info.ab_size);
	return status;
}
