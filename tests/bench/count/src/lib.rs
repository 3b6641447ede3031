// SPDX-License-Identifier: MIT

//! Counts the guest's instructions by the place they stand at, between two marks.
//!
//! ```sh
//! qemu-system-x86_64 -accel tcg,thread=single -smp 1 -icount shift=0,sleep=off \
//!     -plugin libabuse_count.so,dir=/tmp/counts ...
//! ```
//!
//! The guest marks a phase by instructions that do nothing, `nopl 0x5eab0001(%rax,%rax,1)` to begin
//! one and `nopl 0x5eab0002(%rax,%rax,1)` to end it. The first phase to end is written to the file
//! `0` of the directory, the next to `1`, and so on, as records of three little-endian numbers of 64
//! bits: the address of a block, its instructions, and how often it was entered. An idle processor
//! halts, and halted it executes nothing.
//!
//! The counters are plain: only with a single thread of the emulator are they exact, so it refuses
//! to be loaded for more than one processor.

mod blocks;
mod sys;
