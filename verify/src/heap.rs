//! The production backend with an owner: a [`Segment`] behind a reference count, so that tests can
//! keep rings and pages in structs.
//!
//! Every access goes to [`Region`], which also lends its bytes to the copies that ship; nothing is
//! added.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut, Region, Segment};

/// Shared ownership of `BYTES` zeroed bytes. Clones are the same memory.
#[derive(Clone, Default)]
pub struct Heap<const BYTES: usize>(Arc<Segment<BYTES>>);

impl<const BYTES: usize> Heap<BYTES> {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The production backend itself.
    #[must_use]
    pub fn region(&self) -> Region<'_> {
        self.0.region()
    }

    /// A copy of all bytes.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let mut bytes = vec![0; BYTES];
        self.region().read(0, &mut bytes);
        bytes
    }

    /// Overwrites the bytes from `at`, a multiple of 8, with whole words: the last one is filled up
    /// with zeros.
    pub fn fill_at(&self, at: usize, bytes: &[u8]) {
        self.region().write(at, bytes);
    }

    /// Changes one byte by exclusive or.
    pub fn flip(&self, at: usize, mask: u8) {
        let (granule, within) = (at & !31, at & 31);
        let mut bytes = [0; 32];
        self.region().read(granule, &mut bytes);
        bytes[within] ^= mask;
        self.region().write(granule, &bytes);
    }
}

impl<const BYTES: usize> Memory for Heap<BYTES> {
    fn size(&self) -> usize {
        BYTES
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.region().load(at, order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        self.region().read(at, into);
    }

    fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        self.region().span(at, len)
    }

    fn fence(&self, order: Ordering) {
        self.region().fence(order);
    }
}

impl<const BYTES: usize> MemoryMut for Heap<BYTES> {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.region().store(at, value, order);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.region().write(at, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copies_that_ship_get_the_bytes_themselves() {
        let heap = Heap::<4096>::new();
        assert!(heap.span(1024, 3072).is_some(), "what is tested would be the way by words");
    }
}
