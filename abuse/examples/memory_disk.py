#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A disk in memory, with nothing but Python's standard library.

    python3 memory_disk.py /dev/abctl0

It sets the device up if that was not done (64 MiB) and serves it until it is killed. One EXCHANGE
completes the last batch of requests and takes the next. abuse.h says what the fields are.
"""

import ctypes
import fcntl
import mmap
import os
import signal
import struct
import sys

BATCH = 64
FOREVER = 2**64 - 1
READ, WRITE, FLUSH = 0, 1, 2
NOT_SUPPORTED = 5

# The structs of abuse.h. None has padding, so "=", which adds none, describes them.
SETUP = struct.Struct("=II Q 12I 2Q 2I 5Q")
STATUS = struct.Struct("=II Q II Q 8I 5Q 2I 128s 384s 32s 64s")
EXCHANGE = struct.Struct("=II 6Q 8I")
TAKE = struct.Struct("=4Q 3I 2H")
DONE = struct.Struct("=QQ I 2H i I")


def iowr(number, layout):
    return 3 << 30 | layout.size << 16 | ord("A") << 8 | number


ABUSE_STATUS = iowr(0x26, STATUS)
ABUSE_SETUP = iowr(0x27, SETUP)
ABUSE_EXCHANGE = iowr(0x28, EXCHANGE)


def address(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def call(fd, request, layout, *values):
    """One ioctl: the fields after the size in (the rest is zero), all fields out."""
    fields = list(layout.unpack(bytes(layout.size)))
    fields[: 1 + len(values)] = layout.size, *values
    raw = bytearray(layout.pack(*fields))
    fcntl.ioctl(fd, request, raw)
    return layout.unpack(raw)


def prepare(fd):
    """Bytes of the disk and of its largest request; sets it up if that was not done."""
    status = call(fd, ABUSE_STATUS, STATUS)
    setup = SETUP.unpack(status[21])
    if setup[2] == 0:
        setup = call(fd, ABUSE_SETUP, SETUP, 0, 64 << 20)
    return setup[2], setup[7]


def serve(request, disk, arena, arena_at):
    """Serves one request and says how it ended."""
    ident, sector, buffer, _age, length, _attempt, _epoch, op, _flags = request
    place = slice(sector * 512, sector * 512 + length)
    piece = slice(buffer - arena_at, buffer - arena_at + length)
    if op == READ:
        arena[piece] = disk[place]
        return DONE.pack(ident, buffer, length, 0, 0, 0, 0)
    if op == WRITE:
        disk[place] = arena[piece]
    elif op != FLUSH:
        return DONE.pack(ident, 0, 0, NOT_SUPPORTED, 0, 0, 0)
    return DONE.pack(ident, 0, 0, 0, 0, 0, 0)


def main(node="/dev/abctl0"):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    disk_bytes, arena_bytes = prepare(fd)
    disk = bytearray(disk_bytes)
    # Write data arrive in the arena, and reads are answered from it.
    arena = mmap.mmap(-1, arena_bytes)
    arena_at = address(arena)
    take = bytearray(BATCH * TAKE.size)
    done = bytearray(BATCH * DONE.size)
    buffers = address(done), address(take), arena_at, arena_bytes
    done_count = 0
    while True:
        counts = done_count, 0, BATCH
        reply = call(fd, ABUSE_EXCHANGE, EXCHANGE, 0, *buffers, 0, FOREVER, *counts)
        done_count = reply[12]
        requests = TAKE.iter_unpack(take[: done_count * TAKE.size])
        for index, request in enumerate(requests):
            answer = serve(request, disk, arena, arena_at)
            done[index * DONE.size : (index + 1) * DONE.size] = answer


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except OSError as error:
        sys.exit(f"memory_disk: {error}")
