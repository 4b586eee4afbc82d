//! Three lanes of CRC32 instructions: parts of a message that stand one after the other, each with
//! a state of its own, so that none waits for the others.

use super::copy::Source;
use super::words::{state_from, step_two};

/// The polynomial without its highest power, reflected.
const P: u32 = 0xEDB8_8320;

/// The product of two polynomials mod P, all reflected.
const fn product(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, 1_u32 << 31);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 1 { b >> 1 ^ P } else { b >> 1 };
        bit >>= 1;
    }
    product
}

/// Moves a state on over the bytes of a lane, as if they were zeros: by four bits of it at a time.
struct Lane {
    bytes: usize,
    moved: [[u32; 16]; 8],
}

impl Lane {
    /// Of 2^`exponent` bytes.
    const fn new(exponent: u32) -> Self {
        // x^8, squared for each factor of two.
        let (mut power, mut n) = (1 << 23, 0);
        while n < exponent {
            power = product(power, power);
            n += 1;
        }
        let mut moved = [[0; 16]; 8];
        let mut nibble = 0;
        while nibble < 8 {
            let mut value = 0;
            while value < 16 {
                moved[nibble][value as usize] = product(value << (4 * nibble), power);
                value += 1;
            }
            nibble += 1;
        }
        Self { bytes: 1 << exponent, moved }
    }

    #[inline]
    fn over(&self, state: u32) -> u32 {
        let part = |i: usize| self.moved[i][(state >> (4 * i)) as usize & 15];
        (part(0) ^ part(1) ^ part(2) ^ part(3)) ^ (part(4) ^ part(5) ^ part(6) ^ part(7))
    }
}

/// For long messages, where moving states on must not count.
static LONG: Lane = Lane::new(11);
/// For what they leave, and for messages of a kilobyte.
static SHORT: Lane = Lane::new(8);

/// The state after `len` bytes, all of which pass.
///
/// # Safety
/// 1. The source may be asked for `len` bytes.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "crc")]
pub(super) unsafe fn state<S: Source>(mut state: u32, source: S, len: usize) -> u32 {
    if len < 3 * SHORT.bytes {
        // SAFETY: duties 1 and 2.
        return unsafe { state_from(state, source, 0, len) };
    }
    let mut at = 0;
    for lane in [&LONG, &SHORT] {
        while len - at >= 3 * lane.bytes {
            // SAFETY: duties 1 and 2: so many bytes more.
            state = unsafe { three(state, source, at, lane) };
            at += 3 * lane.bytes;
        }
    }
    // SAFETY: duties 1 and 2, and the bytes before `at` have passed.
    unsafe { state_from(state, source, at, len) }
}

/// The state after three lanes, which begin at `at`.
///
/// # Safety
/// 1. The source may be asked for these bytes, and `at` is a multiple of 8.
/// 2. The processor has the instructions.
#[inline]
#[target_feature(enable = "crc")]
unsafe fn three<S: Source>(mut first: u32, source: S, at: usize, lane: &Lane) -> u32 {
    let (mut second, mut third) = (0, 0);
    let end = at + lane.bytes;
    let mut at = at;
    while at < end {
        // SAFETY: duty 1: 16 bytes of each lane.
        first = step_two(first, unsafe { source.two(at) });
        // SAFETY: as above.
        second = step_two(second, unsafe { source.two(at + lane.bytes) });
        // SAFETY: as above.
        third = step_two(third, unsafe { source.two(at + 2 * lane.bytes) });
        at += 16;
    }
    lane.over(lane.over(first) ^ second) ^ third
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_move_states_on_as_zeros_do() {
        for (lane, bytes) in [(&LONG, 2048), (&SHORT, 256)] {
            assert_eq!(lane.bytes, bytes);
            for bit in 0..32 {
                let mut state = 1_u32 << bit;
                for _ in 0..8 * bytes {
                    state = if state & 1 == 1 { state >> 1 ^ P } else { state >> 1 };
                }
                assert_eq!(lane.over(1 << bit), state, "bit {bit} over {bytes}");
            }
        }
    }
}
