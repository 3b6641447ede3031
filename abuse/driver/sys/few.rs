// SPDX-License-Identifier: GPL-2.0-only

//! A short list on the stack.

use core::mem::MaybeUninit;

/// At most `N` items, in place. What is not there yet costs nothing: an array of `Option`s would be
/// written before its first use, and looked at item by item afterwards.
///
/// # Invariants
///
/// `len` is at most `N`, and the first `len` items are initialised.
pub(crate) struct Few<T, const N: usize> {
    len: usize,
    // As a whole: an array of what is not initialised would be filled with zeros.
    items: MaybeUninit<[T; N]>,
}

impl<T, const N: usize> Few<T, N> {
    /// An empty one.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        // INVARIANT: Nothing is claimed to be there.
        Few {
            len: 0,
            items: MaybeUninit::uninit(),
        }
    }

    /// Whether nothing is there.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an item behind the others. It comes back if there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        if self.len >= N {
            return Err(item);
        }
        // SAFETY: `len` is below `N`, so the place is in the array, and nothing is there yet.
        unsafe { self.place(self.len).write(item) };
        // INVARIANT: There was room, and the item is there.
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    /// Drops what is there.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        if self.len > 0 {
            self.take_each(|_, item| drop(item));
        }
    }

    /// Adds items one after another. The list has them once what this returns is dropped.
    #[inline(always)]
    pub(crate) fn filling(&mut self) -> Filling<'_, T, N> {
        // INVARIANT: As many as the list has.
        let len = self.len;
        Filling { list: self, len }
    }

    /// Room for `count` items, to be written by others; `None` if there is not so much.
    #[inline(always)]
    pub(super) fn room(&mut self, count: usize) -> Option<&mut [MaybeUninit<T>]> {
        if count > N {
            return None;
        }
        let first = self.items.as_mut_ptr().cast();
        // SAFETY: The array has at least so many places, which need not be initialised.
        Some(unsafe { core::slice::from_raw_parts_mut(first, count) })
    }

    /// Says how many items there are.
    ///
    /// # Safety
    ///
    /// So many have been written, and there is room for them.
    #[inline(always)]
    pub(super) unsafe fn set_len(&mut self, len: usize) {
        // INVARIANT: By the contract.
        self.len = len;
    }

    /// Where an item is, or would be.
    #[inline(always)]
    fn place(&mut self, index: usize) -> *mut T {
        self.items.as_mut_ptr().cast::<T>().wrapping_add(index)
    }

    /// Takes the last item out.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        // INVARIANT: From here on it is the caller's.
        self.len = self.len.wrapping_sub(1);
        // SAFETY: By the type invariant it was there, and it is read once.
        Some(unsafe { self.place(self.len).read() })
    }

    /// What is there.
    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: By the type invariant.
        unsafe { core::slice::from_raw_parts(self.items.as_ptr().cast(), self.len) }
    }

    /// What is there, to be changed.
    #[inline(always)]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: By the type invariant.
        unsafe { core::slice::from_raw_parts_mut(self.items.as_mut_ptr().cast(), self.len) }
    }

    /// Takes all items out, in order, with their places.
    #[inline(always)]
    pub(crate) fn take_each(&mut self, mut each: impl FnMut(usize, T)) {
        let len = self.len;
        // INVARIANT: From here on they are the loop's.
        self.len = 0;
        let mut index = 0;
        while index < len {
            // SAFETY: By the type invariant it was there, and it is read once.
            let item = unsafe { self.place(index).read() };
            each(index, item);
            index = index.wrapping_add(1);
        }
    }
}

impl<T, const N: usize> Drop for Few<T, N> {
    fn drop(&mut self) {
        if core::mem::needs_drop::<T>() {
            self.clear();
        }
    }
}

/// A list that is being filled. It counts apart: the count of a list that others have seen would be
/// written to memory with each item.
///
/// # Invariants
///
/// `len` is at most `N`, and the first `len` items of the list are initialised.
pub(crate) struct Filling<'a, T, const N: usize> {
    list: &'a mut Few<T, N>,
    len: usize,
}

impl<T, const N: usize> Filling<'_, T, N> {
    /// Adds an item behind the others. Without room it is dropped.
    #[inline(always)]
    pub(crate) fn push(&mut self, item: T) {
        if self.len < N {
            // SAFETY: `len` is below `N`, so the place is in the array, and nothing is there yet.
            unsafe { self.list.place(self.len).write(item) };
            // INVARIANT: There was room, and the item is there.
            self.len = self.len.wrapping_add(1);
        }
    }
}

impl<T, const N: usize> Drop for Filling<'_, T, N> {
    #[inline(always)]
    fn drop(&mut self) {
        // INVARIANT: By that of this type.
        self.list.len = self.len;
    }
}

/// Two lists that are filled together, each item of the one with one of the other: as [`Filling`], and
/// both have what is added once this is dropped.
///
/// # Invariants
///
/// `len` is at most `N`, and the first `len` items of both lists are initialised.
pub(crate) struct FillingBoth<'a, A, B, const N: usize> {
    one: &'a mut Few<A, N>,
    other: &'a mut Few<B, N>,
    len: usize,
}

impl<'a, A, B, const N: usize> FillingBoth<'a, A, B, N> {
    /// Begins with none.
    #[inline(always)]
    pub(crate) fn new(one: &'a mut Few<A, N>, other: &'a mut Few<B, N>) -> Self {
        one.clear();
        other.clear();
        // INVARIANT: Nothing is claimed to be there.
        FillingBoth { one, other, len: 0 }
    }

    /// Whether there are `most`, or as many as there can be.
    #[inline(always)]
    pub(crate) fn has(&self, most: usize) -> bool {
        self.len >= most.min(N)
    }

    /// Adds a pair behind the others. Without room it is dropped: see [`FillingBoth::has`].
    #[inline(always)]
    pub(crate) fn push(&mut self, one: A, other: B) {
        if self.len < N {
            // SAFETY: `len` is below `N`, so the places are in the arrays, and nothing is there yet.
            unsafe { self.one.place(self.len).write(one) };
            // SAFETY: As above.
            unsafe { self.other.place(self.len).write(other) };
            // INVARIANT: There was room, and both are there.
            self.len = self.len.wrapping_add(1);
        }
    }
}

impl<A, B, const N: usize> Drop for FillingBoth<'_, A, B, N> {
    #[inline(always)]
    fn drop(&mut self) {
        // INVARIANT: By that of this type.
        self.one.len = self.len;
        self.other.len = self.len;
    }
}
