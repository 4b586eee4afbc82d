//! Folding by registers of four blocks.

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi32_si128, _mm_unpackhi_epi32, _mm_xor_si128,
    _mm256_broadcastsi128_si256, _mm256_bsrli_epi128, _mm256_castsi256_si128,
    _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_maskz_xor_epi64,
    _mm256_permute4x64_epi64, _mm256_set_m128i, _mm256_ternarylogic_epi64, _mm256_xor_si256,
    _mm512_castsi256_si512, _mm512_castsi512_si256, _mm512_clmulepi64_epi128,
    _mm512_extracti32x4_epi32, _mm512_extracti64x4_epi64, _mm512_inserti32x4,
    _mm512_permutexvar_epi64, _mm512_set_epi64, _mm512_ternarylogic_epi64, _mm512_xor_si512,
    _mm512_zextsi128_si512,
};

use super::blocks::{
    BARRETT, FOLD_12, FOLD_16, FOLD_32, FOLD_48, FOLD_64, FOLD_128, FOLD_192, FOLD_256, WIDE, pair,
    reduce, rest,
};
use super::copy::Passage;

/// Of three, as the table of a ternary instruction.
const XOR: i32 = 0x96;

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

/// As [`run_wide`], but a block congruent to the message, and a block beside it folded by 16 bytes
/// in the same multiplications: one costs as much as four.
///
/// # Safety
/// As of `run_wide`.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx512f,avx512vl,vpclmulqdq")]
#[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
pub(super) unsafe fn run_beside<P: Passage>(
    state: u32,
    passage: P,
    len: usize,
    beside: Option<__m128i>,
) -> (__m128i, __m128i) {
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
        Some(beside) => {
            (_mm512_inserti32x4(z, beside, 3), four(FOLD_48, FOLD_32, FOLD_16, FOLD_16))
        }
        None => (z, four(FOLD_48, FOLD_32, FOLD_16, (0, 0))),
    };
    let folded = _mm512_xor_si512(
        _mm512_clmulepi64_epi128(blocks, by, 0x00),
        _mm512_clmulepi64_epi128(blocks, by, 0x11),
    );
    let (low, high) = (_mm512_castsi512_si256(folded), _mm512_extracti64x4_epi64(folded, 1));
    let x = _mm_xor_si128(
        _mm_xor_si128(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)),
        _mm256_castsi256_si128(high),
    );
    let x = _mm_xor_si128(x, last);
    // SAFETY: duty 1, and `at` bytes have passed.
    let x = unsafe { rest(x, passage, at, len) };
    (x, _mm256_extracti128_si256(high, 1))
}

/// The states that a payload and the header before it leave, in the lower eight bytes: of blocks
/// congruent to the payload, and to what the header's CRC covers, with all ones for the payload's.
/// The header's does not wait for that: the payload is folded on to where it stands.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,vpclmulqdq,pclmulqdq,sse4.1")]
pub(super) fn reduce_chained(payload: __m128i, header: __m128i) -> __m128i {
    // Payload, header, payload, and the payload with its halves exchanged, for only lower halves
    // are multiplied.
    let both = _mm256_set_m128i(header, payload);
    let blocks = _mm512_permutexvar_epi64(
        _mm512_set_epi64(0, 1, 1, 0, 3, 2, 1, 0),
        _mm512_castsi256_si512(both),
    );
    let by = four((FOLD_16.1, 0), (FOLD_16.1, 0), (FOLD_12.0, 0), (FOLD_12.1, 0));
    let products = _mm512_clmulepi64_epi128(blocks, by, 0x00);
    let on = _mm512_extracti64x4_epi64(products, 1);
    let on = _mm256_maskz_xor_epi64(0b1100, on, _mm256_permute4x64_epi64(on, 0b0100_1110));
    divide_both(_mm256_ternarylogic_epi64(
        _mm256_bsrli_epi128(both, 8),
        _mm512_castsi512_si256(products),
        on,
        XOR,
    ))
}

/// [`reduce`] of two blocks at once: two states in the lower eight bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,vpclmulqdq,pclmulqdq,sse4.1")]
pub(super) fn reduce_both(first: __m128i, second: __m128i) -> __m128i {
    let x = _mm256_set_m128i(second, first);
    let products = _mm256_clmulepi64_epi128(x, _mm256_broadcastsi128_si256(pair(FOLD_16)), 0x10);
    divide_both(_mm256_xor_si256(_mm256_bsrli_epi128(x, 8), products))
}

/// [`divide`](super::blocks::divide) of both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,vpclmulqdq,pclmulqdq,sse4.1")]
fn divide_both(x: __m256i) -> __m128i {
    let barrett = _mm256_broadcastsi128_si256(pair(BARRETT));
    let quotient = _mm256_clmulepi64_epi128(x, barrett, 0x10);
    let x = _mm256_xor_si256(x, _mm256_clmulepi64_epi128(quotient, barrett, 0x00));
    _mm_unpackhi_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1))
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
    _mm512_ternarylogic_epi64(
        _mm512_clmulepi64_epi128(blocks, by, 0x00),
        _mm512_clmulepi64_epi128(blocks, by, 0x11),
        onto,
        XOR,
    )
}
