//! Segments of exactly the size asked for, aligned to 64, so that a sanitizer sees the first byte
//! beyond.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use aqueduct_core::memory::{Region, TrustedRegion};

/// Zeroed bytes of one thread, which it hands to a ring and changes behind the ring's back between
/// two calls.
pub struct Shared {
    /// INVARIANT: from `alloc_zeroed` with `layout`; only this thread has it, and it makes no
    /// reference into it that outlives a method.
    base: NonNull<u8>,
    layout: Layout,
}

impl Shared {
    /// `size` bytes, at least 1.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let layout = Layout::from_size_align(size.max(1), 64).expect("small");
        // SAFETY: the size is not 0.
        let bytes = unsafe { alloc_zeroed(layout) };
        Self { base: NonNull::new(bytes).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }

    #[must_use]
    pub fn size(&self) -> usize {
        self.layout.size()
    }

    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The first `size` bytes as a ring sees them.
    #[must_use]
    pub fn region_of(&self, size: usize) -> Region<'_> {
        // SAFETY: (1) the allocation lives as long as the borrow and has at least `size` bytes
        // (min); (2) aligned to 64 by the layout; (3) there is one thread, and `write` and `bytes`
        // run while no call on the region does.
        unsafe { Region::from_raw(self.base, size.min(self.size())) }
    }

    #[must_use]
    pub fn region(&self) -> Region<'_> {
        self.region_of(self.size())
    }

    /// The bytes as a reader in place sees them.
    #[must_use]
    pub fn trusted_of(&self, size: usize) -> TrustedRegion<'_> {
        // SAFETY: (1) as in `region_of`; (2) and (3): the callers change bytes only while no view
        // is alive.
        unsafe { TrustedRegion::from_raw(self.base, size.min(self.size())) }
    }

    /// A copy.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut copy = vec![0; self.size()];
        // SAFETY: both have this many bytes, and a fresh vector does not overlap.
        unsafe { self.base.as_ptr().copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
        copy
    }

    /// A copy of `N` bytes, which must be inside.
    #[must_use]
    pub fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        assert!(at + N <= self.size());
        let mut copy = [0; N];
        // SAFETY: `at` is inside the allocation, checked above.
        let from = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: `N` bytes from there are inside; a fresh array does not overlap.
        unsafe { from.copy_to_nonoverlapping(copy.as_mut_ptr(), N) };
        copy
    }

    /// Overwrites what lies inside; gives how many bytes that were.
    pub fn write(&self, at: usize, bytes: &[u8]) -> usize {
        let room = self.size().saturating_sub(at);
        let bytes = &bytes[..bytes.len().min(room)];
        if !bytes.is_empty() {
            // SAFETY: `at` is inside the allocation.
            let to = unsafe { self.base.as_ptr().add(at) };
            // SAFETY: `bytes.len()` bytes from there are inside; nobody holds a reference into them
            // (invariant).
            unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        bytes.len()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout (invariant), and never used again.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
