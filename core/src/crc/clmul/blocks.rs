//! Folding by registers of one block: PCLMULQDQ.

use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_extract_epi32, _mm_loadu_si128,
    _mm_set_epi64x, _mm_srli_si128, _mm_xor_si128,
};

use super::constants::{BARRETT, Factors, LAST, Pair, TAIL, TO_BLOCK, TO_SUM, over};
use super::copy::Source;

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn pair((low, high): Pair) -> __m128i {
    _mm_set_epi64x(high, low)
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn add(a: __m128i, b: __m128i) -> __m128i {
    _mm_xor_si128(a, b)
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn fold(block: __m128i, by: __m128i) -> __m128i {
    add(_mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11))
}

/// The state that a message leaves, from its *sum*: 96 bits that are congruent to the message and
/// 4 zero bytes. What the last four bytes add, they add to its second 32 bits. Barrett's reduction
/// by a quotient of 64 bits, all of which the remainder cancels.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_sign_loss, reason = "32 bits are 32 bits")]
pub(super) fn divide(sum: __m128i) -> u32 {
    let barrett = pair(BARRETT);
    let quotient = _mm_clmulepi64_si128(sum, barrett, 0x10);
    _mm_extract_epi32(add(sum, _mm_clmulepi64_si128(quotient, barrett, 0x00)), 2) as u32
}

/// The sum of 16 bytes: a multiplication less than folding them.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn shorten(block: __m128i) -> __m128i {
    add(_mm_srli_si128(block, 8), _mm_clmulepi64_si128(block, pair(const { over(16) }), 0x10))
}

/// The sum of a message of two blocks.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn sum_two(first: __m128i, second: __m128i) -> __m128i {
    shorten(add(fold(first, pair(const { over(16) })), second))
}

/// [`divide`] of two sums; the first state in the lower half.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) fn divide_both(first: __m128i, second: __m128i) -> u64 {
    u64::from(divide(first)) | u64::from(divide(second)) << 32
}

/// A block that begins with this state.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(clippy::cast_possible_wrap, reason = "32 bits are 32 bits")]
pub(super) fn starting(state: u32) -> __m128i {
    _mm_cvtsi32_si128(state as i32)
}

/// The factors of the whole blocks of a message with `tail` bytes after them.
#[inline]
pub(super) fn factors(tail: usize) -> &'static Factors {
    if tail == 0 { &TO_SUM } else { &TO_BLOCK }
}

impl Factors {
    /// Where those of the last `left` whole blocks begin.
    ///
    /// # Safety
    /// 1. `left` is at most [`LAST`].
    #[inline]
    pub(super) unsafe fn of_last(&self, left: usize) -> *const Pair {
        // SAFETY: duty 1.
        unsafe { self.0.as_ptr().add(LAST - left) }
    }

    /// That of the block with which the last `left` whole blocks begin.
    ///
    /// # Safety
    /// 1. `left` is 1 to [`LAST`].
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    pub(super) unsafe fn one(&self, left: usize) -> __m128i {
        // SAFETY: duty 1.
        let at = unsafe { self.of_last(left) };
        // SAFETY: duty 1: one at least.
        unsafe { _mm_loadu_si128(at.cast()) }
    }
}

/// The sum of a message of which whole blocks were folded to `x`, by [`factors`]; its last `n`
/// bytes, less than a block, are at `at`.
///
/// # Safety
/// 1. The source may be asked for `at + n` bytes, and was asked for all before `at`.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn finish<S: Source>(x: __m128i, source: S, at: usize, n: usize) -> __m128i {
    if n == 0 {
        return x;
    }
    let [before, last] = TAIL[n % BLOCK];
    // SAFETY: duty 1, and 1 to 15 bytes.
    let tail = unsafe { source.tail(at, n) };
    add(fold(x, pair(before)), fold(tail, pair(last)))
}

/// The sum of a message of `n` bytes, less than a block.
///
/// # Safety
/// 1. The source may be asked for `n` bytes.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn sum_short<S: Source>(state: u32, source: S, n: usize) -> __m128i {
    let mut x = starting(state);
    if n > 0 {
        // SAFETY: duty 1, and 1 to 15 bytes.
        x = add(x, unsafe { source.tail(0, n) });
    }
    // Zeros fill the block; with no byte at all it is all zeros, to be divided out like others.
    fold(x, pair(TAIL[n % BLOCK][1]))
}

