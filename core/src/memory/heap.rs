//! Segments on the heap, of a size that is known when the program runs.

extern crate alloc;

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

use super::Region;
use super::storage::{Lives, Whole};
use crate::layout::{CONTROL_BYTES, CURSOR_BYTES_MIN};

/// What segments are made of on the heap: it gives them their alignment.
#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; LINE_BYTES]>);

const LINE_BYTES: usize = 64;

/// Zeroed memory for a segment inside one program, on the heap: a [`Segment`](super::Segment) whose
/// size is known when the program runs.
///
/// ```
/// use aqueduct_core::{HeapSegment, Memory};
///
/// let bytes = 256 + "4096".parse::<usize>()?; // a setting
/// let segment = HeapSegment::new(bytes);
/// assert_eq!(segment.region().size(), 4352);
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
pub struct HeapSegment {
    /// INVARIANT: only ever accessed through a [`Region`], so atomically; or in place, as
    /// [`TrustedRegion::from_raw`](super::TrustedRegion::from_raw) was promised.
    lines: Box<[Line]>,
}

// SAFETY: the bytes are only accessed atomically, or by those that were promised that nobody stores
// into them (invariant of the field).
unsafe impl Sync for HeapSegment {}

impl HeapSegment {
    /// Allocates a segment of at least `bytes` zeros, rounded up to a multiple of 64.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let line = |_| Line(UnsafeCell::new([0; LINE_BYTES]));
        Self { lines: (0..bytes.div_ceil(LINE_BYTES)).map(line).collect() }
    }

    /// Returns the whole segment. May be called any number of times.
    #[must_use]
    pub fn region(&self) -> Region<'_> {
        let base = NonNull::from_ref(&*self.lines).cast();
        // SAFETY: (1) the borrow keeps the bytes alive and `UnsafeCell` permits stores to all of
        // them; (2) lines are aligned to 64; (3) no other access to the bytes exists (invariant).
        unsafe { Region::from_raw(base, size_of_val(&*self.lines)) }
    }
}

impl fmt::Debug for HeapSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapSegment")
            .field("bytes", &size_of_val(&*self.lines))
            .finish_non_exhaustive()
    }
}

/// The memory of a whole ring inside one program, on the heap, of a size that is known when the
/// program runs.
pub(crate) struct HeapStorage<const READERS: usize> {
    /// INVARIANT: nobody else has the segments, whose bytes are accessed as those of
    /// [`Storage`](super::storage::Storage) are.
    ring: HeapSegment,
    cursors: [HeapSegment; READERS],
    capacity_bytes: usize,
    lives: Lives,
}

impl<const READERS: usize> HeapStorage<READERS> {
    /// Allocates a data area of `capacity_bytes`, and what goes with it.
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self {
            ring: HeapSegment::new(CONTROL_BYTES + capacity_bytes),
            cursors: core::array::from_fn(|_| HeapSegment::new(CURSOR_BYTES_MIN)),
            capacity_bytes,
            lives: Lives::new(),
        }
    }

    /// Notes that a ring in it begins anew.
    pub(crate) const fn begin_anew(&mut self) {
        self.lives.begin_anew();
    }
}

impl<const READERS: usize> Whole<READERS> for HeapStorage<READERS> {
    #[cfg(any(target_has_atomic = "8", feature = "portable-atomic"))]
    fn take(&self) -> bool {
        self.lives.take()
    }

    fn lives(&self) -> u64 {
        self.lives.count()
    }

    fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    fn ring(&self) -> Region<'_> {
        self.ring.region()
    }

    fn cursors(&self) -> [Region<'_>; READERS] {
        self.cursors.each_ref().map(HeapSegment::region)
    }
}
