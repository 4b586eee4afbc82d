//! By a function of the firmware, for a processor with a CRC unit.

unsafe extern "Rust" {
    /// Defined by [`crc32_hook!`](crate::crc32_hook), which checks its type.
    safe fn _aqueduct_crc32_update(state: u32, bytes: &[u8]) -> u32;
}

#[inline]
pub(super) fn update(state: u32, bytes: &[u8]) -> u32 {
    _aqueduct_crc32_update(state, bytes)
}