/// The sum of a message of at least a block.
///
/// By an ABI that returns vectors in registers: this is too long to be inlined everywhere, and
/// Rust's own returns them by way of memory, a store and a load that both checksums would wait for.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and `len` is at least 16.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
#[allow(improper_ctypes_definitions, reason = "called from here only")]
pub(super) unsafe extern "sysv64" fn sum_blocks<S: Source>(
    state: u32,
    source: S,
    len: usize,
) -> __m128i {
    // SAFETY: duty 1: at least 16 bytes.
    let first = add(unsafe { source.fresh_block(0) }, starting(state));
    if len < 4 * BLOCK {
        let by = (len >= 2 * BLOCK).then(|| {
            // SAFETY: 2 or 3.
            unsafe { TO_BLOCK.one(len / BLOCK) }
        });
        let x = by.map_or(first, |by| fold(first, by));
        // SAFETY: duties 1 and 2, and the first block has passed.
        return unsafe { sum_last(x, source, BLOCK, len) };
    }
    // SAFETY: duty 1: at least 64 bytes.
    let second = unsafe { source.block(BLOCK) };
    // SAFETY: as above.
    let third = unsafe { source.block(2 * BLOCK) };
    // SAFETY: as above.
    let x = [first, second, third, unsafe { source.fresh_block(3 * BLOCK) }];
    // SAFETY: duties 1 and 2, and 64 bytes have passed.
    unsafe { sum_four(x, source, 4 * BLOCK, len) }
}

/// The sum of a message of which whole blocks were folded to four registers, those before `at`.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and was asked for all before `at`.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn sum_four<S: Source>(
    [mut x0, mut x1, mut x2, mut x3]: [__m128i; 4],
    source: S,
    mut at: usize,
    len: usize,
) -> __m128i {
    while len - at >= 4 * BLOCK {
        let by = pair(const { over(64) });
        // SAFETY: duty 1: 64 bytes more.
        x0 = add(fold(x0, by), unsafe { source.block(at) });
        // SAFETY: as above.
        x1 = add(fold(x1, by), unsafe { source.block(at + BLOCK) });
        // SAFETY: as above.
        x2 = add(fold(x2, by), unsafe { source.block(at + 2 * BLOCK) });
        let last = if len - at == 4 * BLOCK {
            // SAFETY: as above.
            unsafe { source.fresh_block(at + 3 * BLOCK) }
        } else {
            // SAFETY: as above.
            unsafe { source.block(at + 3 * BLOCK) }
        };
        x3 = add(fold(x3, by), last);
        at += 4 * BLOCK;
    }
    let left = 4 + (len - at) / BLOCK;
    // SAFETY: 4 to 7.
    let mut x = fold(x0, unsafe { TO_BLOCK.one(left) });
    // SAFETY: one less.
    x = add(x, fold(x1, unsafe { TO_BLOCK.one(left - 1) }));
    // SAFETY: two less.
    x = add(x, fold(x2, unsafe { TO_BLOCK.one(left - 2) }));
    // SAFETY: three less.
    let last = if left == 4 { x3 } else { fold(x3, unsafe { TO_BLOCK.one(left - 3) }) };
    x = add(x, last);
    // SAFETY: duties 1 and 2, and the bytes before `at` have passed.
    unsafe { sum_last(x, source, at, len) }
}

/// The sum of a message of which whole blocks were folded to `x`, in the place of its last one;
/// fewer than 64 bytes are left.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and was asked for all before `at`, a multiple of 16.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
unsafe fn sum_last<S: Source>(mut x: __m128i, source: S, mut at: usize, len: usize) -> __m128i {
    while len - at >= 2 * BLOCK {
        // SAFETY: 2 or 3.
        let by = unsafe { TO_BLOCK.one((len - at) / BLOCK) };
        // SAFETY: duty 1: 16 bytes more.
        x = add(x, fold(unsafe { source.fresh_block(at) }, by));
        at += BLOCK;
    }
    if len - at >= BLOCK {
        // In its place already.
        // SAFETY: duty 1: 16 bytes more.
        x = add(x, unsafe { source.fresh_block(at) });
        at += BLOCK;
    }
    if at == len {
        return shorten(x);
    }
    // SAFETY: duty 1, and the bytes before `at` have passed.
    unsafe { finish(x, source, at, len - at) }
}

/// The sum of a message from a `state`, all of whose bytes pass.
///
/// # Safety
/// 1. The source may be asked for `len` bytes (its invariant).
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn sum<S: Source>(state: u32, source: S, len: usize) -> __m128i {
    if len < BLOCK {
        // SAFETY: duties 1 and 2.
        unsafe { sum_short(state, source, len) }
    } else {
        // SAFETY: duties 1 and 2.
        unsafe { sum_blocks(state, source, len) }
    }
}
