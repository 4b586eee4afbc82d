//! Stands in for the CRC unit of a processor, which none of the emulated boards has: the shift
//! register itself, and a count of the bytes that went through it.

#![allow(clippy::disallowed_types, reason = "a private count, not shared bytes")]

use core::sync::atomic::{AtomicU32, Ordering};

static BYTES: AtomicU32 = AtomicU32::new(0);

aqueduct_core::crc32_hook!(update);

fn update(mut state: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        state ^= u32::from(byte);
        for _ in 0..8 {
            state = if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
        }
    }
    // ORDER(none): a count, and not every processor here can add to it atomically: what is lost
    // between the two accesses is a little of many.
    let before = BYTES.load(Ordering::Relaxed);
    // ORDER(none): as above.
    BYTES.store(before.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0)), Ordering::Relaxed);
    state
}

/// About how many bytes went through it.
pub fn bytes() -> u32 {
    // ORDER(none): a count.
    BYTES.load(Ordering::Relaxed)
}
