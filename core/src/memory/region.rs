//! The production backends: bytes that somebody mapped, loaded and stored by words.
//!
//! Control bytes are reached as `u32` only and data bytes as `usize` only (where that has 32 bits,
//! it is the same), whatever is asked for, by any caller. Accesses of different sizes that overlap
//! would be a data race even though each is atomic; so where a word begins and ends must not depend
//! on the caller.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this module is the one door to atomics"
)]

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use super::{InPlace, Memory, MemoryMut, Span};
use crate::layout::{CONTROL_BYTES, ring_word};

/// Bytes of a data word.
const WORD_BYTES: usize = size_of::<usize>();
/// Bytes of a control word.
const CONTROL_WORD_BYTES: usize = size_of::<u32>();
/// What is written is filled up to a multiple of this many bytes.
const FILLED_BYTES: usize = 8;

const _: () = assert!(CONTROL_BYTES.is_multiple_of(FILLED_BYTES));
const _: () = assert!(FILLED_BYTES.is_multiple_of(WORD_BYTES));

/// Shared bytes that this process reads and writes: a producer's ring, a reader's cursor segment.
///
/// INVARIANT: `base` points to `size` bytes that live for `'a`, aligned to 64. Every access to
/// them, by anyone in this process, is atomic: of 4 bytes before `CONTROL_BYTES`, of `WORD_BYTES`
/// from there on.
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
    /// 3. During `'a` every access to these bytes in this process is made through a `Region`,
    ///    [`ReadRegion`] or [`TrustedRegion`] that begins at the same address; or it is atomic as
    ///    theirs are, of 4 bytes before offset 256 and of `usize` from there on. (What other
    ///    processes do cannot make this process's accesses undefined, only their values.)
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: usize) -> Self {
        Self { base, size, lifetime: PhantomData }
    }

    /// Returns the same bytes without the right to store.
    #[must_use]
    pub const fn read_only(self) -> ReadRegion<'a> {
        ReadRegion { region: self }
    }

    /// Returns the address of the segment, for a futex call on one of its words.
    #[must_use]
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Returns the address of the word `tail` of a ring, for a futex call of one's own: it changes
    /// with each publication.
    ///
    /// # Panics
    /// The segment is smaller than a ring's control bytes.
    #[must_use]
    pub fn tail_word(&self) -> NonNull<u32> {
        assert!(self.size >= CONTROL_BYTES, "{} bytes are no ring", self.size);
        // SAFETY: in bounds (checked), so inside the allocation of the invariant.
        unsafe { self.base.add(ring_word::TAIL) }.cast()
    }

    /// Lends data bytes as they lie; see [`Memory::span`]. This one lives as long as the bytes.
    #[inline]
    #[must_use]
    pub const fn span(self, at: usize, len: usize) -> Option<Span<'a>> {
        if at < CONTROL_BYTES || !self.in_bounds(at, len, WORD_BYTES) {
            return None;
        }
        // SAFETY: in bounds (checked), so inside the allocation of the invariant.
        let base = unsafe { self.base.add(at) };
        // SAFETY: (1) `len` data bytes in bounds (checked), alive and accessed as it must be
        // (invariant); aligned because base and `at` are.
        Some(unsafe { Span::from_raw(base, len, true) })
    }

    const fn in_bounds(&self, at: usize, len: usize, align: usize) -> bool {
        at & (align - 1) == 0 && at <= self.size && len <= self.size - at
    }

    fn control(&self, at: usize) -> Option<&AtomicU32> {
        let ok = at < CONTROL_BYTES && self.in_bounds(at, CONTROL_WORD_BYTES, CONTROL_WORD_BYTES);
        debug_assert!(ok, "control word at {at} of {}", self.size);
        if !ok {
            return None;
        }
        // SAFETY: in bounds (checked), so inside the allocation of the invariant.
        let word = unsafe { self.base.add(at) }.cast::<AtomicU32>();
        // SAFETY: valid for `'a` and only accessed so (invariant), for it ends before
        // `CONTROL_BYTES`; aligned to 4 because base is to 64 and `at` to 4 (checked).
        Some(unsafe { word.as_ref() })
    }

    /// Gives the words that cover `len` bytes from `at`: control words and, past these, data words.
    /// Both are empty if not all of them are inside.
    #[inline]
    fn words(&self, at: usize, len: usize) -> (&[AtomicU32], &[AtomicUsize]) {
        let control = control_bytes(at, len);
        let data = len - control;
        let (control, data) = (control.div_ceil(CONTROL_WORD_BYTES), data.div_ceil(WORD_BYTES));
        let ok = self.in_bounds(at, control * CONTROL_WORD_BYTES + data * WORD_BYTES, WORD_BYTES);
        debug_assert!(ok, "{len} bytes at {at} of {}", self.size);
        if !ok {
            return (&[], &[]);
        }
        // SAFETY: in bounds (checked), so inside the allocation of the invariant.
        let first = unsafe { self.base.add(at) };
        // SAFETY: `control` words from `first` are in bounds (checked), live for `'a`, are only
        // accessed so (invariant), for they end at `CONTROL_BYTES` at most, and are aligned.
        let control =
            unsafe { core::slice::from_raw_parts(first.cast::<AtomicU32>().as_ptr(), control) };
        if data == 0 {
            return (control, &[]);
        }
        // SAFETY: as above; there are data words, so these are all control words from `at` on.
        let first = unsafe { first.add(size_of_val(control)) };
        // They begin at `CONTROL_BYTES` at least, or control words have the same size.
        // SAFETY: `data` words from `first` are in bounds (checked), live for `'a` and are only
        // accessed so (invariant); aligned, because `at` is, and `CONTROL_BYTES`.
        let data =
            unsafe { core::slice::from_raw_parts(first.cast::<AtomicUsize>().as_ptr(), data) };
        (control, data)
    }
}

