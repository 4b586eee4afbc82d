//! A segment inside one program: for threads, or for an interrupt handler and the main loop.

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

use super::Region;

/// Zeroed memory for a segment inside one program: between threads, or between an interrupt handler
/// and the main loop. Suitable for a `static`.
///
/// `BYTES` is the size of the segment, a multiple of 64. A large one belongs in a `static`:
/// `Box::new(Segment::new())` builds it on the stack first in a debug build.
#[repr(C, align(64))]
pub struct Segment<const BYTES: usize> {
    /// INVARIANT: only ever accessed through a [`Region`], so atomically.
    bytes: UnsafeCell<[u8; BYTES]>,
}

// SAFETY: the bytes are only accessed atomically (invariant of the field).
unsafe impl<const BYTES: usize> Sync for Segment<BYTES> {}

impl<const BYTES: usize> Segment<BYTES> {
    /// Creates a segment of zeros. A size that is not a multiple of 64 does not compile.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(BYTES.is_multiple_of(64)) };
        Self { bytes: UnsafeCell::new([0; BYTES]) }
    }

    /// Returns the whole segment. May be called any number of times.
    #[must_use]
    pub const fn region(&self) -> Region<'_> {
        // SAFETY: never null; `UnsafeCell::get` points to the field.
        let base = unsafe { NonNull::new_unchecked(self.bytes.get().cast()) };
        // SAFETY: (1) the borrow keeps the bytes alive and `UnsafeCell` permits stores; (2) the
        // type is aligned to 64; (3) no other access to the bytes exists (invariant of the field).
        unsafe { Region::from_raw(base, BYTES) }
    }
}

impl<const BYTES: usize> Default for Segment<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize> fmt::Debug for Segment<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("bytes", &BYTES).finish_non_exhaustive()
    }
}
