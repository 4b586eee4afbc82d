//! How single registers of record bytes are loaded and stored where other parties may be looking,
//! and the few bytes at the end of a message.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_and_si128, _mm_loadu_si128, _mm_set_epi64x,
};

use super::blocks::BLOCK;

/// Loads 16 private bytes by words: see
/// [`Source`](super::copy::Source).
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes.
#[inline]
pub(super) unsafe fn by_eights(from: *const u8) -> __m128i {
    let block;
    // SAFETY: duty 1. By assembler, because the compiler would make one load of it.
    unsafe {
        asm!("movq {block}, qword ptr [{from}]", "movhps {block}, qword ptr [{from} + 8]", block = out(xmm_reg) block, from = in(reg) from,
            options(nostack, preserves_flags, readonly, pure));
    }
    block
}

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

/// Loads 16 bytes that other parties may be storing into. By assembler, for to Rust a plain load
/// would be a data race; the processor takes the 8-byte words that [`Region`](crate::Region)
/// promises. Once: the compiler can neither drop nor repeat it.
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes.
#[inline]
pub(super) unsafe fn load_shared(from: *const u8) -> __m128i {
    let block;
    // ORDER(payload): Relaxed; the Acquire of `tail` (readers) or the fence after the copy
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
    // ORDER(payload): Relaxed; the Release of `tail` orders it before readers, the fence after
    // `oldest` after observers.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("movdqu [{into}], {block}", block = in(xmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// [`load_shared`] of 32 bytes.
///
/// # Safety
/// 1. `from` is valid for reads of 32 bytes.
/// 2. The processor has the instruction.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_shared_pair(from: *const u8) -> __m256i {
    let pair;
    // ORDER(payload): as above.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("vmovdqu {pair}, [{from}]", pair = out(ymm_reg) pair, from = in(reg) from, options(nostack, preserves_flags, readonly));
    };
    pair
}

/// [`store_shared`] of 32 bytes.
///
/// # Safety
/// 1. `into` is valid for writes of 32 bytes.
/// 2. The processor has the instruction.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store_shared_pair(into: *mut u8, pair: __m256i) {
    // ORDER(payload): as above.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("vmovdqu [{into}], {pair}", pair = in(ymm_reg) pair, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// [`load_shared`] of 64 bytes.
///
/// # Safety
/// 1. `from` is valid for reads of 64 bytes.
/// 2. The processor has the instruction.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_shared_wide(from: *const u8) -> __m512i {
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
pub(super) unsafe fn store_shared_wide(into: *mut u8, block: __m512i) {
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
pub(super) unsafe fn store_shared_half(into: *mut u8, block: __m128i) {
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