/// Returns how many of `len` bytes from `at` are reached by control words. Where these are as large
/// as data words there is one kind of access, and no byte needs the other loop.
#[inline]
const fn control_bytes(at: usize, len: usize) -> usize {
    if WORD_BYTES == CONTROL_WORD_BYTES {
        return 0;
    }
    let before = CONTROL_BYTES.saturating_sub(at);
    if before < len { before } else { len }
}

/// A word of either kind, as bytes.
trait Word {
    const BYTES: usize;
    /// Loads the first `into.len()` bytes, at most all.
    fn copy_out(&self, into: &mut [u8]);
    /// Stores `from`, at most all bytes, and zeros after it.
    fn copy_in(&self, from: &[u8]);
}

macro_rules! word {
    ($atomic:ty, $plain:ty) => {
        impl Word for $atomic {
            const BYTES: usize = size_of::<$plain>();

            #[inline]
            #[allow(clippy::cast_possible_truncation, reason = "takes the word apart")]
            fn copy_out(&self, into: &mut [u8]) {
                // ORDER(payload): Relaxed; the Acquire of `tail` (readers) or the fence after the
                // copy (observers) orders it.
                let word = self.load(Ordering::Relaxed);
                if into.len() == Self::BYTES {
                    into.copy_from_slice(&word.to_ne_bytes());
                    return;
                }
                let mut word = <$plain>::from_le(word);
                for byte in into {
                    *byte = word as u8;
                    word >>= 8;
                }
            }

            #[inline]
            fn copy_in(&self, from: &[u8]) {
                let word = if let Ok(bytes) = from.try_into() {
                    <$plain>::from_ne_bytes(bytes)
                } else {
                    let word =
                        from.iter().rev().fold(0, |word, &byte| word << 8 | <$plain>::from(byte));
                    <$plain>::to_le(word)
                };
                // ORDER(payload): Relaxed; the Release of `tail` orders it before readers, the
                // fence after `oldest` after observers.
                self.store(word, Ordering::Relaxed);
            }
        }
    };
}

word!(AtomicU32, u32);
word!(AtomicUsize, usize);

/// Copies words to `into`; those that are not there leave it as it is.
#[inline]
fn copy_out<W: Word>(words: &[W], into: &mut [u8]) {
    let mut chunks = into.chunks_exact_mut(W::BYTES);
    for (chunk, word) in chunks.by_ref().zip(words) {
        word.copy_out(chunk);
    }
    let rest = chunks.into_remainder();
    if let (false, Some(word)) = (rest.is_empty(), words.last()) {
        word.copy_out(rest);
    }
}

/// Copies `from` to words, and zeros to those that are left.
#[inline]
fn copy_in<W: Word>(words: &[W], from: &[u8]) {
    let mut words = words.iter();
    let mut chunks = from.chunks_exact(W::BYTES);
    for (chunk, word) in chunks.by_ref().zip(&mut words) {
        word.copy_in(chunk);
    }
    let mut rest = chunks.remainder();
    for word in words {
        word.copy_in(rest);
        rest = &[];
    }
}

