//! How record bytes are loaded and stored where other parties may be looking, and the few bytes at
//! the end of a message.

use core::arch::aarch64::uint64x2_t;
use core::arch::asm;

/// Loads 16 bytes that other parties may be storing into. By assembler, for to Rust a plain load
/// would be a data race; the processor takes the 8-byte words that [`Region`](crate::Region)
/// promises. Once: the compiler can neither drop nor repeat it.
///
/// # Safety
/// 1. `from` is valid for reads of 16 bytes, and aligned to 8.
#[inline]
pub(super) unsafe fn load_shared(from: *const u8) -> uint64x2_t {
    let block;
    // ORDER(payload): Relaxed; the Acquire of `tail` (readers) or the fence after the copy
    // (observers) orders it.
    // SAFETY: duty 1.
    unsafe {
        asm!("ldr {block:q}, [{from}]", block = out(vreg) block, from = in(reg) from, options(nostack, preserves_flags, readonly));
    };
    block
}

/// Stores 16 bytes that other parties may be loading, as [`load_shared`].
///
/// # Safety
/// 1. `into` is valid for writes of 16 bytes, and aligned to 8.
#[inline]
pub(super) unsafe fn store_shared(into: *mut u8, block: uint64x2_t) {
    // ORDER(payload): Relaxed; the Release of `tail` orders it before readers, the fence after
    // `oldest` after observers.
    // SAFETY: duty 1.
    unsafe {
        asm!("str {block:q}, [{into}]", block = in(vreg) block, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// [`load_shared`] of two words.
///
/// # Safety
/// As there.
#[inline]
pub(super) unsafe fn load_shared_two(from: *const u8) -> [u64; 2] {
    let (first, second);
    // ORDER(payload): as above.
    // SAFETY: duty 1.
    unsafe {
        asm!("ldp {first}, {second}, [{from}]", first = out(reg) first, second = out(reg) second, from = in(reg) from,
            options(nostack, preserves_flags, readonly));
    };
    [first, second]
}

/// [`store_shared`] of two words.
///
/// # Safety
/// As there.
#[inline]
pub(super) unsafe fn store_shared_two(into: *mut u8, [first, second]: [u64; 2]) {
    // ORDER(payload): as above.
    // SAFETY: duty 1.
    unsafe {
        asm!("stp {first}, {second}, [{into}]", first = in(reg) first, second = in(reg) second, into = in(reg) into,
            options(nostack, preserves_flags));
    };
}

/// [`load_shared`] of a word.
///
/// # Safety
/// 1. `from` is valid for reads of 8 bytes, and aligned to 8.
#[inline]
pub(super) unsafe fn load_shared_word(from: *const u8) -> u64 {
    let word;
    // ORDER(payload): as above.
    // SAFETY: duty 1.
    unsafe {
        asm!("ldr {word}, [{from}]", word = out(reg) word, from = in(reg) from, options(nostack, preserves_flags, readonly));
    };
    word
}

/// [`store_shared`] of a word.
///
/// # Safety
/// 1. `into` is valid for writes of 8 bytes, and aligned to 8.
#[inline]
pub(super) unsafe fn store_shared_word(into: *mut u8, word: u64) {
    // ORDER(payload): as above.
    // SAFETY: duty 1.
    unsafe {
        asm!("str {word}, [{into}]", word = in(reg) word, into = in(reg) into, options(nostack, preserves_flags));
    };
}

/// Loads 1 to 7 private bytes by two overlapping loads, zeros after them. Not by way of a buffer,
/// which would have to be in the cache first.
///
/// # Safety
/// 1. `from` is valid for reads of `n` bytes.
/// 2. `n` is 1 to 7.
#[inline]
pub(super) unsafe fn load_few(from: *const u8, n: usize) -> u64 {
    macro_rules! by {
        ($part:ty) => {{
            let last = n - size_of::<$part>();
            // SAFETY: duty 1, and `n` is at least the part's size.
            let first = unsafe { from.cast::<$part>().read_unaligned() };
            // SAFETY: as above.
            let second = unsafe { from.add(last).cast::<$part>().read_unaligned() };
            u64::from(first) | u64::from(second) << (8 * last)
        }};
    }
    match n {
        4.. => by!(u32),
        2.. => by!(u16),
        _ => by!(u8),
    }
}

/// Stores the lowest 1 to 7 bytes of a word to private ones by two overlapping stores, where
/// `memcpy` would be a call.
///
/// # Safety
/// 1. `into` is valid for writes of `n` bytes.
/// 2. `n` is 1 to 7.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the lowest bytes")]
pub(super) unsafe fn store_few(into: *mut u8, word: u64, n: usize) {
    macro_rules! by {
        ($part:ty) => {{
            let last = n - size_of::<$part>();
            // SAFETY: duty 1, and `n` is at least the part's size.
            unsafe { into.cast::<$part>().write_unaligned(word as $part) };
            // SAFETY: as above.
            let into = unsafe { into.add(last) };
            // SAFETY: as above.
            unsafe { into.cast::<$part>().write_unaligned((word >> (8 * last)) as $part) };
        }};
    }
    match n {
        4.. => by!(u32),
        2.. => by!(u16),
        _ => by!(u8),
    }
}
