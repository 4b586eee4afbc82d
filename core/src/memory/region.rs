//! The production backend: bytes that somebody mapped, loaded and stored by words.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use super::{InPlace, Memory, MemoryMut, record_by_steps};
use crate::crc::{Crc, clmul};
use crate::layout::GRANULE_BYTES;
use crate::record::{Framing, Header, HeaderCrc, Record};

/// Copies move whole words of this many bytes, so that a copied granule is never read in two sizes
/// within one process.
const WORD_BYTES: usize = size_of::<usize>();

/// A copy that computes the CRC loads blocks of this many bytes; a granule is a whole number of
/// them.
const FOLDED_BYTES: usize = 16;

/// Shared bytes that this process reads and writes: a producer's ring, a reader's cursor segment.
///
/// INVARIANT: `base` points to `size` bytes that live for `'a`, aligned to 64, and every access to
/// them, by anyone in this process, is atomic.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    base: NonNull<u8>,
    size: usize,
    lifetime: PhantomData<&'a AtomicU32>,
}

// SAFETY: every access through a `Region` is atomic (its invariant), so sharing it between threads
// cannot make a data race.
unsafe impl Send for Region<'_> {}
// SAFETY: as for `Send`; the type has no state of its own.
unsafe impl Sync for Region<'_> {}

impl<'a> Region<'a> {
    /// Wraps raw shared memory.
    ///
    /// # Safety
    /// 1. `base` is valid for reads and writes of `size` bytes for all of `'a`, and is not unmapped
    ///    or truncated meanwhile.
    /// 2. `base` is aligned to 64 bytes.
    /// 3. During `'a` all accesses to these bytes in this process are atomic, of the same size
    ///    where they overlap: control words by `u32`, the data area by `usize`, or by assembler
    ///    that is as good (`clmul`). (What other processes do cannot make this process's accesses
    ///    undefined, only their values.)
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: usize) -> Self {
        Self { base, size, lifetime: PhantomData }
    }

    /// The same bytes without the right to store.
    #[must_use]
    pub const fn read_only(self) -> ReadRegion<'a> {
        ReadRegion { region: self }
    }

    /// The address of the segment, for a futex call on one of its words.
    #[must_use]
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    const fn in_bounds(&self, at: usize, len: usize, align: usize) -> bool {
        at & (align - 1) == 0 && at <= self.size && len <= self.size - at
    }

    fn control(&self, at: usize) -> Option<&AtomicU32> {
        let ok = self.in_bounds(at, 4, 4);
        debug_assert!(ok, "control word at {at} of {}", self.size);
        if !ok {
            return None;
        }
        // SAFETY: in bounds (checked), so inside the allocation of the invariant.
        let word = unsafe { self.base.add(at) }.cast::<AtomicU32>();
        // SAFETY: valid for `'a` and only accessed atomically (invariant); aligned to 4 because
        // base is to 64 and `at` to 4 (checked).
        Some(unsafe { word.as_ref() })
    }

    /// The data words that cover `len` bytes from `at`; empty if they are not all inside.
    fn data(&self, at: usize, len: usize) -> &[AtomicUsize] {
        let words = len.div_ceil(WORD_BYTES);
        let ok = self.in_bounds(at, words * WORD_BYTES, WORD_BYTES);
        debug_assert!(ok, "{len} bytes at {at} of {}", self.size);
        if !ok {
            return &[];
        }
        // SAFETY: in bounds (checked), so inside the allocation of the invariant.
        let first = unsafe { self.base.add(at) }.cast::<AtomicUsize>();
        // SAFETY: `words` words from `first` are in bounds (checked), live for `'a`, only accessed
        // atomically (invariant), and aligned.
        unsafe { core::slice::from_raw_parts(first.as_ptr(), words) }
    }
}

