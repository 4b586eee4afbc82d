//! Record bytes on their way: how each piece is loaded once and stored once, from and to where
//! other parties may be looking.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm_set_epi64x, _mm_storeu_si128, _mm256_set_m128i,
    _mm512_castsi256_si512, _mm512_inserti64x4, _mm512_loadu_si512, _mm512_storeu_si512,
};

use super::blocks::BLOCK;

/// Where the bytes come from, and go to on the way.
pub(super) trait Passage: Copy {
    /// Passes the 16 bytes at `at`.
    ///
    /// # Safety
    /// 1. `at + 16` is at most the length that `run` was given.
    unsafe fn block(self, at: usize) -> __m128i;

    /// Passes the 64 bytes at `at`.
    ///
    /// # Safety
    /// 1. `at + 64` is at most the length that `run_wide` was given.
    /// 2. The processor has the instructions.
    unsafe fn wide(self, at: usize) -> __m512i;

    /// [`wide`](Self::wide), for bytes that may just have been written by eights: a load that spans
    /// two stores waits until both are in the cache, and they stand behind every store of earlier
    /// records.
    ///
    /// # Safety
    /// As of `wide`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn fresh(self, at: usize) -> __m512i {
        // SAFETY: the same duties.
        unsafe { self.wide(at) }
    }

    /// Passes the last `n` bytes, at `at`; what stands behind them in the block means nothing.
    ///
    /// # Safety
    /// 1. `at + n` is the length that `run` was given, and `n` is 1 to 15.
    unsafe fn rest(self, at: usize, n: usize) -> __m128i;
}

/// Private bytes that stay where they are.
///
/// INVARIANT: valid for reads of the length given to `run`.
#[derive(Clone, Copy)]
pub(super) struct Private(pub(super) *const u8);

impl Passage for Private {
    #[inline]
    unsafe fn block(self, at: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm_loadu_si128(from.cast()) }
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
    unsafe fn rest(self, at: usize, n: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.0.add(at) };
        // SAFETY: `n` bytes as above, 1 to 15.
        unsafe { load_few(from, n) }
    }
}

/// From shared bytes to private ones.
///
/// INVARIANT: `from` is valid for reads of the length given to `run`, rounded up to 16; `into` for
/// writes of that length.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
}

