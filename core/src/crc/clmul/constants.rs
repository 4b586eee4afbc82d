//! What blocks are multiplied by, computed by the compiler.

use super::blocks::BLOCK;

/// Multiplies the two halves of a block, lower half first.
pub(super) type Pair = (i64, i64);

/// The polynomial without its highest power, reflected.
const P: u32 = 0xEDB8_8320;

/// P and floor(x^96 / P), reflected: from 96 bits to 32.
pub(super) const BARRETT: Pair = (0x1_DB71_0641, 0xB4E5_B025_F701_1641_u64.cast_signed());

/// x^exponent mod P, reflected and one bit on, as a product of reflected factors wants it. The
/// exponent may be negative: P has a constant term, so x has an inverse.
const fn power(exponent: i32) -> i64 {
    let mut power = 1_u32 << 31;
    let mut n = 0;
    while n < exponent {
        power = if power & 1 == 1 { power >> 1 ^ P } else { power >> 1 };
        n += 1;
    }
    while n > exponent {
        power = if power >> 31 == 1 { (power ^ P) << 1 | 1 } else { power << 1 };
        n -= 1;
    }
    (power as i64) << 1
}

/// Multiplies a block into 96 bits, the first of a block congruent to what it is that many bytes
/// before that. Read as a number they are congruent to the block followed by 4 zero bytes if it is
/// folded over 8 bytes more than it stands before the end of the message.
pub(super) const fn over(bytes: i32) -> Pair {
    (power(8 * bytes + 32), power(8 * bytes - 32))
}

/// The product of two powers, as [`power`] gives them.
const fn times(a: i64, b: i64) -> i64 {
    let (mut a, b) = (a >> 1, b >> 1);
    let (mut product, mut bit) = (0, 1 << 31);
    while bit > 0 {
        if b & bit != 0 {
            product ^= a;
        }
        a = if a & 1 == 1 { a >> 1 ^ P as i64 } else { a >> 1 };
        bit >>= 1;
    }
    product << 1
}

/// [`over`] of 2^`exponent` bytes, which may be many.
pub(super) const fn over_power_of_two(exponent: u32) -> Pair {
    let mut power_of_two = power(8);
    let mut n = 0;
    while n < exponent {
        power_of_two = times(power_of_two, power_of_two);
        n += 1;
    }
    (times(power_of_two, power(32)), times(power_of_two, power(-32)))
}

/// x^64 mod P: multiplies the first 64 bits of a sum that stands 4 bytes on.
pub(super) const OVER_FOUR: Pair = (power(64), 0);

/// How many blocks are multiplied at once at the end of a message: four registers of four, three
/// registers of four, and three blocks.
pub(super) const LAST: usize = 31;

/// The factors of the last [`LAST`] blocks of a message, the last one's at the end.
#[repr(align(64))]
pub(super) struct Factors(pub(super) [Pair; LAST]);

/// Over as many bytes as follow a block in its message and `more`.
const fn factors<const N: usize>(more: i32) -> [Pair; N] {
    let mut factors = [(0, 0); N];
    let (mut at, mut bytes) = (N, more);
    while at > 0 {
        at -= 1;
        factors[at] = over(bytes);
        bytes += 16;
    }
    factors
}

/// To a sum (see [`divide`](super::blocks::divide)).
pub(super) static TO_SUM: Factors = Factors(factors(8));

/// To a block that stands in the place of the last one.
pub(super) static TO_BLOCK: Factors = Factors(factors(0));

/// By the number of bytes in the last block of a message, which zeros fill up: of the block before
/// it, and its own, to a sum. What the zeros would add is divided out again.
pub(super) static TAIL: [[Pair; 2]; BLOCK] = {
    let mut tail = [[(0, 0); 2]; BLOCK];
    let (mut n, mut more) = (0, -8);
    while n < BLOCK {
        tail[n] = factors(more);
        n += 1;
        more += 1;
    }
    tail
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_literature() {
        assert_eq!(over(16), (0x1_7519_97D0, 0x0_CCAA_009E));
        assert_eq!(over(64), (0x1_5444_2BD4, 0x1_C6E4_1596));
        assert_eq!(over(256), (0x1_1542_778A, 0x1_322D_1430));
    }

    #[test]
    fn many_bytes_are_squared_as_few_are_counted() {
        for exponent in 0..12 {
            assert_eq!(over_power_of_two(exponent), over(1 << exponent), "{exponent}");
        }
    }

    #[test]
    fn negative_powers_are_inverses() {
        let times_x = |power: i64| {
            let power = u32::try_from(power >> 1).expect("32 bits");
            i64::from(if power & 1 == 1 { power >> 1 ^ P } else { power >> 1 }) << 1
        };
        assert_eq!(power(0), 1 << 32);
        for exponent in -100..100 {
            assert_eq!(times_x(power(exponent)), power(exponent + 1), "{exponent}");
        }
    }
}
