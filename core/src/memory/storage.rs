//! The memory of a whole ring inside one program: its data, and its readers' cursor segments.

#![allow(clippy::disallowed_types, reason = "whether it was split, which is no shared memory")]

use core::cell::UnsafeCell;
use core::ptr::NonNull;
#[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
use core::sync::atomic::Ordering;

#[cfg(target_has_atomic = "8")]
use core::sync::atomic::AtomicBool;
#[cfg(all(not(target_has_atomic = "8"), feature = "portable-atomic"))]
use portable_atomic::AtomicBool;

use super::{Region, Segment, TrustedRegion};
use crate::layout::{CONTROL_BYTES, CURSOR_BYTES_MIN};

/// A ring segment with a data area of `BYTES`.
#[repr(C, align(64))]
struct Bytes<const BYTES: usize> {
    control: [u8; CONTROL_BYTES],
    data: [u8; BYTES],
}

/// A ring segment and the cursor segments of `READERS`, zeroed.
pub(crate) struct Storage<const BYTES: usize, const READERS: usize> {
    /// INVARIANT: only ever accessed through a [`Region`], so atomically; or in place, as
    /// [`trusted`](Self::trusted) was promised.
    ring: UnsafeCell<Bytes<BYTES>>,
    cursors: [Segment<CURSOR_BYTES_MIN>; READERS],
    /// How often a ring in it began anew. Here it takes no space of its own: the segments are
    /// aligned to 64.
    lives: u64,
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    taken: AtomicBool,
}

// SAFETY: the bytes are only accessed atomically, or by those that were promised that nobody stores
// there (invariant of the field).
unsafe impl<const BYTES: usize, const READERS: usize> Sync for Storage<BYTES, READERS> {}

impl<const BYTES: usize, const READERS: usize> Storage<BYTES, READERS> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: UnsafeCell::new(Bytes { control: [0; CONTROL_BYTES], data: [0; BYTES] }),
            cursors: [const { Segment::new() }; READERS],
            lives: 0,
            #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
            taken: AtomicBool::new(false),
        }
    }

    /// Returns whether this is the first call.
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    pub(crate) fn take(&self) -> bool {
        // ORDER(none): it decides who goes on, and nothing was written before.
        !self.taken.swap(true, Ordering::Relaxed)
    }

    /// Notes that a ring in it begins anew.
    pub(crate) const fn begin_anew(&mut self) {
        self.lives = self.lives.wrapping_add(1);
    }

    /// Returns how often a ring in it began anew.
    pub(crate) const fn lives(&self) -> u64 {
        self.lives
    }

    const fn base(&self) -> NonNull<u8> {
        // SAFETY: never null; `UnsafeCell::get` points to the field.
        unsafe { NonNull::new_unchecked(self.ring.get().cast()) }
    }

    /// Returns the ring segment.
    pub(crate) const fn ring(&self) -> Region<'_> {
        // SAFETY: (1) the borrow keeps the bytes alive and `UnsafeCell` permits stores; (2) the
        // type is aligned to 64; (3) invariant of the field.
        unsafe { Region::from_raw(self.base(), size_of::<Bytes<BYTES>>()) }
    }

    /// Returns the ring segment for a reader that lends payloads in place.
    ///
    /// # Safety
    /// 1. Nobody but one [`Producer`](crate::Producer) stores into the ring.
    /// 2. The reader gates the ring and is not evicted while a view is alive.
    pub(crate) const unsafe fn trusted(&self) -> TrustedRegion<'_> {
        // SAFETY: (1) as for `ring`; (2) duty 1; (3) duty 2.
        unsafe { TrustedRegion::from_raw(self.base(), size_of::<Bytes<BYTES>>()) }
    }

    /// Returns the readers' cursor segments.
    pub(crate) const fn cursors(&self) -> &[Segment<CURSOR_BYTES_MIN>; READERS] {
        &self.cursors
    }
}