impl Passage for Out {
    #[inline]
    unsafe fn block(self, at: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: as above.
        let block = unsafe { load_shared(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above; any alignment.
        unsafe { _mm_storeu_si128(into.cast(), block) };
        block
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
    unsafe fn rest(self, at: usize, n: usize) -> __m128i {
        // SAFETY: within the length (duty 1).
        let from = unsafe { self.from.add(at) };
        // SAFETY: readable for 16 bytes: all blocks before were whole, and the length is rounded up
        // (invariant).
        let whole = unsafe { load_shared(from) };
        let mut bytes = [0_u8; BLOCK];
        // SAFETY: 16 bytes of our own.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), whole) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: `n` bytes as above, below 16.
        unsafe { copy_few(bytes.as_ptr(), into, n) };
        whole
    }
}

/// From private bytes to shared ones.
///
/// INVARIANT: `from` is valid for reads of the length given to `run`; `into` for writes of that
/// length, rounded up to 8.
#[derive(Clone, Copy)]
pub(super) struct In {
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
}

impl Passage for In {
    #[inline]
    unsafe fn block(self, at: usize) -> __m128i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        // SAFETY: 16 bytes as above.
        let block = unsafe { by_eights(from) };
        // SAFETY: within the length (duty 1), so writable (invariant).
        let into = unsafe { self.into.add(at) };
        // SAFETY: as above.
        unsafe { store_shared(into, block) };
        block
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
    unsafe fn fresh(self, at: usize) -> __m512i {
        // SAFETY: within the length (duty 1), so readable (invariant).
        let from = unsafe { self.from.add(at) };
        let part = |i: usize| {
            // SAFETY: as above: four blocks.
            let from = unsafe { from.add(i * BLOCK) };
            // SAFETY: as above.
            unsafe { by_eights(from) }
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
    unsafe fn rest(self, at: usize, n: usize) -> __m128i {
        // SAFETY: duty 1.
        let block = unsafe { Private(self.from).rest(at, n) };
        // SAFETY: within the length (duty 1), so writable up to the next multiple of 8 (invariant).
        let into = unsafe { self.into.add(at) };
        if n > 8 {
            // SAFETY: 9 to 15 bytes rounded up are 16.
            unsafe { store_shared(into, block) };
        } else {
            // SAFETY: 1 to 8 bytes rounded up are 8.
            unsafe { store_shared_half(into, block) };
        }
        block
    }
}

/// Loads 16 private bytes by words: see [`Passage::fresh`].
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes.
#[inline]
unsafe fn by_eights(from: *const u8) -> __m128i {
    let block;
    // SAFETY: duty 1. By assembler, because the compiler would make one load of it.
    unsafe {
        asm!("movq {block}, qword ptr [{from}]", "movhps {block}, qword ptr [{from} + 8]", block = out(xmm_reg) block, from = in(reg) from,
            options(nostack, preserves_flags, readonly, pure));
    }
    block
}

/// Loads 1 to 15 private bytes by two overlapping words, zeros behind them. Not by way of a buffer,
/// which would have to be in the cache first.
///
/// # Safety
/// 1. `from` is valid for reads of `n` bytes.
/// 2. `n` is 1 to 15.
#[inline]
#[target_feature(enable = "sse2")]
#[allow(clippy::cast_possible_wrap, reason = "64 bits are 64 bits")]
unsafe fn load_few(from: *const u8, n: usize) -> __m128i {
    macro_rules! by {
        ($word:ty) => {{
            // SAFETY: duty 1, and `n` is at least the word's size.
            let first = unsafe { from.cast::<$word>().read_unaligned() };
            // SAFETY: as above.
            let last = unsafe { from.add(n - size_of::<$word>()) };
            // SAFETY: as above.
            let last = unsafe { last.cast::<$word>().read_unaligned() };
            (u64::from(first), u64::from(last), 8 * (n - size_of::<$word>()))
        }};
    }
    let (first, last, bits) = match n {
        8.. => {
            let (first, last, bits) = by!(u64);
            // What the first word has of the last one is shifted out.
            return _mm_set_epi64x(
                if bits == 0 { 0 } else { (last >> (64 - bits)) as i64 },
                first as i64,
            );
        }
        4.. => by!(u32),
        2.. => by!(u16),
        _ => by!(u8),
    };
    _mm_set_epi64x(0, (first | last << bits) as i64)
}

/// Loads 16 bytes that other parties may be storing into. By assembler, for to Rust a plain load
/// would be a data race; the processor takes the 8-byte words that [`Region`](crate::Region)
/// promises. Once: the compiler can neither drop nor repeat it.
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes.
#[inline]
pub(super) unsafe fn load_shared(from: *const u8) -> __m128i {
    let block;
    // ORDER(payload): Relaxed; the Acquire of `tail` (readers) or the fence behind the copy
    // (observers) orders it.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("movdqu {block}, [{from}]", block = out(xmm_reg) block, from = in(reg) from, options(nostack, preserves_flags, readonly));
    };
    block
}

/// Stores 16 bytes that other parties may be loading, as [`load_shared`].
///
/// # Safety
/// 1. `into` is valid for writes of 16 bytes.
#[inline]
pub(super) unsafe fn store_shared(into: *mut u8, block: __m128i) {
    // ORDER(payload): Relaxed; the Release of `tail` orders it before readers, the fence behind
    // `oldest` after observers.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("movdqu [{into}], {block}", block = in(xmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// [`load_shared`] of 64 bytes.
///
/// # Safety
/// 1. `from` is valid for reads of 64 bytes.
/// 2. The processor has the instruction.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_shared_wide(from: *const u8) -> __m512i {
    let block;
    // ORDER(payload): as above.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("vmovdqu64 {block}, [{from}]", block = out(zmm_reg) block, from = in(reg) from, options(nostack, preserves_flags, readonly));
    };
    block
}

/// [`store_shared`] of 64 bytes.
///
/// # Safety
/// 1. `into` is valid for writes of 64 bytes.
/// 2. The processor has the instruction.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_shared_wide(into: *mut u8, block: __m512i) {
    // ORDER(payload): as above.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("vmovdqu64 [{into}], {block}", block = in(zmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// The lower 8 bytes only.
///
/// # Safety
/// 1. `into` is valid for writes of 8 bytes.
#[inline]
unsafe fn store_shared_half(into: *mut u8, block: __m128i) {
    // ORDER(payload): as above.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("movq [{into}], {block}", block = in(xmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// Copies 1 to 15 private bytes by two overlapping words, where `memcpy` would be a call.
///
/// # Safety
/// 1. `from` is valid for reads and `into` for writes of `n` bytes, and they do not overlap.
/// 2. `n` is 1 to 15.
#[inline]
unsafe fn copy_few(from: *const u8, into: *mut u8, n: usize) {
    macro_rules! by {
        ($word:ty) => {{
            let last = n - size_of::<$word>();
            // SAFETY: duty 1, and `n` is at least the word's size.
            let first = unsafe { from.cast::<$word>().read_unaligned() };
            // SAFETY: as above.
            let second = unsafe { from.add(last).cast::<$word>().read_unaligned() };
            // SAFETY: as above.
            unsafe { into.cast::<$word>().write_unaligned(first) };
            // SAFETY: as above.
            unsafe { into.add(last).cast::<$word>().write_unaligned(second) };
        }};
    }
    match n {
        8.. => by!(u64),
        4.. => by!(u32),
        2.. => by!(u16),
        _ => by!(u8),
    }
}
