//! The CRC32 instructions, eight bytes in one step.

use core::arch::aarch64::{__crc32b, __crc32d, __crc32h, __crc32w};

use super::copy::Source;

/// The state after eight more bytes.
#[inline]
#[target_feature(enable = "crc")]
pub(super) fn step(state: u32, word: u64) -> u32 {
    __crc32d(state, word)
}

/// The state after sixteen more bytes.
#[inline]
#[target_feature(enable = "crc")]
pub(super) fn step_two(state: u32, [first, second]: [u64; 2]) -> u32 {
    step(step(state, first), second)
}

/// The state after four more bytes.
#[inline]
#[target_feature(enable = "crc")]
pub(super) fn step_half(state: u32, half: u32) -> u32 {
    __crc32w(state, half)
}

/// The state after the bytes from `at` on, which pass one word after the other.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, was asked for all before `at`, which is at most
///    `len`, and a multiple of 8.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "crc")]
#[allow(clippy::cast_possible_truncation, reason = "the lowest bytes")]
pub(super) unsafe fn state_from<S: Source>(
    mut state: u32,
    source: S,
    mut at: usize,
    len: usize,
) -> u32 {
    while len - at >= 16 {
        // SAFETY: duty 1: 16 bytes more.
        state = step_two(state, unsafe { source.two(at) });
        at += 16;
    }
    if len - at >= 8 {
        // SAFETY: duty 1: 8 bytes more.
        state = step(state, unsafe { source.word(at) });
        at += 8;
    }
    let n = len - at;
    if n > 0 {
        // SAFETY: duty 1: the last 1 to 7 bytes.
        let mut tail = unsafe { source.tail(at, n) };
        if n & 4 != 0 {
            state = step_half(state, tail as u32);
            tail >>= 32;
        }
        if n & 2 != 0 {
            state = __crc32h(state, tail as u16);
            tail >>= 16;
        }
        if n & 1 != 0 {
            state = __crc32b(state, tail as u8);
        }
    }
    state
}