impl Memory for Region<'_> {
    #[inline]
    fn size(&self) -> usize {
        self.size
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.control(at).map_or(0, |word| u32::from_le(word.load(order)))
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        let words = self.data(at, into.len());
        let mut chunks = into.chunks_exact_mut(WORD_BYTES);
        for (chunk, word) in chunks.by_ref().zip(words) {
            // ORDER(payload): Relaxed; the Acquire of `tail` (readers) or the fence behind the copy
            // (observers) orders it.
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        let rest = chunks.into_remainder();
        if let (false, Some(word)) = (rest.is_empty(), words.last()) {
            // ORDER(payload): as above.
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            rest.copy_from_slice(&bytes[..rest.len()]);
        }
    }

    #[inline]
    fn read_with_crc(&self, at: usize, into: &mut [u8], crc: &mut Crc) {
        let inside = self.in_bounds(at, into.len().next_multiple_of(FOLDED_BYTES), WORD_BYTES);
        if let (true, Some((folding, state))) = (inside, crc.folding_mut()) {
            // SAFETY: in bounds (checked), so inside the allocation of the invariant.
            let from = unsafe { self.base.add(at) };
            // SAFETY: in bounds up to the next multiple of 16 (checked).
            *state = unsafe { folding.copy_out(*state, from.as_ptr(), into) };
        } else {
            self.read(at, into);
            crc.update(into);
        }
    }

    #[inline]
    fn read_header(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
    ) -> Result<(Header, u32), HeaderCrc> {
        if let (true, Some((folding, state))) =
            (self.in_bounds(at, GRANULE_BYTES, GRANULE_BYTES), framing.folding())
        {
            // SAFETY: in bounds (checked), so inside the allocation of the invariant.
            let from = unsafe { self.base.add(at) };
            // SAFETY: 32 bytes in bounds (checked).
            let (numbers, computed) = unsafe { folding.header(state, position, from.as_ptr()) };
            #[allow(clippy::cast_possible_truncation, reason = "the upper half")]
            let stored = (numbers[3] >> 32) as u32;
            if stored == computed {
                Ok((Header::of_numbers(numbers), stored))
            } else {
                Err(HeaderCrc { stored, computed })
            }
        } else {
            let mut bytes = [0; GRANULE_BYTES];
            self.read(at, &mut bytes);
            framing.decode_with_crc(position, &bytes)
        }
    }

    #[inline]
    fn read_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        seq: u64,
        into: &mut [u8],
    ) -> Option<Record> {
        let inside = self.in_bounds(
            at,
            GRANULE_BYTES + into.len().next_multiple_of(FOLDED_BYTES),
            GRANULE_BYTES,
        );
        if let (true, Some((folding, state))) = (inside, framing.folding()) {
            // SAFETY: in bounds (checked), so inside the allocation of the invariant.
            let from = unsafe { self.base.add(at) };
            // SAFETY: header and payload, up to the next multiple of 16, are in bounds (checked).
            let (first, timestamp_ns) =
                unsafe { folding.copy_record(state, position, seq, from.as_ptr(), into) }?;
            Some(Header::of_numbers([first.get(), seq, timestamp_ns, 0]).record_at(position))
        } else {
            record_by_steps(self, at, framing, position, seq, into)
        }
    }

    #[inline]
    fn prefetch(&self, at: usize) {
        clmul::prefetch(self.base.as_ptr().wrapping_add(at));
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

impl MemoryMut for Region<'_> {
    #[inline]
    fn store(&self, at: usize, value: u32, order: Ordering) {
        if let Some(word) = self.control(at) {
            word.store(value.to_le(), order);
        }
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        let mut words = self.data(at, bytes.len().next_multiple_of(8)).iter();
        let mut chunks = bytes.chunks_exact(WORD_BYTES);
        for (chunk, word) in chunks.by_ref().zip(&mut words) {
            let mut value = [0; WORD_BYTES];
            value.copy_from_slice(chunk);
            // ORDER(payload): Relaxed; the Release of `tail` orders it before readers, the fence
            // behind `oldest` after observers.
            word.store(usize::from_ne_bytes(value), Ordering::Relaxed);
        }
        let mut rest = chunks.remainder();
        for word in words {
            let mut value = [0; WORD_BYTES];
            value[..rest.len()].copy_from_slice(rest);
            rest = &[];
            // ORDER(payload): as above.
            word.store(usize::from_ne_bytes(value), Ordering::Relaxed);
        }
    }

    #[inline]
    fn write_with_crc(&self, at: usize, bytes: &[u8], crc: &mut Crc) {
        let inside = self.in_bounds(at, bytes.len().next_multiple_of(8), WORD_BYTES);
        if let (true, Some((folding, state))) = (inside, crc.folding_mut()) {
            // SAFETY: in bounds (checked), so inside the allocation of the invariant.
            let into = unsafe { self.base.add(at) };
            // SAFETY: in bounds up to the next multiple of 8 (checked).
            *state = unsafe { folding.copy_in(*state, bytes, into.as_ptr()) };
        } else {
            self.write(at, bytes);
            crc.update(bytes);
        }
    }

    #[inline]
    fn write_header(&self, at: usize, framing: &Framing, position: u32, header: &Header) {
        if let (true, Some((folding, state))) =
            (self.in_bounds(at, GRANULE_BYTES, GRANULE_BYTES), framing.folding())
        {
            // SAFETY: in bounds (checked), so inside the allocation of the invariant.
            let into = unsafe { self.base.add(at) };
            // SAFETY: 32 bytes in bounds (checked).
            unsafe {
                folding.write_header(
                    state,
                    position,
                    header.first_numbers(),
                    header.payload_crc,
                    into.as_ptr(),
                );
            };
        } else {
            self.write(at, &framing.encode(position, header));
        }
    }

    #[inline]
    fn write_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        header: Header,
        payload: &[u8],
    ) {
        let inside =
            self.in_bounds(at, GRANULE_BYTES + payload.len().next_multiple_of(8), GRANULE_BYTES);
        // A header that names another length is written as it is, by the other way, and never
        // believed here.
        let told = header.len as usize == payload.len();
        if let (true, Some((folding, state))) = (inside && told, framing.folding()) {
            // SAFETY: in bounds (checked), so inside the allocation of the invariant.
            let into = unsafe { self.base.add(at) };
            // SAFETY: (1) header and payload, up to the next multiple of 8, are in bounds
            // (checked); (2) the length was compared.
            unsafe {
                folding.record(state, position, header.first_numbers(), payload, into.as_ptr());
            };
        } else {
            let mut crc = framing.empty_crc();
            self.write_with_crc(at + GRANULE_BYTES, payload, &mut crc);
            self.write_header(
                at,
                framing,
                position,
                &Header { payload_crc: crc.finalize(), ..header },
            );
        }
    }
}

