//! Record bytes on their way: where the bytes of a message come from, and where they go.

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_set_m128i, _mm256_storeu_si256, _mm512_castsi256_si512, _mm512_inserti64x4,
    _mm512_loadu_si512, _mm512_storeu_si512,
};

use super::access::{copy_few, first_bytes, load_few};
use super::blocks::BLOCK;
use super::shared::{
    by_eights, load_shared, load_shared_pair, load_shared_wide, store_shared, store_shared_half,
    store_shared_pair, store_shared_wide,
};

/// Where the bytes of a message come from, and go to on the way. Each is asked for once, so what is
/// checked is what was stored.
///
/// `fresh_` is for bytes that may just have been written by eights: a load that spans two stores
/// waits until both are in the cache, and they come after every store of earlier records.
pub(super) trait Source: Copy {
    /// Passes the 16 bytes at `at`.
    ///
    /// # Safety
    /// 1. `at + 16` is at most the length of the message.
    unsafe fn block(self, at: usize) -> __m128i;

    /// [`block`](Self::block), for fresh bytes.
    ///
    /// # Safety
    /// As of `block`.
    #[inline]
    unsafe fn fresh_block(self, at: usize) -> __m128i {
        // SAFETY: the same duty.
        unsafe { self.block(at) }
    }

    /// Passes the 32 bytes at `at`.
    ///
    /// # Safety
    /// 1. `at + 32` is at most the length of the message.
    /// 2. The processor has the instructions.
    unsafe fn pair(self, at: usize) -> __m256i;

    /// [`pair`](Self::pair), for fresh bytes.
    ///
    /// # Safety
    /// As of `pair`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn fresh_pair(self, at: usize) -> __m256i {
        // SAFETY: the same duties.
        unsafe { self.pair(at) }
    }

    /// Passes the 64 bytes at `at`.
    ///
    /// # Safety
    /// 1. `at + 64` is at most the length of the message.
    /// 2. The processor has the instructions.
    unsafe fn wide(self, at: usize) -> __m512i;

    /// [`wide`](Self::wide), for fresh bytes.
    ///
    /// # Safety
    /// As of `wide`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn fresh_wide(self, at: usize) -> __m512i {
        // SAFETY: the same duties.
        unsafe { self.wide(at) }
    }

    /// Passes the last `n` bytes, at `at`, and fills the block up with zeros.
    ///
    /// # Safety
    /// 1. `at + n` is the length of the message, `at` a multiple of 16, and `n` is 1 to 15.
    unsafe fn tail(self, at: usize, n: usize) -> __m128i;

    /// Whether wide stores meet more cache lines than they need, and do not if one block passes
    /// first.
    #[inline]
    fn begins_with_a_block(self) -> bool {
        false
    }
}

/// Private bytes that stay where they are.
///
/// INVARIANT: valid for reads of the length of the message.
#[derive(Clone, Copy)]
pub(super) struct Private(pub(super) *const u8);

impl Source for Private {
    #[inline]
    unsafe fn block(self, at: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn pair(self, at: usize) -> __m256i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn wide(self, at: usize) -> __m512i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline]
    unsafe fn tail(self, at: usize, n: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: `n` bytes as above, 1 to 15.
        unsafe { load_few(from, n) }
    }
}

/// From shared bytes to private ones.
///
/// INVARIANT: `from` is valid for reads of the length of the message, rounded up to 16; `into` for
/// writes of that length; the processor has AVX if `VEX`.
#[derive(Clone, Copy)]
pub(super) struct Out<const VEX: bool> {
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
}

