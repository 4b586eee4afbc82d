//! The few private bytes at the end of a message.

use core::arch::x86_64::{__m128i, _mm_and_si128, _mm_loadu_si128, _mm_set_epi64x};

use super::blocks::BLOCK;

/// Loads 1 to 15 private bytes by two overlapping words, zeros after them. Not by way of a buffer,
/// which would have to be in the cache first.
///
/// # Safety
/// 1. `from` is valid for reads of `n` bytes.
/// 2. `n` is 1 to 15.
#[inline]
#[target_feature(enable = "sse2")]
#[allow(clippy::cast_possible_wrap, reason = "64 bits are 64 bits")]
pub(super) unsafe fn load_few(from: *const u8, n: usize) -> __m128i {
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

/// Copies 1 to 15 private bytes by two overlapping words, where `memcpy` would be a call.
///
/// # Safety
/// 1. `from` is valid for reads and `into` for writes of `n` bytes, and they do not overlap.
/// 2. `n` is 1 to 15.
#[inline]
pub(super) unsafe fn copy_few(from: *const u8, into: *mut u8, n: usize) {
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

/// Ones, then zeros: from `16 - n` on, ones for `n` bytes of a block.
static ONES: [u8; 2 * BLOCK] = {
    let mut ones = [0; 2 * BLOCK];
    let mut i = 0;
    while i < BLOCK {
        ones[i] = 0xff;
        i += 1;
    }
    ones
};

/// The first `n` bytes of a block, zeros after them.
///
/// # Safety
/// 1. `n` is at most 16.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) unsafe fn first_bytes(block: __m128i, n: usize) -> __m128i {
    // SAFETY: duty 1.
    let ones = unsafe { ONES.as_ptr().add(BLOCK - n) };
    // SAFETY: duty 1: 16 bytes from at most the middle.
    _mm_and_si128(block, unsafe { _mm_loadu_si128(ones.cast()) })
}