/// Shared bytes that this process only reads: a ring as a reader maps it. Works over a read-only
/// mapping.
#[derive(Clone, Copy, Debug)]
pub struct ReadRegion<'a> {
    /// INVARIANT: only loads are made through it.
    region: Region<'a>,
}

impl ReadRegion<'_> {
    /// Wraps raw shared memory that may be mapped read-only.
    ///
    /// # Safety
    /// The duties of [`Region::from_raw`], with validity for reads enough in 1.
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: duties 1 to 3 are the caller's; no store is ever made through `self.region`.
        Self { region: unsafe { Region::from_raw(base, size) } }
    }

    /// The address of the segment, for a futex call on one of its words.
    #[must_use]
    pub const fn base(&self) -> NonNull<u8> {
        self.region.base
    }
}

impl Memory for ReadRegion<'_> {
    #[inline]
    fn size(&self) -> usize {
        self.region.size
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    #[inline]
    fn read_with_crc(&self, at: usize, into: &mut [u8], crc: &mut Crc) {
        self.region.read_with_crc(at, into, crc);
    }

    #[inline]
    fn read_header(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
    ) -> Result<(Header, u32), HeaderCrc> {
        self.region.read_header(at, framing, position)
    }

    #[inline]
    fn read_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        seq: u64,
        into: &mut [u8],
    ) -> Option<Record> {
        self.region.read_record(at, framing, position, seq, into)
    }

    #[inline]
    fn prefetch(&self, at: usize) {
        self.region.prefetch(at);
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

/// A ring whose producer is trusted, so that payloads may be viewed where they lie, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct TrustedRegion<'a> {
    /// INVARIANT: the promise of [`TrustedRegion::from_raw`] holds for these bytes.
    region: ReadRegion<'a>,
}

impl TrustedRegion<'_> {
    /// Wraps raw shared memory written by a producer that keeps the protocol.
    ///
    /// # Safety
    /// 1. The duties of [`ReadRegion::from_raw`].
    /// 2. Nobody stores into bytes between a gating reader's cursor and `tail`: the producer
    ///    process is correct and is not replaced by one that is not.
    /// 3. The reader that uses this region gates the ring and is not evicted while a view is alive.
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: duty 1.
        Self { region: unsafe { ReadRegion::from_raw(base, size) } }
    }
}

