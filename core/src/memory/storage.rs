//! The memory of a whole ring inside one program: its data, and its readers' cursor segments. In
//! place for a `static`; on the heap in `heap`.

#![allow(clippy::disallowed_types, reason = "whether it was split, which is no shared memory")]

use core::cell::UnsafeCell;
use core::ptr::NonNull;
#[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
use core::sync::atomic::Ordering;

#[cfg(target_has_atomic = "8")]
use core::sync::atomic::AtomicBool;
#[cfg(all(not(target_has_atomic = "8"), feature = "portable-atomic"))]
use portable_atomic::AtomicBool;

use super::{Memory, Region, Segment, TrustedRegion};
use crate::layout::{CONTROL_BYTES, CURSOR_BYTES_MIN};

/// The memory of a whole ring, which nobody else has: what a ring's halves are made from.
pub(crate) trait Whole<const READERS: usize> {
    /// Returns whether this is the first call.
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    fn take(&self) -> bool;

    /// Returns how often a ring in it began anew.
    fn lives(&self) -> u64;

    /// Returns the bytes of the data area.
    fn capacity_bytes(&self) -> usize;

    /// Returns the ring segment.
    fn ring(&self) -> Region<'_>;

    /// Returns the cursor segments of its readers.
    fn cursors(&self) -> [Region<'_>; READERS];

    /// Returns the ring segment for a reader that lends payloads in place.
    ///
    /// # Safety
    /// 1. Nobody but one [`Producer`](crate::Producer) stores into the ring.
    /// 2. The reader gates the ring and is not evicted while a view is alive.
    unsafe fn trusted(&self) -> TrustedRegion<'_> {
        let ring = self.ring();
        // SAFETY: (1) a region keeps the duties of `from_raw`, whatever it was made of; (2) duty 1;
        // (3) duty 2.
        unsafe { TrustedRegion::from_raw(ring.base(), ring.size()) }
    }
}

/// Whether a ring was given out, and how often it began anew.
pub(crate) struct Lives {
    count: u64,
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    taken: AtomicBool,
}

impl Lives {
    pub(crate) const fn new() -> Self {
        Self {
            count: 0,
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

    /// Notes that a ring begins anew.
    pub(crate) const fn begin_anew(&mut self) {
        self.count = self.count.wrapping_add(1);
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

/// A ring segment with a data area of `BYTES`.
#[repr(C, align(64))]
struct Bytes<const BYTES: usize> {
    control: [u8; CONTROL_BYTES],
    data: [u8; BYTES],
}

/// A ring segment and the cursor segments of `READERS`, zeroed.
pub(crate) struct Storage<const BYTES: usize, const READERS: usize> {
    /// INVARIANT: only ever accessed through a [`Region`], so atomically; or in place, as
    /// [`trusted`](Whole::trusted) was promised.
    ring: UnsafeCell<Bytes<BYTES>>,
    cursors: [Segment<CURSOR_BYTES_MIN>; READERS],
    /// It takes no space of its own: the segments are aligned to 64.
    lives: Lives,
}

// SAFETY: the bytes are only accessed atomically, or by those that were promised that nobody stores
// there (invariant of the field).
unsafe impl<const BYTES: usize, const READERS: usize> Sync for Storage<BYTES, READERS> {}

impl<const BYTES: usize, const READERS: usize> Storage<BYTES, READERS> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: UnsafeCell::new(Bytes { control: [0; CONTROL_BYTES], data: [0; BYTES] }),
            cursors: [const { Segment::new() }; READERS],
            lives: Lives::new(),
        }
    }

    /// Notes that a ring in it begins anew.
    pub(crate) const fn begin_anew(&mut self) {
        self.lives.begin_anew();
    }
}

impl<const BYTES: usize, const READERS: usize> Whole<READERS> for Storage<BYTES, READERS> {
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    fn take(&self) -> bool {
        self.lives.take()
    }

    fn lives(&self) -> u64 {
        self.lives.count()
    }

    fn capacity_bytes(&self) -> usize {
        BYTES
    }

    fn ring(&self) -> Region<'_> {
        // SAFETY: never null; `UnsafeCell::get` points to the field.
        let base = unsafe { NonNull::new_unchecked(self.ring.get().cast()) };
        // SAFETY: (1) the borrow keeps the bytes alive and `UnsafeCell` permits stores; (2) the
        // type is aligned to 64; (3) invariant of the field.
        unsafe { Region::from_raw(base, size_of::<Bytes<BYTES>>()) }
    }

    fn cursors(&self) -> [Region<'_>; READERS] {
        self.cursors.each_ref().map(Segment::region)
    }
}
