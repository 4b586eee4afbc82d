//! Data bytes as they lie, for the copy kernels of [`crc`](crate::crc).

use core::marker::PhantomData;
use core::ptr::NonNull;

/// Data bytes of a segment that other parties may be writing, for copies that are faster than word
/// by word.
///
/// Only this crate makes one, and only it can look inside: what a wrapper of a backend can do is
/// forward it.
///
/// INVARIANT: `base` points to `len` data bytes that live for `'a`, aligned to a word; they may be
/// read, and written if `writable`. Every access to them, by anyone in this process, is an atomic
/// one of whole words, or by assembler that is as good.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "where no kernel is for the processor, nobody looks inside")]
pub struct Span<'a> {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
    lifetime: PhantomData<&'a ()>,
}

#[allow(dead_code, reason = "as above")]
impl Span<'_> {
    /// Wraps bytes.
    ///
    /// # Safety
    /// 1. The invariant of the type.
    #[inline]
    pub(super) const unsafe fn from_raw(base: NonNull<u8>, len: usize, writable: bool) -> Self {
        Self { base, len, writable, lifetime: PhantomData }
    }

    /// Returns the same bytes without the right to store.
    #[inline]
    pub(super) const fn read_only(self) -> Self {
        Self { writable: false, ..self }
    }

    /// Gives the address of the first byte, if at least `len` bytes may be read from there, by
    /// accesses as the invariant of the type asks for.
    #[inline]
    pub(crate) fn readable(self, len: usize) -> Option<*const u8> {
        (len <= self.len).then_some(self.base.as_ptr().cast_const())
    }

    /// Gives the address of the first byte, if at least `len` bytes may be written from there, by
    /// accesses as the invariant of the type asks for.
    #[inline]
    pub(crate) fn writable(self, len: usize) -> Option<*mut u8> {
        (self.writable && len <= self.len).then_some(self.base.as_ptr())
    }
}
