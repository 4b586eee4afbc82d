//! Tables small enough for a microcontroller: 256 words, 1 KiB, a byte at a time; or 16 words, 64
//! bytes, half a byte at a time. Both load the message by words.
//!
//! Eight tables of 1 KiB, as libraries have, pay where loads are free and flash is not counted.

/// What the register holds after `bits` zero bits.
const fn step(mut state: u32, bits: u32) -> u32 {
    let mut bit = 0;
    while bit < bits {
        state = if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
        bit += 1;
    }
    state
}

/// The state that each value of the lowest `bits` bits leads to.
#[allow(clippy::cast_possible_truncation, reason = "at most 256")]
const fn table<const WORDS: usize>(bits: u32) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    let mut value = 0;
    while value < WORDS {
        words[value] = step(value as u32, bits);
        value += 1;
    }
    words
}

static BY_8_BITS: [u32; 256] = table(8);
static BY_4_BITS: [u32; 16] = table(4);

#[inline(always)]
#[allow(clippy::inline_always, reason = "two instructions and a load, four times in a loop")]
const fn byte_by_8_bits(state: u32) -> u32 {
    state >> 8 ^ BY_8_BITS[(state & 255) as usize]
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "as above, eight times")]
const fn byte_by_4_bits(state: u32) -> u32 {
    let state = state >> 4 ^ BY_4_BITS[(state & 15) as usize];
    state >> 4 ^ BY_4_BITS[(state & 15) as usize]
}

/// Appends bytes, whole words as words where they are aligned; `byte` does one byte of the state.
#[inline(always)]
#[allow(clippy::inline_always, reason = "one of its two users is linked")]
fn update(mut state: u32, bytes: &[u8], byte: impl Fn(u32) -> u32) -> u32 {
    let (before, words, after) = bytemuck::pod_align_to::<u8, u32>(bytes);
    for &one in before {
        state = byte(state ^ u32::from(one));
    }
    for &word in words {
        state = byte(byte(byte(byte(state ^ u32::from_le(word)))));
    }
    for &one in after {
        state = byte(state ^ u32::from(one));
    }
    state
}

/// Appends bytes to a state by the table of 1 KiB.
#[cfg_attr(feature = "crc-small", allow(dead_code, reason = "the other one was chosen"))]
#[inline(never)]
pub(super) fn update_by_8_bits(state: u32, bytes: &[u8]) -> u32 {
    update(state, bytes, byte_by_8_bits)
}

/// Appends bytes to a state by the table of 64 bytes.
#[cfg_attr(not(feature = "crc-small"), allow(dead_code, reason = "the other one was chosen"))]
#[inline(never)]
pub(super) fn update_by_4_bits(state: u32, bytes: &[u8]) -> u32 {
    update(state, bytes, byte_by_4_bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crc::tests::{MOST, noise, oracle};

    #[test]
    fn both_tables_agree_with_the_definition_at_every_length_and_alignment() {
        let bytes = noise(MOST + 8);
        for from in 0..if cfg!(miri) { 2 } else { 8 } {
            for len in (0..MOST.min(140)).chain([MOST]) {
                let piece = &bytes[from..from + len];
                for update in [update_by_8_bits, update_by_4_bits] {
                    assert_eq!(!update(u32::MAX, piece), oracle(piece), "{len} bytes from {from}");
                }
            }
        }
        assert_eq!(!update_by_4_bits(u32::MAX, b"123456789"), 0xCBF4_3926);
    }
}
