//! The one door to shared memory: a small trait of atomic words, copies and fences, and its
//! production backends.
//!
//! It knows no record and no checksum. The trait is what lets the algorithms built on it run under
//! a model checker, whose atomics cannot be laid over bytes.
//!
//! ```
//! use core::sync::atomic::Ordering;
//!
//! use aqueduct_core::layout::ring_word;
//! use aqueduct_core::{Memory, MemoryMut, ReadRegion, Region, Segment, TrustedRegion};
//!
//! let segment = Segment::<512>::new();
//! let region: Region<'_> = segment.region();
//! region.store(ring_word::TAIL, 7, Ordering::Release); // a control word, below byte 256
//! region.write(256, b"eight by"); // data
//!
//! let reading: ReadRegion<'_> = region.read_only();
//! assert_eq!((reading.size(), reading.load(ring_word::TAIL, Ordering::Acquire)), (512, 7));
//! let mut copy = [0; 8];
//! reading.read(256, &mut copy);
//! assert_eq!(&copy, b"eight by");
//! assert!(region.is_same(&segment.region()) && region.span(256, 8).is_some());
//!
//! // Addresses: for a futex of one's own, and for memory that comes from elsewhere.
//! // SAFETY: the segment is larger than the offset of its tail.
//! assert_eq!(region.tail_word().cast(), unsafe { reading.base().add(ring_word::TAIL) });
//! // SAFETY: `segment` lives and has this size, and is only accessed by regions.
//! let _same = unsafe { Region::from_raw(region.base(), 512) };
//! // SAFETY: as above; there is no producer that would break the protocol.
//! let _in_place = unsafe { TrustedRegion::from_raw(region.base(), 512) };
//! ```

#[cfg(feature = "alloc")]
mod heap;
mod region;
mod segment;
mod span;
pub(crate) mod storage;
#[cfg(test)]
mod tests;

#[cfg(feature = "alloc")]
pub use self::heap::HeapSegment;
#[cfg(feature = "alloc")]
pub(crate) use self::heap::HeapStorage;
pub use self::region::{ReadRegion, Region, TrustedRegion};
pub use self::segment::Segment;
pub use self::span::Span;

use core::sync::atomic::Ordering;

/// Loads from a segment that other parties may be writing.
///
/// The first 256 bytes of every segment, [`CONTROL_BYTES`](crate::layout::CONTROL_BYTES), are
/// control bytes; the others are data.
///
/// An access beyond [`size`](Memory::size) is a bug of the caller, never of the peer, because every
/// offset comes from a checked [`Geometry`](crate::geometry::Geometry). A backend asserts it in
/// debug builds and must stay in bounds in release builds.
pub trait Memory {
    /// Returns the size of the segment, in bytes.
    fn size(&self) -> usize;

    /// Loads the little-endian control word at byte offset `at`, a multiple of 4 below 256, by one
    /// atomic load.
    fn load(&self, at: usize, order: Ordering) -> u32;

    /// Copies `into.len()` bytes from byte offset `at`, a multiple of 32, by relaxed atomic word
    /// loads.
    fn read(&self, at: usize, into: &mut [u8]);

    /// Lends the `len` data bytes at byte offset `at`, a multiple of 8, as they lie, for copies
    /// that are faster than [`read`](Memory::read) and [`MemoryMut::write`].
    ///
    /// `None` if they cannot be lent; everything then goes word by word. A wrapper around another
    /// backend forwards this call, unless it must see every access.
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>>;

    /// Makes an atomic fence; the pair is named where it is called.
    fn fence(&self, order: Ordering);

    /// Returns whether this is known to be the same segment as the other, as far as this process
    /// can see it: not if it was mapped twice. A wrapper around another backend forwards this call.
    fn is_same(&self, other: &Self) -> bool
    where
        Self: Sized,
    {
        let _ = other;
        false
    }
}

/// Stores into a segment.
pub trait MemoryMut: Memory {
    /// Stores the little-endian control word at byte offset `at`, a multiple of 4 below 256, by one
    /// atomic store.
    fn store(&self, at: usize, value: u32, order: Ordering);

    /// Copies `bytes` to byte offset `at`, a multiple of 8, by relaxed atomic word stores. The last
    /// 8 bytes are filled up with zeros, so that the same records give the same bytes whatever the
    /// machine's word.
    fn write(&self, at: usize, bytes: &[u8]);
}

/// A segment whose bytes can be lent without a copy.
pub trait InPlace: Memory {
    /// Lends `len` bytes from byte offset `at`.
    ///
    /// # Safety
    /// 1. The bytes are those of records between the cursor of the reader that owns this memory and
    ///    a `tail` that it loaded with Acquire, and its cursor stays as long as the slice lives.
    unsafe fn slice(&self, at: usize, len: usize) -> &[u8];
}

impl<T: Memory + ?Sized> Memory for &T {
    #[inline]
    fn size(&self) -> usize {
        (**self).size()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        (**self).load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        (**self).read(at, into);
    }

    #[inline]
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        (**self).span(at, len)
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        (**self).fence(order);
    }

    fn is_same(&self, other: &Self) -> bool {
        core::ptr::addr_eq(*self, *other)
    }
}

impl<T: MemoryMut + ?Sized> MemoryMut for &T {
    #[inline]
    fn store(&self, at: usize, value: u32, order: Ordering) {
        (**self).store(at, value, order);
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        (**self).write(at, bytes);
    }
}
