//! Record bytes on their way: where the bytes of a message come from, and where they go.

use core::arch::aarch64::uint64x2_t;

use super::access::{
    load_few, load_shared, load_shared_two, load_shared_word, store_few, store_shared,
    store_shared_two, store_shared_word,
};

/// Where the bytes of a message come from, and go to on the way. Each is asked for once, so what is
/// checked is what was stored.
pub(super) trait Source: Copy {
    /// Passes the 16 bytes at `at`, in a vector.
    ///
    /// # Safety
    /// 1. `at + 16` is at most the length of the message, and `at` is a multiple of 8.
    unsafe fn block(self, at: usize) -> uint64x2_t;

    /// Passes the 16 bytes at `at`, in two words.
    ///
    /// # Safety
    /// As of `block`.
    unsafe fn two(self, at: usize) -> [u64; 2];

    /// Passes the 8 bytes at `at`.
    ///
    /// # Safety
    /// 1. `at + 8` is at most the length of the message, and `at` is a multiple of 8.
    unsafe fn word(self, at: usize) -> u64;

    /// Passes the last `n` bytes, at `at`, and fills the word up with zeros.
    ///
    /// # Safety
    /// 1. `at + n` is the length of the message, `at` a multiple of 8, and `n` is 1 to 7.
    unsafe fn tail(self, at: usize, n: usize) -> u64;
}

/// Private bytes that stay where they are.
///
/// INVARIANT: valid for reads of the length of the message.
#[derive(Clone, Copy)]
pub(super) struct Private(pub(super) *const u8);

impl Source for Private {
    #[inline]
    unsafe fn block(self, at: usize) -> uint64x2_t {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { from.cast::<uint64x2_t>().read_unaligned() }
    }

    #[inline]
    unsafe fn two(self, at: usize) -> [u64; 2] {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { from.cast::<[u64; 2]>().read_unaligned() }
    }

    #[inline]
    unsafe fn word(self, at: usize) -> u64 {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { from.cast::<u64>().read_unaligned() }
    }

    #[inline]
    unsafe fn tail(self, at: usize, n: usize) -> u64 {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: `n` bytes as above, 1 to 7.
        unsafe { load_few(from, n) }
    }
}

/// From shared bytes to private ones.
///
/// INVARIANT: `from` is valid for reads of the length of the message, rounded up to 8, and aligned
/// to 8; `into` is valid for writes of that length.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
}

impl Source for Out {
    #[inline]
    unsafe fn block(self, at: usize) -> uint64x2_t {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above.
        let block = unsafe { load_shared(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { into.cast::<uint64x2_t>().write_unaligned(block) };
        block
    }

    #[inline]
    unsafe fn two(self, at: usize) -> [u64; 2] {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above.
        let two = unsafe { load_shared_two(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { into.cast::<[u64; 2]>().write_unaligned(two) };
        two
    }

    #[inline]
    unsafe fn word(self, at: usize) -> u64 {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above.
        let word = unsafe { load_shared_word(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { into.cast::<u64>().write_unaligned(word) };
        word
    }

    #[inline]
    unsafe fn tail(self, at: usize, n: usize) -> u64 {
        // SAFETY: within the length (duty 1).
        let from = unsafe { self.from.add(at) };
        // SAFETY: readable for 8 bytes: all words before were whole, and the length is rounded up
        // (invariant).
        let word = unsafe { load_shared_word(from) } & u64::MAX >> (64 - 8 * n);
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: `n` bytes as above, 1 to 7.
        unsafe { store_few(into, word, n) };
        word
    }
}

/// From private bytes to shared ones.
///
/// INVARIANT: `from` is valid for reads of the length of the message; `into` is valid for writes of
/// that length, rounded up to 8, and aligned to 8.
#[derive(Clone, Copy)]
pub(super) struct In {
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
}

impl Source for In {
    #[inline]
    unsafe fn block(self, at: usize) -> uint64x2_t {
        // SAFETY: duty 1.
        let block = unsafe { Private(self.from).block(at) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared(into, block) };
        block
    }

    #[inline]
    unsafe fn two(self, at: usize) -> [u64; 2] {
        // SAFETY: duty 1.
        let two = unsafe { Private(self.from).two(at) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared_two(into, two) };
        two
    }

    #[inline]
    unsafe fn word(self, at: usize) -> u64 {
        // SAFETY: duty 1.
        let word = unsafe { Private(self.from).word(at) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared_word(into, word) };
        word
    }

    #[inline]
    unsafe fn tail(self, at: usize, n: usize) -> u64 {
        // SAFETY: duty 1.
        let word = unsafe { Private(self.from).tail(at, n) };
        // SAFETY: within the length (duty 1), so writable up to the next multiple of 8 (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared_word(into, word) };
        word
    }
}
