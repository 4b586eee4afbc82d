//! Folding by vectors of one block: PMULL and PMULL2, and EOR3 where there is SHA3.

use core::arch::aarch64::{
    uint64x2_t, vcombine_u64, vcreate_u64, vdupq_n_u64, veor3q_u64, veorq_u64, vgetq_lane_u64,
    vmull_high_p64, vmull_p64, vreinterpretq_p64_u64, vreinterpretq_u64_p128,
};

use super::constants::{Factors, LAST, Pair, TO_BLOCK, over};
use super::copy::Source;
use super::words::{state_from, step_two};

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;

/// Vectors that are folded independently of each other.
const FOLDED: usize = 8;

/// From how many bytes on vectors are used. Below, the CRC32 instructions take fewer and smaller
/// steps than setting out and adding up.
const FROM: usize = 2 * FOLDED * BLOCK;

#[inline]
#[target_feature(enable = "neon")]
#[allow(clippy::cast_sign_loss, reason = "64 bits are 64 bits")]
fn pair((low, high): Pair) -> uint64x2_t {
    vcombine_u64(vcreate_u64(low as u64), vcreate_u64(high as u64))
}

/// The two products of a block and its factors.
#[inline]
#[target_feature(enable = "neon,aes")]
fn products(block: uint64x2_t, by: uint64x2_t) -> (uint64x2_t, uint64x2_t) {
    let low = vmull_p64(vgetq_lane_u64::<0>(block), vgetq_lane_u64::<0>(by));
    let high = vmull_high_p64(vreinterpretq_p64_u64(block), vreinterpretq_p64_u64(by));
    (vreinterpretq_u64_p128(low), vreinterpretq_u64_p128(high))
}

/// Folds, and adds `onto`.
#[inline]
#[target_feature(enable = "neon,aes")]
fn fold_onto(block: uint64x2_t, by: uint64x2_t, onto: uint64x2_t) -> uint64x2_t {
    let (low, high) = products(block, by);
    veorq_u64(veorq_u64(low, onto), high)
}

/// [`fold_onto`] in an instruction less.
#[inline]
#[target_feature(enable = "neon,aes,sha3")]
fn fold_onto_by_eor3(block: uint64x2_t, by: uint64x2_t, onto: uint64x2_t) -> uint64x2_t {
    let (low, high) = products(block, by);
    veor3q_u64(low, high, onto)
}

impl Factors {
    /// That of the block with which the last `left` whole blocks begin.
    ///
    /// # Safety
    /// 1. `left` is 1 to [`LAST`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn one(&self, left: usize) -> uint64x2_t {
        // SAFETY: duty 1.
        pair(unsafe { *self.0.get_unchecked(LAST - left) })
    }
}

/// The kernel for one set of instructions.
macro_rules! states {
    ($features:literal, $fold_onto:ident, $state:ident) => {
        /// The state after `len` bytes, all of which pass.
        ///
        /// # Safety
        /// 1. The source may be asked for `len` bytes.
        /// 2. The processor has the instructions.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $state<S: Source>(state: u32, source: S, len: usize) -> u32 {
            if len < FROM {
                // SAFETY: duties 1 and 2.
                return unsafe { state_from(state, source, 0, len) };
            }
            let whole = len - len % BLOCK;
            let mut x = [vdupq_n_u64(0); FOLDED];
            for (i, x) in x.iter_mut().enumerate() {
                // SAFETY: duty 1: there are as many blocks as vectors, and more.
                *x = unsafe { source.block(i * BLOCK) };
            }
            x[0] = veorq_u64(x[0], pair((i64::from(state), 0)));
            let mut at = FOLDED * BLOCK;
            let by = pair(const { over(128) });
            while whole - at >= FOLDED * BLOCK {
                for (i, x) in x.iter_mut().enumerate() {
                    // SAFETY: duty 1: as many blocks more.
                    *x = $fold_onto(*x, by, unsafe { source.block(at + i * BLOCK) });
                }
                at += FOLDED * BLOCK;
            }
            let left = FOLDED + (whole - at) / BLOCK;
            let mut sum = vdupq_n_u64(0);
            for (i, x) in x.into_iter().enumerate() {
                // SAFETY: 1 to 15.
                sum = $fold_onto(x, unsafe { TO_BLOCK.one(left - i) }, sum);
            }
            while at < whole {
                // SAFETY: 1 to 7.
                let by = unsafe { TO_BLOCK.one((whole - at) / BLOCK) };
                // SAFETY: duty 1: a block more.
                sum = $fold_onto(unsafe { source.block(at) }, by, sum);
                at += BLOCK;
            }
            // A block in the place of the last one, after nothing but zeros.
            let state = step_two(0, [vgetq_lane_u64::<0>(sum), vgetq_lane_u64::<1>(sum)]);
            // SAFETY: duties 1 and 2, and the bytes before `at` have passed.
            unsafe { state_from(state, source, at, len) }
        }
    };
}

states!("neon,aes,crc", fold_onto, state_by_pmull);
states!("neon,aes,crc,sha3", fold_onto_by_eor3, state_by_eor3);
