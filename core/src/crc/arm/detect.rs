//! What the processor has: with `std` the operating system says it; without, the compiler, for the
//! registers that tell it are not to be read by everybody.

use super::Extension;

#[cfg(feature = "std")]
extern crate std;

/// Whether there is this feature.
macro_rules! there_is {
    ($feature:tt, $compiled:tt) => {{
        #[cfg(feature = "std")]
        let there = std::arch::is_aarch64_feature_detected!($feature);
        #[cfg(not(feature = "std"))]
        let there = cfg!(target_feature = $compiled);
        there
    }};
}

/// The most that there is, if anything.
pub(super) fn most() -> Option<Extension> {
    [Extension::Eor3, Extension::Pmull, Extension::Crc32].into_iter().find(|&each| has(each))
}

/// Whether there is this extension.
pub(super) fn has(extension: Extension) -> bool {
    let crc32 = there_is!("crc", "crc");
    // Rust's `aes` are AES and PMULL.
    let pmull = crc32 && there_is!("pmull", "aes") && there_is!("aes", "aes");
    match extension {
        Extension::Crc32 => crc32,
        Extension::Pmull => pmull,
        Extension::Eor3 => pmull && there_is!("sha3", "sha3"),
    }
}
