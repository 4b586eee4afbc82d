//! The names of `shared` for Miri, which knows no assembler: by the words that the processor
//! promises, so that it watches every address, and every race between them.

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x,
    _mm256_extracti128_si256, _mm256_set_m128i, _mm512_castsi256_si512, _mm512_castsi512_si256,
    _mm512_extracti64x4_epi64, _mm512_inserti64x4,
};
use core::sync::atomic::Ordering::Relaxed;

#[allow(clippy::disallowed_types, reason = "as the processor does it, for Miri only")]
type Word = core::sync::atomic::AtomicI64;

/// A shared word.
///
/// # Safety
/// 1. `at` is valid for 8 bytes, and aligned to them.
unsafe fn word<'a>(at: *const u8) -> &'a Word {
    // SAFETY: duty 1.
    unsafe { &*at.cast::<Word>() }
}

/// # Safety
/// As there.
#[target_feature(enable = "sse2")]
pub(super) unsafe fn by_eights<const VEX: bool>(from: *const u8) -> __m128i {
    // SAFETY: duty 1.
    let [low, high] = unsafe { from.cast::<[i64; 2]>().read_unaligned() };
    _mm_set_epi64x(high, low)
}

/// # Safety
/// As there.
#[target_feature(enable = "sse2")]
pub(super) unsafe fn load_shared<const VEX: bool>(from: *const u8) -> __m128i {
    // ORDER(payload): as there.
    // SAFETY: duty 1.
    let low = unsafe { word(from) }.load(Relaxed);
    // SAFETY: duty 1.
    let from = unsafe { from.add(8) };
    // SAFETY: duty 1.
    _mm_set_epi64x(unsafe { word(from) }.load(Relaxed), low)
}

/// # Safety
/// As there.
#[target_feature(enable = "sse4.1")]
pub(super) unsafe fn store_shared<const VEX: bool>(into: *mut u8, block: __m128i) {
    // SAFETY: duty 1.
    unsafe { store_shared_half::<VEX>(into, block) };
    // SAFETY: duty 1.
    let into = unsafe { into.add(8) };
    // ORDER(payload): as there.
    // SAFETY: duty 1.
    unsafe { word(into) }.store(_mm_extract_epi64(block, 1), Relaxed);
}

/// # Safety
/// As there.
#[target_feature(enable = "sse2")]
pub(super) unsafe fn store_shared_half<const VEX: bool>(into: *mut u8, block: __m128i) {
    // ORDER(payload): as there.
    // SAFETY: duty 1.
    unsafe { word(into) }.store(_mm_cvtsi128_si64(block), Relaxed);
}

/// # Safety
/// As there.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_shared_pair(from: *const u8) -> __m256i {
    // SAFETY: duty 1.
    let low = unsafe { load_shared::<true>(from) };
    // SAFETY: duty 1.
    let from = unsafe { from.add(16) };
    // SAFETY: duty 1.
    _mm256_set_m128i(unsafe { load_shared::<true>(from) }, low)
}

/// # Safety
/// As there.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store_shared_pair(into: *mut u8, pair: __m256i) {
    // SAFETY: duty 1.
    unsafe { store_shared::<true>(into, _mm256_extracti128_si256(pair, 0)) };
    // SAFETY: duty 1.
    let into = unsafe { into.add(16) };
    // SAFETY: duty 1.
    unsafe { store_shared::<true>(into, _mm256_extracti128_si256(pair, 1)) };
}

/// # Safety
/// As there.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_shared_wide(from: *const u8) -> __m512i {
    // SAFETY: duty 1.
    let low = unsafe { load_shared_pair(from) };
    // SAFETY: duty 1.
    let from = unsafe { from.add(32) };
    // SAFETY: duty 1.
    _mm512_inserti64x4(_mm512_castsi256_si512(low), unsafe { load_shared_pair(from) }, 1)
}

/// # Safety
/// As there.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_shared_wide(into: *mut u8, block: __m512i) {
    // SAFETY: duty 1.
    unsafe { store_shared_pair(into, _mm512_castsi512_si256(block)) };
    // SAFETY: duty 1.
    let into = unsafe { into.add(32) };
    // SAFETY: duty 1.
    unsafe { store_shared_pair(into, _mm512_extracti64x4_epi64(block, 1)) };
}