impl<const VEX: bool> Source for Out<VEX> {
    #[inline]
    unsafe fn block(self, at: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above.
        let block = unsafe { load_shared::<VEX>(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm_storeu_si128(into.cast(), block) };
        block
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn pair(self, at: usize) -> __m256i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above, and duty 2.
        let pair = unsafe { load_shared_pair(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm256_storeu_si256(into.cast(), pair) };
        pair
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn wide(self, at: usize) -> __m512i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above.
        let block = unsafe { load_shared_wide(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm512_storeu_si512(into.cast(), block) };
        block
    }

    #[inline]
    unsafe fn tail(self, at: usize, n: usize) -> __m128i {
        // SAFETY: within the length (duty 1).
        let from = unsafe { self.from.add(at) };
        // SAFETY: readable for 16 bytes: all blocks before were whole, and the length is rounded up
        // (invariant).
        let whole = unsafe { load_shared::<VEX>(from) };
        let mut bytes = [0_u8; BLOCK];
        // SAFETY: 16 bytes of our own.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), whole) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: `n` bytes as above, below 16.
        unsafe { copy_few(bytes.as_ptr(), into, n) };
        // SAFETY: 1 to 15.
        unsafe { first_bytes(whole, n) }
    }

    /// Buffers of allocators are aligned to 16 bytes: every store of 32 that is not to 32 as well
    /// meets two cache lines in turn.
    #[inline]
    fn begins_with_a_block(self) -> bool {
        self.into.addr() % 32 == 16
    }
}

/// From private bytes to shared ones.
///
/// INVARIANT: `from` is valid for reads of the length of the message; `into` for writes of that
/// length, rounded up to 8; the processor has AVX if `VEX`.
#[derive(Clone, Copy)]
pub(super) struct In<const VEX: bool> {
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
}

impl<const VEX: bool> Source for In<VEX> {
    #[inline]
    unsafe fn block(self, at: usize) -> __m128i {
        // SAFETY: duty 1.
        let block = unsafe { Private(self.from).block(at) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared::<VEX>(into, block) };
        block
    }

    #[inline]
    unsafe fn fresh_block(self, at: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: 16 bytes as above.
        let block = unsafe { by_eights::<VEX>(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared::<VEX>(into, block) };
        block
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn pair(self, at: usize) -> __m256i {
        // SAFETY: duties 1 and 2.
        let pair = unsafe { Private(self.from).pair(at) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above, and duty 2.
        unsafe { store_shared_pair(into, pair) };
        pair
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn fresh_pair(self, at: usize) -> __m256i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above: two blocks.
        let low = unsafe { by_eights::<VEX>(from) };
        // SAFETY: as above.
        let from = unsafe { from.add(BLOCK) };
        // SAFETY: as above.
        let pair = _mm256_set_m128i(unsafe { by_eights::<VEX>(from) }, low);
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above, and duty 2.
        unsafe { store_shared_pair(into, pair) };
        pair
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn wide(self, at: usize) -> __m512i {
        // SAFETY: duties 1 and 2.
        let block = unsafe { Private(self.from).wide(at) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared_wide(into, block) };
        block
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn fresh_wide(self, at: usize) -> __m512i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        let part = |i: usize| {
            // SAFETY: as above: four blocks.
            let from = unsafe { from.add(i * BLOCK) };
            // SAFETY: as above.
            unsafe { by_eights::<VEX>(from) }
        };
        let (low, high) = (_mm256_set_m128i(part(1), part(0)), _mm256_set_m128i(part(3), part(2)));
        let block = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared_wide(into, block) };
        block
    }

    #[inline]
    unsafe fn tail(self, at: usize, n: usize) -> __m128i {
        // SAFETY: duty 1.
        let block = unsafe { Private(self.from).tail(at, n) };
        // SAFETY: within the length (duty 1), so writable up to the next multiple of 8 (invariant).
        let into = unsafe { self.into.add(at) };
        if n > 8 {
            // SAFETY: 9 to 15 bytes rounded up are 16.
            unsafe { store_shared::<VEX>(into, block) };
        } else {
            // SAFETY: 1 to 8 bytes rounded up are 8.
            unsafe { store_shared_half::<VEX>(into, block) };
        }
        block
    }
}
