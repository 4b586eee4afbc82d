//! The CRC path of an input: every one that the processor has gets its share of the inputs, in Rust
//! and in C. It does not come out of the input's decisions, which mean by every path the same.

use std::sync::atomic::{AtomicU32, Ordering};

use aqueduct_core::internals::{Crc, Path};

/// Bytes of the widest registers that the C side may use: `c/meanwhile.h` asks.
static C_WIDTH: AtomicU32 = AtomicU32::new(u32::MAX);

/// Called by `c/meanwhile.h`.
#[unsafe(no_mangle)]
extern "C" fn aqd_fuzz_crc_width() -> u32 {
    // ORDER(none): one thread stores and loads it, or replays whose paths do not matter.
    C_WIDTH.load(Ordering::Relaxed)
}

/// Takes the forced path back when it goes.
#[must_use]
pub struct Forced(());

impl Drop for Forced {
    fn drop(&mut self) {
        Path::force_here(None);
        // ORDER(none): as above.
        C_WIDTH.store(u32::MAX, Ordering::Relaxed);
    }
}

/// Forces a path of these bytes' choice on this thread, and one of its own choice on the C side.
pub fn force(bytes: &[u8]) -> Forced {
    const WIDTHS: [u32; 5] = [u32::MAX, 0, 8, 16, 32];
    let paths = || Path::ALL.into_iter().filter(|&path| Crc::by(path).is_some());
    let sum = bytes.iter().fold(bytes.len(), |sum, &byte| sum * 31 % 65_521 + usize::from(byte));
    Path::force_here(paths().nth(sum % paths().count()));
    // ORDER(none): as above.
    C_WIDTH.store(WIDTHS[sum / 8 % WIDTHS.len()], Ordering::Relaxed);
    Forced(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_this_processor_is_forced_by_some_input() {
        let mut left: Vec<Path> =
            Path::ALL.into_iter().filter(|&path| Crc::by(path).is_some()).collect();
        let mut widths = vec![u32::MAX, 0, 8, 16, 32];
        for byte in 0..=u8::MAX {
            let _forced = force(&[byte, 1]);
            left.retain(|&path| path != Crc::new().path());
            widths.retain(|&width| width != aqd_fuzz_crc_width());
        }
        assert!(left.is_empty() && widths.is_empty(), "{left:?}, {widths:?}");
        assert_eq!(aqd_fuzz_crc_width(), u32::MAX);
    }
}
