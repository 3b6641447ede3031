// SPDX-License-Identifier: MIT

//! Memory the driver places requests' bytes in.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use crate::abi;

/// A page-aligned, zeroed, pre-faulted mapping of this process alone.
///
/// A child made by fork does not get it (MADV_DONTFORK): parent and child never share it writable,
/// and a fork never turns its pages into copy-on-write ones that would fault under the driver's
/// copies.
///
/// # Invariants
///
/// `base` is the start of a private mapping of `bytes` readable and writable bytes, aligned to
/// [`abi::ARENA_ALIGN`], that lives as long as `self` and that nothing else refers to, but for the
/// kernel during an EXCHANGE, which borrows the arena exclusively.
pub(crate) struct Arena {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and by the invariant to nobody else.
unsafe impl Send for Arena {}
// SAFETY: a shared `Arena` only hands out shared slices.
unsafe impl Sync for Arena {}

/// Of the mapping. Miri, under which the arithmetic below is tested, knows no pre-faulting.
const FLAGS: libc::c_int =
    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | if cfg!(miri) { 0 } else { libc::MAP_POPULATE };

impl Arena {
    /// Maps at least `bytes` bytes, rounded up to whole pages, and touches them all.
    pub(crate) fn new(bytes: usize) -> io::Result<Arena> {
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(abi::ARENA_ALIGN as usize)
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?
            .get();
        // SAFETY: a new anonymous mapping wherever the kernel likes touches no memory in use.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                FLAGS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
        // Invariant: the mapping above, owned from here on; mmap aligns to the page size, which is
        // a multiple of 4096 on every Linux.
        let arena = Arena { base, bytes };
        // Nor advice, nor fork.
        if cfg!(miri) {
            return Ok(arena);
        }
        // SAFETY: exactly the mapping of `arena`, whose contents the advice does not change.
        let advice = unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTFORK) };
        if advice != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(arena)
    }

    /// Where it begins, as the driver wants it.
    #[inline]
    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The `length` bytes at `address`, or `None` when they are not all in here.
    pub(crate) fn slice(&self, address: u64, length: usize) -> Option<&[u8]> {
        let start = self.place(address, length)?;
        // SAFETY: `place` found the range inside the mapping, initialised since it is anonymous;
        // nothing writes to it while `self` is borrowed.
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }

    /// The `length` bytes at `address`, to be written, or `None` when they are not all in here.
    #[inline]
    pub(crate) fn slice_mut(&mut self, address: u64, length: usize) -> Option<&mut [u8]> {
        let start = self.place(address, length)?;
        // SAFETY: as in `slice`, and `self` is borrowed exclusively.
        Some(unsafe { std::slice::from_raw_parts_mut(start, length) })
    }

    /// All of it, to be written.
    pub(crate) fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: the whole mapping, initialised since it is anonymous, and `self` is borrowed
        // exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }

    /// Where the `length` bytes at `address` begin, or `None` when they are not all in here. For
    /// [`Desk`](super::Desk), which knows to whom they belong.
    pub(super) fn pointer(&self, address: u64, length: usize) -> Option<*mut u8> {
        self.place(address, length)
    }

    /// Pointer to `address`, if `length` bytes from there lie in the mapping.
    #[inline]
    fn place(&self, address: u64, length: usize) -> Option<*mut u8> {
        let offset = usize::try_from(address.checked_sub(self.address())?).ok()?;
        if offset.checked_add(length)? > self.bytes {
            return None;
        }
        Some(self.base.as_ptr().wrapping_add(offset))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: by the invariant the whole mapping, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_rounded_up_to_pages() {
        let arena = Arena::new(5000).unwrap();
        assert_eq!(arena.address() % u64::from(abi::ARENA_ALIGN), 0);
        assert_eq!(arena.len(), 8192);
        let all = arena.slice(arena.address(), 8192).unwrap();
        assert!(all.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn gives_out_nothing_beyond_its_ends() {
        let mut arena = Arena::new(4096).unwrap();
        let base = arena.address();
        assert!(arena.slice_mut(base, 4096).is_some());
        assert!(arena.slice_mut(base + 4096, 0).is_some());
        assert!(arena.slice_mut(base + 1, 4096).is_none());
        assert!(arena.slice_mut(base - 1, 1).is_none());
        assert!(arena.slice_mut(base + 4096, 1).is_none());
        assert!(arena.slice_mut(u64::MAX, usize::MAX).is_none());
        assert!(arena.slice(base, usize::MAX).is_none());
    }

    /// The flags of the mapping around `address`, as /proc/self/smaps has them. The kernel may
    /// have merged it with its neighbours.
    fn flags(address: u64) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let around = |line: &&str| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            range.is_some_and(|(start, end)| {
                number(start).is_some_and(|start| start <= address)
                    && number(end).is_some_and(|end| address < end)
            })
        };
        let mut lines = maps.lines().skip_while(|line| !around(line));
        lines
            .find(|line| line.starts_with("VmFlags:"))
            .unwrap()
            .to_string()
    }

    #[test]
    fn what_is_written_to_a_part_of_it_is_there_and_nowhere_else() {
        let mut arena = Arena::new(8192).unwrap();
        let base = arena.address();
        arena.slice_mut(base + 4095, 2).unwrap().fill(7);
        let all = arena.slice(base, 8192).unwrap();
        assert_eq!(all[4095..4097], [7, 7]);
        assert!(all[..4095]
            .iter()
            .chain(&all[4097..])
            .all(|&byte| byte == 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "there is no fork and no /proc/self/smaps")]
    fn children_do_not_inherit_it() {
        let arena = Arena::new(1 << 20).unwrap();
        let flags = flags(arena.address());
        assert!(flags.split(' ').any(|flag| flag == "dc"), "{flags}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "it would try to have that much")]
    fn what_cannot_be_mapped_is_an_error() {
        assert!(Arena::new(usize::MAX).is_err());
        assert!(Arena::new(usize::MAX / 4).is_err());
    }
}
