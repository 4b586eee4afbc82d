//! How single registers of record bytes are loaded and stored where other parties may be looking.
//!
//! `VEX`: whether the kernel is one of AVX. Instructions on registers of 16 bytes have two
//! encodings, and the old one keeps what the upper half of a wider register holds: among AVX, that
//! takes some processors more than a hundred nanoseconds (an Intel Xeon with AVX-512 did).

use core::arch::asm;
use core::arch::x86_64::{__m128i, __m256i, __m512i};

/// Loads 16 private bytes by words: see
/// [`Source`](super::copy::Source).
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes.
/// 2. The processor has AVX if `VEX`.
#[inline]
pub(super) unsafe fn by_eights<const VEX: bool>(from: *const u8) -> __m128i {
    let block;
    if VEX {
        // SAFETY: duty 1, and duty 2. By assembler, because the compiler would make one load of it.
        unsafe {
            asm!("vmovq {block}, qword ptr [{from}]", "vmovhps {block}, {block}, qword ptr [{from} + 8]", block = out(xmm_reg) block, from = in(reg) from,
                options(nostack, preserves_flags, readonly, pure));
        }
        return block;
    }
    // SAFETY: as above.
    unsafe {
        asm!("movq {block}, qword ptr [{from}]", "movhps {block}, qword ptr [{from} + 8]", block = out(xmm_reg) block, from = in(reg) from,
            options(nostack, preserves_flags, readonly, pure));
    }
    block
}

/// Loads 16 bytes that other parties may be storing into. By assembler, for to Rust a plain load
/// would be a data race; the processor takes the 8-byte words that [`Region`](crate::Region)
/// promises. Once: the compiler can neither drop nor repeat it.
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes.
/// 2. The processor has AVX if `VEX`.
#[inline]
pub(super) unsafe fn load_shared<const VEX: bool>(from: *const u8) -> __m128i {
    let block;
    if VEX {
        // ORDER(payload): as below.
        // SAFETY: duties 1 and 2; any alignment.
        unsafe {
            asm!("vmovdqu {block}, [{from}]", block = out(xmm_reg) block, from = in(reg) from, options(nostack, preserves_flags, readonly));
        };
        return block;
    }
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
/// 2. The processor has AVX if `VEX`.
#[inline]
pub(super) unsafe fn store_shared<const VEX: bool>(into: *mut u8, block: __m128i) {
    if VEX {
        // ORDER(payload): as below.
        // SAFETY: duties 1 and 2; any alignment.
        unsafe {
            asm!("vmovdqu [{into}], {block}", block = in(xmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
        };
        return;
    }
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
/// 2. The processor has AVX if `VEX`.
#[inline]
pub(super) unsafe fn store_shared_half<const VEX: bool>(into: *mut u8, block: __m128i) {
    if VEX {
        // ORDER(payload): as below.
        // SAFETY: duties 1 and 2; any alignment.
        unsafe {
            asm!("vmovq [{into}], {block}", block = in(xmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
        };
        return;
    }
    // ORDER(payload): as above.
    // SAFETY: duty 1; any alignment.
    unsafe {
        asm!("movq [{into}], {block}", block = in(xmm_reg) block, into = in(reg) into, options(nostack, preserves_flags));
    };
}
