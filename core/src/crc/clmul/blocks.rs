//! Folding by registers of one block.

use core::arch::x86_64::{
    __m128i, _mm_blendv_epi8, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_extract_epi32,
    _mm_loadu_si128, _mm_set_epi64x, _mm_shuffle_epi8, _mm_srli_si128, _mm_xor_si128,
};

use super::copy::Passage;

/// Bytes of a block, and of what wide registers hold: four.
pub(super) const BLOCK: usize = 16;
pub(super) const WIDE: usize = 4 * BLOCK;
pub(super) const HEADER: usize = crate::layout::GRANULE_BYTES;

/// x^(8·N + 32) and x^(8·N − 32) mod P, reflected: what folds a block N bytes on.
pub(super) const FOLD_12: (i64, i64) = (0x1_40D4_4A2E, 0x1_63CD_6124);
pub(super) const FOLD_16: (i64, i64) = (0x1_7519_97D0, 0x0_CCAA_009E);
pub(super) const FOLD_32: (i64, i64) = (0x0_F1DA_05AA, 0x1_5A54_6366);
pub(super) const FOLD_48: (i64, i64) = (0x0_3DB1_ECDC, 0x1_7435_9406);
pub(super) const FOLD_64: (i64, i64) = (0x1_5444_2BD4, 0x1_C6E4_1596);
pub(super) const FOLD_128: (i64, i64) = (0x1_E88E_F372, 0x1_4A7F_E880);
pub(super) const FOLD_192: (i64, i64) = (0x1_821D_8BC0, 0x1_2E95_8AC4);
pub(super) const FOLD_256: (i64, i64) = (0x1_1542_778A, 0x1_322D_1430);
/// From 96 bits to 32: P and floor(x^96 / P).
pub(super) const BARRETT: (i64, i64) = (0x1_DB71_0641, 0xB4E5_B025_F701_1641_u64.cast_signed());

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn pair((low, high): (i64, i64)) -> __m128i {
    _mm_set_epi64x(high, low)
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn fold(block: __m128i, by: __m128i) -> __m128i {
    _mm_xor_si128(_mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11))
}

/// The state that 16 bytes leave.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn reduce(x: __m128i) -> u32 {
    divide(shorten(x))
}

/// 96 bits that are congruent to 16 bytes with 32 zero bits behind them. What the last four bytes
/// add, they add to the second 32 bits.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn shorten(x: __m128i) -> __m128i {
    _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, pair(FOLD_16), 0x10))
}

/// The remainder of 96 bits. Barrett's reduction by a quotient of 64 bits, all of which the
/// remainder cancels.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_sign_loss, reason = "32 bits are 32 bits")]
pub(super) fn divide(x: __m128i) -> u32 {
    let barrett = pair(BARRETT);
    let quotient = _mm_clmulepi64_si128(x, barrett, 0x10);
    _mm_extract_epi32(_mm_xor_si128(x, _mm_clmulepi64_si128(quotient, barrett, 0x00)), 2) as u32
}

/// Byte i of the result of a shuffle by the 16 bytes from SHIFT[n]: byte n − 16 + i of the block,
/// or 0 where that is negative. From SHIFT[16 + n]: byte n + i, or 0 (and the top bit, for a blend)
/// beyond the block.
pub(super) static SHIFT: [u8; 3 * BLOCK] = {
    let mut shift = [0x80; 3 * BLOCK];
    let mut i = 0;
    while i < BLOCK {
        #[allow(clippy::cast_possible_truncation, reason = "below 16")]
        {
            shift[BLOCK + i] = i as u8;
        }
        i += 1;
    }
    shift
};

