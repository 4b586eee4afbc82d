//! Folding by registers of four blocks. Next: `crc`.

use core::arch::x86_64::{
    __m128i, __m512i, _mm_cvtsi32_si128, _mm_xor_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_bsrli_epi128,
    _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_set_m128i, _mm256_set1_epi64x, _mm256_xor_si256,
    _mm512_castsi512_si256, _mm512_clmulepi64_epi128, _mm512_extracti32x4_epi32, _mm512_extracti64x4_epi64, _mm512_inserti32x4,
    _mm512_set_epi64, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::blocks::{FOLD_4, FOLD_16, FOLD_32, FOLD_48, FOLD_64, FOLD_128, FOLD_192, FOLD_256, WIDE, pair, reduce, rest};
use super::passage::Passage;

/// [`run`](super::blocks::run) for at least 64 bytes, by registers of as many.
///
/// # Safety
/// 1. As of `run`, and `len` is at least 64.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1,avx512f,avx512vl,vpclmulqdq")]
pub(super) unsafe fn run_wide<P: Passage>(state: u32, passage: P, len: usize) -> u32 {
    // SAFETY: the same duties.
    reduce(unsafe { run_beside(state, passage, len, None) }.0)
}

/// As [`run_wide`], but a block congruent to the message, and a block beside it folded by 16 bytes in the same multiplications: one costs as much
/// as four.
///
/// # Safety
/// As of `run_wide`.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx512f,avx512vl,vpclmulqdq")]
#[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
pub(super) unsafe fn run_beside<P: Passage>(state: u32, passage: P, len: usize, beside: Option<__m128i>) -> (__m128i, __m128i) {
    let first = _mm512_zextsi128_si512(_mm_cvtsi32_si128(state as i32));
    // SAFETY: duty 1: at least 64 bytes.
    let mut z = _mm512_xor_si512(unsafe { passage.fresh(0) }, first);
    let mut at = WIDE;
    if len >= 4 * WIDE {
        // SAFETY: duty 1: at least 256 bytes.
        let mut z1 = unsafe { passage.wide(WIDE) };
        // SAFETY: as above.
        let mut z2 = unsafe { passage.wide(2 * WIDE) };
        // SAFETY: as above.
        let mut z3 = unsafe { passage.wide(3 * WIDE) };
        at = 4 * WIDE;
        while len - at >= 4 * WIDE {
            let by = four(FOLD_256, FOLD_256, FOLD_256, FOLD_256);
            // SAFETY: duty 1: 256 bytes more.
            z = fold_onto(z, by, unsafe { passage.wide(at) });
            // SAFETY: as above.
            z1 = fold_onto(z1, by, unsafe { passage.wide(at + WIDE) });
            // SAFETY: as above.
            z2 = fold_onto(z2, by, unsafe { passage.wide(at + 2 * WIDE) });
            let last = if len - at == 4 * WIDE {
                // SAFETY: as above.
                unsafe { passage.fresh(at + 3 * WIDE) }
            } else {
                // SAFETY: as above.
                unsafe { passage.wide(at + 3 * WIDE) }
            };
            z3 = fold_onto(z3, by, last);
            at += 4 * WIDE;
        }
        z = fold_onto(z, four(FOLD_192, FOLD_192, FOLD_192, FOLD_192), z3);
        z = fold_onto(z1, four(FOLD_128, FOLD_128, FOLD_128, FOLD_128), z);
        z = fold_onto(z2, four(FOLD_64, FOLD_64, FOLD_64, FOLD_64), z);
    }
    while len - at >= WIDE {
        // SAFETY: duty 1: 64 bytes more.
        z = fold_onto(z, four(FOLD_64, FOLD_64, FOLD_64, FOLD_64), unsafe { passage.fresh(at) });
        at += WIDE;
    }
    // The first three of its blocks onto the last, in whose place the block beside is.
    let last = _mm512_extracti32x4_epi32(z, 3);
    let (blocks, by) = match beside {
        Some(beside) => (_mm512_inserti32x4(z, beside, 3), four(FOLD_48, FOLD_32, FOLD_16, FOLD_16)),
        None => (z, four(FOLD_48, FOLD_32, FOLD_16, (0, 0))),
    };
    let folded = _mm512_xor_si512(_mm512_clmulepi64_epi128(blocks, by, 0x00), _mm512_clmulepi64_epi128(blocks, by, 0x11));
    let (low, high) = (_mm512_castsi512_si256(folded), _mm512_extracti64x4_epi64(folded, 1));
    let x = _mm_xor_si128(_mm_xor_si128(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)), _mm256_castsi256_si128(high));
    let x = _mm_xor_si128(x, last);
    // SAFETY: duty 1, and `at` bytes have passed.
    let x = unsafe { rest(x, passage, at, len) };
    (x, _mm256_extracti128_si256(high, 1))
}

/// [`halve`](super::blocks::halve) of two blocks at once.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,vpclmulqdq,pclmulqdq,sse4.1")]
pub(super) fn halve_both(a: __m128i, b: __m128i) -> (__m128i, __m128i) {
    let (fold16, fold4) = (_mm256_broadcastsi128_si256(pair(FOLD_16)), _mm256_broadcastsi128_si256(pair(FOLD_4)));
    let low32 = _mm256_set1_epi64x(0xFFFF_FFFF);
    let x = _mm256_set_m128i(b, a);
    let x = _mm256_xor_si256(_mm256_bsrli_epi128(x, 8), _mm256_clmulepi64_epi128(x, fold16, 0x10));
    let x = _mm256_xor_si256(_mm256_bsrli_epi128(x, 4), _mm256_clmulepi64_epi128(_mm256_and_si256(x, low32), fold4, 0x00));
    (_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1))
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn four(a: (i64, i64), b: (i64, i64), c: (i64, i64), d: (i64, i64)) -> __m512i {
    _mm512_set_epi64(d.1, d.0, c.1, c.0, b.1, b.0, a.1, a.0)
}

/// [`fold`] of four blocks, and `onto` added.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
pub(super) fn fold_onto(blocks: __m512i, by: __m512i, onto: __m512i) -> __m512i {
    const XOR: i32 = 0x96;
    _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(blocks, by, 0x00), _mm512_clmulepi64_epi128(blocks, by, 0x11), onto, XOR)
}