impl Memory for Region<'_> {
    fn is_same(&self, other: &Self) -> bool {
        self.base == other.base
    }

    #[inline]
    fn size(&self) -> usize {
        self.size
    }

    #[inline]
    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.control(at).map_or(0, |word| u32::from_le(word.load(order)))
    }

    #[cfg_attr(not(target_os = "none"), inline)]
    #[cfg_attr(target_os = "none", inline(never))]
    fn read(&self, at: usize, into: &mut [u8]) {
        let (control, data) = self.words(at, into.len());
        let (first, second) = into.split_at_mut(control_bytes(at, into.len()));
        copy_out(control, first);
        copy_out(data, second);
    }

    #[inline]
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        (*self).span(at, len)
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

    #[cfg_attr(not(target_os = "none"), inline)]
    #[cfg_attr(target_os = "none", inline(never))]
    fn write(&self, at: usize, bytes: &[u8]) {
        let (control, data) = self.words(at, bytes.len().next_multiple_of(FILLED_BYTES));
        let (first, second) = bytes.split_at(control_bytes(at, bytes.len()));
        copy_in(control, first);
        copy_in(data, second);
    }
}

/// Shared bytes that this process only reads: a ring as a reader maps it. Works over a read-only
/// mapping.
#[derive(Clone, Copy, Debug)]
pub struct ReadRegion<'a> {
    /// INVARIANT: only loads are made through it.
    region: Region<'a>,
}

impl<'a> ReadRegion<'a> {
    /// Wraps raw shared memory that may be mapped read-only.
    ///
    /// # Safety
    /// The duties of [`Region::from_raw`], with validity for reads enough in 1.
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: duties 1 to 3 are the caller's; no store is ever made through `self.region`.
        Self { region: unsafe { Region::from_raw(base, size) } }
    }

    /// Returns the address of the segment, for a futex call on one of its words.
    #[must_use]
    pub const fn base(&self) -> NonNull<u8> {
        self.region.base
    }

    /// Returns the address of the word `tail`: see [`Region::tail_word`].
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn tail_word(&self) -> NonNull<u32> {
        self.region.tail_word()
    }

    /// Lends data bytes as they lie; see [`Memory::span`]. This one lives as long as the bytes.
    #[inline]
    #[must_use]
    pub const fn span(self, at: usize, len: usize) -> Option<Span<'a>> {
        match self.region.span(at, len) {
            Some(span) => Some(span.read_only()),
            None => None,
        }
    }
}

impl Memory for ReadRegion<'_> {
    fn is_same(&self, other: &Self) -> bool {
        self.region.is_same(&other.region)
    }

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
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        (*self).span(at, len)
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

/// A ring whose producer is trusted, so that payloads may be viewed where they lie, without a copy.
///
/// It is neither `Clone` nor `Copy`: the reader that it is given to is the only one that uses it.
#[derive(Debug)]
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
    /// 3. The reader that is given this region gates the ring and is not evicted while a view is
    ///    alive.
    #[must_use]
    pub const unsafe fn from_raw(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: duty 1.
        Self { region: unsafe { ReadRegion::from_raw(base, size) } }
    }
}

impl Memory for TrustedRegion<'_> {
    fn is_same(&self, other: &Self) -> bool {
        self.region.is_same(&other.region)
    }

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
    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region.span(at, len)
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        self.region.fence(order);
    }
}

impl InPlace for TrustedRegion<'_> {
    #[inline]
    unsafe fn slice(&self, at: usize, len: usize) -> &[u8] {
        let ok = at >= CONTROL_BYTES && self.region.region.in_bounds(at, len, 1);
        debug_assert!(ok, "{len} bytes at {at} of {}", self.size());
        if !ok {
            return &[];
        }
        // SAFETY: in bounds (checked), so inside the allocation.
        let first = unsafe { self.region.region.base.add(at) };
        // SAFETY: in bounds and alive. They are bytes between the reader's cursor and `tail` (duty
        // 1), into which nobody stores (promises 2 and 3 of `from_raw`), and the `tail` was loaded
        // with Acquire after they were written.
        unsafe { core::slice::from_raw_parts(first.as_ptr(), len) }
    }
}
