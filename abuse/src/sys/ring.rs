// SPDX-License-Identifier: MIT

//! Reads and writes of one file that are under way together (io_uring).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::Fixed;
use io_uring::{opcode, IoUring};

use crate::backend::{Bytes, Transfer};

/// Most that are under way at a time.
const ENTRIES: u32 = 64;
/// The file, and the memory, among what is registered: there is one of each.
const FILE: Fixed = Fixed(0);
const MEMORY: u16 = 0;
/// How long to wait when the kernel cannot say what has become of what is under way.
const PAUSE: Duration = Duration::from_millis(1);

/// A ring of one thread, with a file and perhaps memory that the kernel need not look up for each
/// transfer.
///
/// # Invariants
///
/// Between calls nothing is under way and nothing is in the submission queue.
pub(crate) struct Ring {
    ring: IoUring,
    /// Addresses that were registered.
    memory: Range<usize>,
}

impl Ring {
    /// A ring for this file, used by the calling thread from now on.
    pub(crate) fn new(file: &File) -> io::Result<Ring> {
        let frugal = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES);
        // A kernel that does not know one of these knows the rest.
        let ring = match frugal {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(ENTRIES)?,
            other => other?,
        };
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        Ok(Ring { ring, memory: 0..0 })
    }

    /// Has the kernel keep this memory at hand. It stays registered when it is unmapped; what is mapped
    /// in its place is not, so whoever replaces it makes a new ring.
    pub(crate) fn register(&mut self, memory: &mut [u8]) -> io::Result<()> {
        let vector = libc::iovec {
            iov_base: memory.as_mut_ptr().cast(),
            iov_len: memory.len(),
        };
        // SAFETY: the kernel holds the pages themselves, and what is done with them goes through
        // slices of this memory that are borrowed for as long as it is under way.
        unsafe { self.ring.submitter().register_buffers(&[vector]) }?;
        let base = memory.as_ptr() as usize;
        self.memory = base..base.saturating_add(memory.len());
        Ok(())
    }

    /// Whether these bytes are part of what was registered.
    pub(crate) fn knows(&self, bytes: &[u8]) -> bool {
        let base = bytes.as_ptr() as usize;
        self.memory.contains(&base) && base.saturating_add(bytes.len()) <= self.memory.end
    }

    /// Does all of it; returns when nothing is under way any more. What a transfer came to is in its
    /// `count`. On an error the ring is of no use any more, and what has no `count` was not done.
    pub(crate) fn run(&mut self, all: &mut [Transfer<'_>]) -> io::Result<()> {
        for some in all.chunks_mut(ENTRIES as usize) {
            self.run_some(some)?;
        }
        Ok(())
    }

    fn run_some(&mut self, some: &mut [Transfer<'_>]) -> io::Result<()> {
        for (index, transfer) in some.iter_mut().enumerate() {
            let entry = self.entry(transfer).user_data(index as u64);
            // SAFETY: the bytes are borrowed by the caller's slice, and this function returns only
            // when nothing is under way, or when nothing was submitted and the ring is not used again.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
        }
        let (mut submitted, mut landed) = (0, 0);
        while landed < some.len() {
            let answer = self.ring.submit_and_wait(some.len() - landed);
            if let Ok(count) = answer {
                submitted += count;
            }
            for entry in self.ring.completion() {
                landed += 1;
                if let Some(transfer) = some.get_mut(entry.user_data() as usize) {
                    transfer.count = Some(entry.result());
                }
            }
            match answer {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if submitted == landed => return Err(error),
                // It has the memory, so there is no way back.
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        Ok(())
    }

    fn entry(&self, transfer: &mut Transfer<'_>) -> Entry {
        let offset = transfer.offset;
        match &mut transfer.bytes {
            Bytes::Into(into) => {
                let (at, length) = (into.as_mut_ptr(), into.len() as u32);
                match self.knows(into) {
                    true => opcode::ReadFixed::new(FILE, at, length, MEMORY)
                        .offset(offset)
                        .build(),
                    false => opcode::Read::new(FILE, at, length).offset(offset).build(),
                }
            }
            Bytes::From(from) => {
                let flags = match transfer.durable {
                    true => libc::RWF_DSYNC,
                    false => 0,
                };
                let (at, length) = (from.as_ptr(), from.len() as u32);
                match self.knows(from) {
                    true => opcode::WriteFixed::new(FILE, at, length, MEMORY)
                        .offset(offset)
                        .rw_flags(flags)
                        .build(),
                    false => opcode::Write::new(FILE, at, length)
                        .offset(offset)
                        .rw_flags(flags)
                        .build(),
                }
            }
        }
    }
}