/// 16 bytes of SHIFT.
///
/// # Safety
/// 1. `at` is at most 32.
#[inline]
pub(super) unsafe fn shift(at: usize) -> __m128i {
    // SAFETY: duty 1.
    let from = unsafe { SHIFT.as_ptr().add(at) };
    // SAFETY: duty 1.
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// The state behind `len` bytes of a passage, all of which pass.
///
/// # Safety
/// 1. The passage may be asked for `len` bytes (its invariant).
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
pub(super) unsafe fn run<P: Passage>(state: u32, passage: P, len: usize) -> u32 {
    if len < BLOCK {
        // SAFETY: duty 1.
        return unsafe { few(state, passage, len) };
    }
    // SAFETY: duty 1: at least 16 bytes.
    let mut x = _mm_xor_si128(unsafe { passage.block(0) }, _mm_cvtsi32_si128(state as i32));
    let mut at = BLOCK;
    if len >= 4 * BLOCK {
        // SAFETY: duty 1: at least 64 bytes.
        let mut x1 = unsafe { passage.block(BLOCK) };
        // SAFETY: as above.
        let mut x2 = unsafe { passage.block(2 * BLOCK) };
        // SAFETY: as above.
        let mut x3 = unsafe { passage.block(3 * BLOCK) };
        at = 4 * BLOCK;
        while len - at >= 4 * BLOCK {
            let by = pair(FOLD_64);
            // SAFETY: duty 1: 64 bytes more.
            x = _mm_xor_si128(fold(x, by), unsafe { passage.block(at) });
            // SAFETY: as above.
            x1 = _mm_xor_si128(fold(x1, by), unsafe { passage.block(at + BLOCK) });
            // SAFETY: as above.
            x2 = _mm_xor_si128(fold(x2, by), unsafe { passage.block(at + 2 * BLOCK) });
            // SAFETY: as above.
            x3 = _mm_xor_si128(fold(x3, by), unsafe { passage.block(at + 3 * BLOCK) });
            at += 4 * BLOCK;
        }
        x = _mm_xor_si128(fold(x, pair(FOLD_48)), fold(x1, pair(FOLD_32)));
        x = _mm_xor_si128(x, _mm_xor_si128(fold(x2, pair(FOLD_16)), x3));
    }
    // SAFETY: duty 1, and `at` bytes have passed.
    reduce(unsafe { rest(x, passage, at, len) })
}

/// A block congruent to the message, of which what stands before `at` is congruent to `x`; the rest
/// passes.
///
/// # Safety
/// 1. As of `run`, and `at` is at most `len`.
/// 2. As of `run`.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn rest<P: Passage>(
    mut x: __m128i,
    passage: P,
    mut at: usize,
    len: usize,
) -> __m128i {
    while len - at >= BLOCK {
        // SAFETY: duty 1: 16 bytes more.
        x = _mm_xor_si128(fold(x, pair(FOLD_16)), unsafe { passage.block(at) });
        at += BLOCK;
    }
    let n = len - at;
    if n > 0 {
        // SAFETY: duty 1, and what is left is 1 to 15 bytes.
        let rest = unsafe { passage.rest(at, n) };
        // SAFETY: at most 15.
        let up = unsafe { shift(n) };
        // SAFETY: at most 31.
        let down = unsafe { shift(BLOCK + n) };
        // Zeros, then the first n bytes of x; the others, then the n new ones, which `up` moves to
        // the end.
        let first = _mm_shuffle_epi8(x, up);
        let second = _mm_blendv_epi8(_mm_shuffle_epi8(x, down), _mm_shuffle_epi8(rest, up), down);
        x = _mm_xor_si128(fold(first, pair(FOLD_16)), second);
    }
    x
}

/// [`run`] for less than a block.
///
/// # Safety
/// As of `run`.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
pub(super) unsafe fn few<P: Passage>(state: u32, passage: P, n: usize) -> u32 {
    if n == 0 {
        return state;
    }
    // SAFETY: duty 1, and 1 to 15 bytes.
    let x = _mm_xor_si128(unsafe { passage.rest(0, n) }, _mm_cvtsi32_si128(state as i32));
    // SAFETY: at most 15. Moved to the end of a block that begins with zeros, the bytes leave the
    // same state.
    let behind = reduce(_mm_shuffle_epi8(x, unsafe { shift(n) }));
    // Of less than four bytes, part of the old state is still to come.
    if n < 4 { behind ^ state >> (8 * n) } else { behind }
}
