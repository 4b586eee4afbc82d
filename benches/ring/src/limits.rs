//! What no ring can beat on this machine: one line going to and fro, copying, checking.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aqueduct_core::payload_crc;

/// Copies a buffer of this many bytes so many times.
pub fn copy(bytes: usize, times: u64) -> Duration {
    let (from, mut into) = (vec![0x5a_u8; bytes], vec![0_u8; bytes]);
    let start = Instant::now();
    for _ in 0..times {
        into.copy_from_slice(black_box(&from));
        black_box(&mut into);
    }
    start.elapsed()
}

/// Computes the CRC of this many bytes so many times, by the code that the core uses.
pub fn crc(bytes: usize, times: u64) -> Duration {
    let from = vec![0x5a_u8; bytes];
    let start = Instant::now();
    for _ in 0..times {
        black_box(payload_crc(black_box(&from)));
    }
    start.elapsed()
}
