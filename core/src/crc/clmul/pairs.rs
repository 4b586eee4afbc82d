//! Folding by registers of two blocks: AVX2 and VPCLMULQDQ.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi128_si64, _mm_unpackhi_epi32, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_set_m128i, _mm256_xor_si256, _mm256_zextsi128_si256,
};

use super::blocks::{BLOCK, add, factors, finish, fold, pair, shorten, starting, sum_short};
use super::constants::{BARRETT, Factors, over};
use super::copy::Source;

/// Bytes of a pair.
pub(super) const PAIR: usize = 2 * BLOCK;

#[inline]
#[target_feature(enable = "avx2")]
fn add_pair(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn fold_pair(blocks: __m256i, by: __m256i) -> __m256i {
    add_pair(_mm256_clmulepi64_epi128(blocks, by, 0x00), _mm256_clmulepi64_epi128(blocks, by, 0x11))
}

impl Factors {
    /// Those of the two blocks with which the last `left` whole blocks begin.
    ///
    /// # Safety
    /// 1. `left` is 2 to [`LAST`](super::constants::LAST).
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn two(&self, left: usize) -> __m256i {
        // SAFETY: duty 1.
        let at = unsafe { self.of_last(left) };
        // SAFETY: duty 1: two at least.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
}

/// [`sum_two`](super::blocks::sum_two) in one register: a multiplication costs as much by the pair.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,vpclmulqdq")]
pub(super) fn sum_two(first: __m128i, second: __m128i) -> __m128i {
    let by = _mm256_set_m128i(pair(const { over(8) }), pair(const { over(24) }));
    let y = fold_pair(_mm256_set_m128i(second, first), by);
    add(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1))
}

/// [`divide_both`](super::blocks::divide_both) in one register.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,vpclmulqdq")]
#[allow(clippy::cast_sign_loss, reason = "64 bits are 64 bits")]
pub(super) fn divide_both(first: __m128i, second: __m128i) -> u64 {
    let x = _mm256_set_m128i(second, first);
    let barrett = _mm256_broadcastsi128_si256(pair(BARRETT));
    let quotient = _mm256_clmulepi64_epi128(x, barrett, 0x10);
    let x = add_pair(x, _mm256_clmulepi64_epi128(quotient, barrett, 0x00));
    let states = _mm_unpackhi_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_cvtsi128_si64(states) as u64
}

/// [`sum_blocks`](super::blocks::sum_blocks) of at least 32 bytes.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and `len` is at least 32.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,vpclmulqdq")]
#[allow(improper_ctypes_definitions, reason = "called from here only; see `sum_blocks`")]
pub(super) unsafe extern "sysv64" fn sum_pairs<S: Source>(
    state: u32,
    source: S,
    len: usize,
) -> __m128i {
    let factors = factors(len % BLOCK);
    // SAFETY: duty 1: at least 32 bytes.
    let first = unsafe { source.fresh_pair(0) };
    let first = add_pair(first, _mm256_zextsi128_si256(starting(state)));
    let (mut y, mut at);
    if len >= 4 * PAIR {
        let mut y0 = first;
        // SAFETY: duty 1: at least 128 bytes.
        let mut y1 = unsafe { source.pair(PAIR) };
        // SAFETY: as above.
        let mut y2 = unsafe { source.pair(2 * PAIR) };
        // SAFETY: as above.
        let mut y3 = unsafe { source.fresh_pair(3 * PAIR) };
        at = 4 * PAIR;
        let by = _mm256_broadcastsi128_si256(pair(const { over(128) }));
        while len - at >= 4 * PAIR {
            // SAFETY: duty 1: 128 bytes more.
            y0 = add_pair(fold_pair(y0, by), unsafe { source.pair(at) });
            // SAFETY: as above.
            y1 = add_pair(fold_pair(y1, by), unsafe { source.pair(at + PAIR) });
            // SAFETY: as above.
            y2 = add_pair(fold_pair(y2, by), unsafe { source.pair(at + 2 * PAIR) });
            let last = if len - at == 4 * PAIR {
                // SAFETY: as above.
                unsafe { source.fresh_pair(at + 3 * PAIR) }
            } else {
                // SAFETY: as above.
                unsafe { source.pair(at + 3 * PAIR) }
            };
            y3 = add_pair(fold_pair(y3, by), last);
            at += 4 * PAIR;
        }
        let left = 8 + (len - at) / BLOCK;
        // SAFETY: 8 to 15.
        y = fold_pair(y0, unsafe { factors.two(left) });
        // SAFETY: two less.
        y = add_pair(y, fold_pair(y1, unsafe { factors.two(left - 2) }));
        // SAFETY: four less.
        let z = fold_pair(y2, unsafe { factors.two(left - 4) });
        // SAFETY: six less.
        y = add_pair(y, add_pair(z, fold_pair(y3, unsafe { factors.two(left - 6) })));
    } else {
        // SAFETY: 2 to 7.
        y = fold_pair(first, unsafe { factors.two(len / BLOCK) });
        at = PAIR;
    }
    while len - at >= PAIR {
        // SAFETY: 2 to 7.
        let by = unsafe { factors.two((len - at) / BLOCK) };
        // SAFETY: duty 1: 32 bytes more.
        y = add_pair(y, fold_pair(unsafe { source.fresh_pair(at) }, by));
        at += PAIR;
    }
    let mut x = add(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    if len - at >= BLOCK {
        // SAFETY: 1.
        let by = unsafe { factors.one(1) };
        // SAFETY: duty 1: 16 bytes more.
        x = add(x, fold(unsafe { source.fresh_block(at) }, by));
        at += BLOCK;
    }
    // SAFETY: duty 1, and the bytes before `at` have passed.
    unsafe { finish(x, source, at, len - at) }
}

/// [`sum_blocks`](super::blocks::sum_blocks) of one block and less than another.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and `len` is 16 to 31.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
unsafe fn sum_one<S: Source>(state: u32, source: S, len: usize) -> __m128i {
    // SAFETY: duty 1.
    let x = add(unsafe { source.fresh_block(0) }, starting(state));
    if len == BLOCK {
        return shorten(x);
    }
    // SAFETY: duty 1, and the first block has passed.
    unsafe { finish(x, source, BLOCK, len - BLOCK) }
}

/// [`sum`](super::blocks::sum) with wider registers.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,vpclmulqdq")]
pub(super) unsafe fn sum<S: Source>(state: u32, source: S, len: usize) -> __m128i {
    if len >= PAIR {
        // SAFETY: duties 1 and 2, and at least 32 bytes.
        unsafe { sum_pairs(state, source, len) }
    } else if len >= BLOCK {
        // SAFETY: duties 1 and 2, and at least 16 bytes.
        unsafe { sum_one(state, source, len) }
    } else {
        // SAFETY: duties 1 and 2.
        unsafe { sum_short(state, source, len) }
    }
}