impl Memory for TrustedRegion<'_> {
    #[inline]
    fn size(&self) -> usize {
        self.region.size()
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region.load(at, order)
    }

    #[inline]
    fn read(&self, at: usize, into: &mut [u8]) {
        self.region.read(at, into);
    }

    #[inline]
    fn read_with_crc(&self, at: usize, into: &mut [u8], crc: &mut Crc) {
        self.region.read_with_crc(at, into, crc);
    }

    #[inline]
    fn read_header(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
    ) -> Result<(Header, u32), HeaderCrc> {
        self.region.read_header(at, framing, position)
    }

    #[inline]
    fn read_record(
        &self,
        at: usize,
        framing: &Framing,
        position: u32,
        seq: u64,
        into: &mut [u8],
    ) -> Option<Record> {
        self.region.read_record(at, framing, position, seq, into)
    }

    #[inline]
    fn prefetch(&self, at: usize) {
        self.region.prefetch(at);
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl InPlace for TrustedRegion<'_> {
    #[inline]
    fn slice(&self, at: usize, len: usize) -> &[u8] {
        let ok = self.region.region.in_bounds(at, len, 1);
        debug_assert!(ok, "{len} bytes at {at} of {}", self.size());
        if !ok {
            return &[];
        }
        // SAFETY: in bounds (checked), so inside the allocation.
        let first = unsafe { self.region.region.base.add(at) };
        // SAFETY: in bounds and alive; the reader only asks for bytes between its cursor and
        // `tail`, which nobody stores into (promises 2 and 3), and the `tail` it loaded with
        // Acquire came after they were written.
        unsafe { core::slice::from_raw_parts(first.as_ptr(), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Segment;

    #[test]
    fn bounds_are_those_of_the_segment_to_the_byte() {
        let segment = Segment::<128>::new();
        let region = segment.region();
        for (at, len, align, inside) in [
            (0, 128, 1, true),
            (0, 129, 1, false),
            (124, 4, 4, true),
            (125, 3, 1, true),
            (125, 4, 1, false),
            (128, 0, 1, true),
            (129, 0, 1, false),
            (2, 4, 4, false),
            (usize::MAX, 4, 1, false),
            (4, usize::MAX, 1, false),
        ] {
            assert_eq!(
                region.in_bounds(at, len, align),
                inside,
                "{len} bytes at {at}, aligned to {align}"
            );
        }
        assert_eq!(region.data(0, 128).len() * WORD_BYTES, 128);
        assert_eq!(region.data(64, 1).len(), 1);
        assert_eq!(region.data(64, WORD_BYTES + 1).len(), 2);
    }

    #[test]
    fn writing_fills_up_to_eight_bytes_whatever_the_word_is() {
        for len in 0..=16_usize {
            let segment = Segment::<64>::new();
            let region = segment.region();
            region.write(0, &[0xff; 64]);
            region.write(8, &[1; 16][..len]);
            let mut copy = [0; 64];
            region.read(0, &mut copy);
            let filled = 8 + len.next_multiple_of(8);
            assert_eq!(copy[..8], [0xff; 8]);
            assert!(
                copy[8..8 + len].iter().all(|&byte| byte == 1)
                    && copy[8 + len..filled].iter().all(|&byte| byte == 0),
                "{len}"
            );
            assert!(copy[filled..].iter().all(|&byte| byte == 0xff), "{len}");
        }
    }

    #[test]
    fn references_and_other_views_reach_the_same_bytes() {
        let segment = Segment::<128>::new();
        let region = segment.region();
        let through: &dyn MemoryMut = &region;
        (&through).store(8, 0x0102_0304, Ordering::Relaxed);
        (&through).write(64, b"payload!x");
        let mut copy = [0xff; 9];
        (&through).read(64, &mut copy);
        assert_eq!((&copy, (&through).size()), (b"payload!x", 128));
        assert_eq!(
            (region.load(8, Ordering::Relaxed), (&through).load(8, Ordering::Relaxed)),
            (0x0102_0304, 0x0102_0304)
        );
        assert_eq!(region.read_only().load(8, Ordering::Relaxed), 0x0102_0304);
        region.read(64, &mut copy[..3]);
        assert_eq!(&copy, b"payload!x");
        let mut word = [0xff; 16];
        region.read(64, &mut word);
        assert_eq!(&word, b"payload!x\0\0\0\0\0\0\0", "the last word is filled up with zeros");
    }

    #[test]
    fn fence_through_a_reference_is_the_fence_of_the_segment() {
        struct Fences(core::cell::Cell<Option<Ordering>>);

        impl Memory for Fences {
            fn size(&self) -> usize {
                0
            }
            fn load(&self, _: usize, _: Ordering) -> u32 {
                0
            }
            fn read(&self, _: usize, _: &mut [u8]) {}
            fn fence(&self, order: Ordering) {
                self.0.set(Some(order));
            }
        }

        let fences = Fences(core::cell::Cell::new(None));
        Memory::fence(&&fences, Ordering::SeqCst);
        assert_eq!(fences.0.get(), Some(Ordering::SeqCst));
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "72 bytes at 64 of 128"))]
    fn data_beyond_the_segment_is_refused_loudly_in_debug_builds_and_is_nothing_in_release_builds()
    {
        assert!(Segment::<128>::new().region().data(64, 72).is_empty());
    }
}
