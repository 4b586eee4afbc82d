//! Long messages: half of the blocks move on by exclusive or alone, while the others are
//! multiplied.
//!
//! Folding waits for multiplications; adding and loading have units of their own. P divides
//! x^300 + x^155 + x^117 + x^89 + 1, so it divides the same polynomial of x^128, which is that one
//! squared seven times: a block is congruent to itself added to the blocks 145, 183, 211 and 300
//! after it. Each block takes up what the blocks so far before it became, and is done with; after
//! the last of them, 300 blocks take up what is left, and are multiplied. There is no multiple of P
//! with five terms of a lower degree, and those of four terms, from degree 3006 on, would need more
//! memory. Source of the method: Russell, "Chorba: A novel CRC32 implementation", 2024.

use core::arch::x86_64::{__m128i, _mm_setzero_si128};

use super::blocks::{BLOCK, add, fold, pair, starting, sum_four};
use super::constants::{Pair, over, over_power_of_two};
use super::copy::Source;

/// How many blocks after it a block is added to, to be congruent to itself.
const TAPS: [usize; 4] = [145, 183, 211, 300];

/// Blocks that pass in one go.
const GROUP: usize = 8;

/// Blocks that are kept, at least as many as the farthest tap is away: whole groups.
const WINDOW: usize = 304;

/// Bytes after those that move on, which take up what is left.
const REST: usize = WINDOW * BLOCK;

/// Both halves are a multiple of so many bytes.
const UNIT: usize = 1024;

/// Folds over one unit, two, four and so on.
const JUMPS: [Pair; 6] = {
    let mut jumps = [(0, 0); 6];
    let (mut n, mut exponent) = (0, UNIT.ilog2());
    while n < jumps.len() {
        jumps[n] = over_power_of_two(exponent);
        (n, exponent) = (n + 1, exponent + 1);
    }
    jumps
};

/// Units of a half, at most.
const MOST: usize = (1 << JUMPS.len()) - 1;

/// From how many bytes on it pays.
pub(super) const LONG: usize = 4 * BLOCK + REST + 12 * UNIT;

/// What became of the last blocks, by their number modulo [`WINDOW`]; the first group once more at
/// the end, so that every group that is looked up is in one piece.
#[repr(align(64))]
struct Window([__m128i; WINDOW + GROUP]);

impl Window {
    /// # Safety
    /// 1. `at` is below `WINDOW + GROUP`.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    unsafe fn get(&self, at: usize) -> __m128i {
        // SAFETY: duty 1.
        unsafe { *self.0.get_unchecked(at) }
    }

    /// Keeps what became of the block number `j` of the group at `at`.
    ///
    /// # Safety
    /// 1. `at + j` is below `WINDOW`.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    unsafe fn keep(&mut self, at: usize, j: usize, block: __m128i) {
        // SAFETY: duty 1.
        *unsafe { self.0.get_unchecked_mut(at + j) } = block;
    }

    /// Keeps the first group once more, if it is that which was kept.
    #[inline]
    fn mirror(&mut self, kept: usize) {
        if kept == 0 {
            self.0.copy_within(0..GROUP, WINDOW);
        }
    }

    /// What the block number `j` of a group takes up whose taps these are.
    ///
    /// # Safety
    /// 1. All are below `WINDOW`, and `j` below `GROUP`.
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    unsafe fn due(&self, taps: [usize; 4], j: usize) -> __m128i {
        // SAFETY: duty 1.
        let get = |at| unsafe { self.get(at + j) };
        let [first, second, third, fourth] = taps.map(get);
        add(add(first, second), add(third, fourth))
    }
}

/// Where the group after the one at `at` is.
#[inline]
const fn after(at: usize) -> usize {
    if at + GROUP == WINDOW { 0 } else { at + GROUP }
}

/// Where the taps of the group at `at` begin, which is below [`WINDOW`]; so are these.
#[inline]
fn taps(at: usize) -> [usize; 4] {
    TAPS.map(|tap| if at < tap { at + WINDOW - tap } else { at - tap })
}

/// [`sum_blocks`](super::blocks::sum_blocks) of a message of [`LONG`] bytes, at least.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and `len` is at least `LONG`.
/// 2. The processor has the instructions.
#[cold]
#[target_feature(enable = "pclmulqdq,sse4.1")]
pub(super) unsafe fn sum_long<S: Source>(state: u32, source: S, len: usize) -> __m128i {
    let block = |n: usize| {
        // SAFETY: duty 1: at least 64 bytes.
        unsafe { source.block(n * BLOCK) }
    };
    let mut x = [add(block(0), starting(state)), block(1), block(2), block(3)];
    let mut at = 4 * BLOCK;
    while len - at >= LONG - 4 * BLOCK {
        // SAFETY: duties 1 and 2; whole blocks have passed.
        at = unsafe { advance(&mut x, source, at, len) };
    }
    // SAFETY: duties 1 and 2, and the bytes before `at` have passed.
    unsafe { sum_four(x, source, at, len) }
}

/// Folds four registers, that of the block before `at` last, over as much of the message from there
/// on as pays, and gives where it goes on.
///
/// # Safety
/// 1. The source may be asked for `len` bytes, and was for all before `at`, a multiple of 16, which
///    is as far before `len` as 64 before [`LONG`], at least.
/// 2. The processor has the instructions.
#[target_feature(enable = "pclmulqdq,sse4.1")]
unsafe fn advance<S: Source>(
    registers: &mut [__m128i; 4],
    source: S,
    mut at: usize,
    len: usize,
) -> usize {
    let mut x = *registers;
    let (by, nothing) = (pair(const { over(64) }), _mm_setzero_si128());
    let units = ((len - at - REST) / (2 * UNIT)).min(MOST);
    let mut window = Window([nothing; WINDOW + GROUP]);
    let (mut kept, mut moving) = (0, at + units * UNIT);
    let half = moving;
    while at < half {
        let due = taps(kept);
        for j in 0..GROUP {
            // SAFETY: duty 1: before `half`, and so before `len`.
            let block = unsafe { source.block(at + j * BLOCK) };
            x[j % 4] = add(fold(x[j % 4], by), block);
            // SAFETY: duty 1: as far after `half` as the other is before it.
            let block = unsafe { source.block(moving + j * BLOCK) };
            // SAFETY: below `WINDOW`, and below `GROUP`.
            let block = add(block, unsafe { window.due(due, j) });
            // SAFETY: a group before `WINDOW`.
            unsafe { window.keep(kept, j, block) };
        }
        window.mirror(kept);
        kept = after(kept);
        at += GROUP * BLOCK;
        moving += GROUP * BLOCK;
    }
    at = moving;
    for (n, jump) in JUMPS.into_iter().enumerate() {
        if units >> n & 1 == 1 {
            x = x.map(|x| fold(x, pair(jump)));
        }
    }
    let rest = at + REST;
    while at < rest {
        let due = taps(kept);
        for j in 0..GROUP {
            // SAFETY: duty 1: `REST` bytes were left.
            let block = unsafe { source.block(at + j * BLOCK) };
            // SAFETY: below `WINDOW`, and below `GROUP`.
            let block = add(block, unsafe { window.due(due, j) });
            x[j % 4] = add(fold(x[j % 4], by), block);
            // SAFETY: a group before `WINDOW`.
            unsafe { window.keep(kept, j, nothing) };
        }
        window.mirror(kept);
        kept = after(kept);
        at += GROUP * BLOCK;
    }
    *registers = x;
    at
}
