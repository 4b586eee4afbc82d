//! Folding by registers of four blocks: AVX-512 and VPCLMULQDQ.

use core::arch::x86_64::{
    __m128i, __m512i, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256,
    _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_clmulepi64_epi128,
    _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_setzero_si512, _mm512_ternarylogic_epi64,
    _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::blocks::{BLOCK, add, factors, finish, fold, pair, starting};
use super::constants::{Factors, over};
use super::copy::Source;
use super::pairs;

pub(super) use super::pairs::{divide_both, sum_two};

/// Bytes of a register.
pub(super) const WIDE: usize = 4 * BLOCK;

/// From how many bytes on it pays to begin with one block if stores are aligned then.
const ALIGN_FROM: usize = 8 * WIDE;

/// Of three, as the table of a ternary instruction.
const XOR: i32 = 0x96;

/// [`fold`] of four blocks, and `onto` added.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn fold_onto(blocks: __m512i, by: __m512i, onto: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64(
        _mm512_clmulepi64_epi128(blocks, by, 0x00),
        _mm512_clmulepi64_epi128(blocks, by, 0x11),
        onto,
        XOR,
    )
}

impl Factors {
    /// Those of the four blocks with which the last `left` whole blocks begin.
    ///
    /// # Safety
    /// 1. `left` is 4 to [`LAST`](super::constants::LAST).
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn four(&self, left: usize) -> __m512i {
        // SAFETY: duty 1.
        let at = unsafe { self.of_last(left) };
        // SAFETY: duty 1: four at least.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
}

/// [`sum_blocks`](super::blocks::sum_blocks) of at least 64 bytes.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and `len` is at least 64.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,avx512f,avx512vl,vpclmulqdq")]
#[allow(improper_ctypes_definitions, reason = "called from here only; see `sum_blocks`")]
unsafe extern "sysv64" fn sum_wide<S: Source>(state: u32, source: S, len: usize) -> __m128i {
    let factors = factors(len % BLOCK);
    let (mut x, mut at) = (starting(state), 0);
    if len >= ALIGN_FROM && source.begins_with_a_block() {
        // SAFETY: duty 1: at least 16 bytes.
        x = fold(add(x, unsafe { source.fresh_block(0) }), pair(const { over(16) }));
        at = BLOCK;
    }
    // SAFETY: duty 1: at least 64 bytes from there.
    let first = unsafe { source.fresh_wide(at) };
    let first = _mm512_xor_si512(first, _mm512_zextsi128_si512(x));
    at += WIDE;
    let mut z;
    if len - at >= 3 * WIDE {
        let mut z0 = first;
        // SAFETY: duty 1: at least 192 bytes from there.
        let mut z1 = unsafe { source.wide(at) };
        // SAFETY: as above.
        let mut z2 = unsafe { source.wide(at + WIDE) };
        // SAFETY: as above.
        let mut z3 = unsafe { source.fresh_wide(at + 2 * WIDE) };
        at += 3 * WIDE;
        let by = _mm512_broadcast_i32x4(pair(const { over(256) }));
        while len - at >= 4 * WIDE {
            // SAFETY: duty 1: 256 bytes more.
            z0 = fold_onto(z0, by, unsafe { source.wide(at) });
            // SAFETY: as above.
            z1 = fold_onto(z1, by, unsafe { source.wide(at + WIDE) });
            // SAFETY: as above.
            z2 = fold_onto(z2, by, unsafe { source.wide(at + 2 * WIDE) });
            let last = if len - at == 4 * WIDE {
                // SAFETY: as above.
                unsafe { source.fresh_wide(at + 3 * WIDE) }
            } else {
                // SAFETY: as above.
                unsafe { source.wide(at + 3 * WIDE) }
            };
            z3 = fold_onto(z3, by, last);
            at += 4 * WIDE;
        }
        let left = 16 + (len - at) / BLOCK;
        // SAFETY: 16 to 31.
        z = fold_onto(z0, unsafe { factors.four(left) }, _mm512_setzero_si512());
        // SAFETY: four less.
        z = fold_onto(z1, unsafe { factors.four(left - 4) }, z);
        // SAFETY: eight less.
        let y = fold_onto(z2, unsafe { factors.four(left - 8) }, z);
        // SAFETY: twelve less.
        z = fold_onto(z3, unsafe { factors.four(left - 12) }, y);
    } else {
        // SAFETY: 4 to 15.
        let by = unsafe { factors.four(4 + (len - at) / BLOCK) };
        z = fold_onto(first, by, _mm512_setzero_si512());
    }
    while len - at >= WIDE {
        // SAFETY: 4 to 15.
        let by = unsafe { factors.four((len - at) / BLOCK) };
        // SAFETY: duty 1: 64 bytes more.
        z = fold_onto(unsafe { source.fresh_wide(at) }, by, z);
        at += WIDE;
    }
    let y = _mm256_xor_si256(_mm512_castsi512_si256(z), _mm512_extracti64x4_epi64(z, 1));
    let mut x = add(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    while len - at >= BLOCK {
        // SAFETY: 1 to 3.
        let by = unsafe { factors.one((len - at) / BLOCK) };
        // SAFETY: duty 1: 16 bytes more.
        x = add(x, fold(unsafe { source.fresh_block(at) }, by));
        at += BLOCK;
    }
    // SAFETY: duty 1, and the bytes before `at` have passed.
    unsafe { finish(x, source, at, len - at) }
}

/// [`sum`](super::blocks::sum) with wider registers.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1,avx2,avx512f,avx512vl,vpclmulqdq")]
pub(super) unsafe fn sum<S: Source>(state: u32, source: S, len: usize) -> __m128i {
    if len >= WIDE {
        // SAFETY: duties 1 and 2, and at least 64 bytes.
        unsafe { sum_wide(state, source, len) }
    } else {
        // SAFETY: duties 1 and 2.
        unsafe { pairs::sum(state, source, len) }
    }
}
