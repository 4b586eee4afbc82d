//! By one word of state: what the CRC register holds.

#[cfg(all(target_os = "none", feature = "crc-hook"))]
use super::hook::update;
#[cfg(all(target_os = "none", feature = "crc-small", not(feature = "crc-hook")))]
use super::table::update_by_4_bits as update;
#[cfg(not(all(target_os = "none", any(feature = "crc-small", feature = "crc-hook"))))]
use super::table::update_by_8_bits as update;

/// A CRC under way: the register's state, the complement of the CRC.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "compiled for its tests"))]
pub(crate) struct Plain(u32);

#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "compiled for its tests"))]
impl Plain {
    /// Of no bytes yet.
    pub(crate) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// The same: there is one way only.
    pub(crate) const fn by_tables() -> Self {
        Self::new()
    }

    #[inline]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0 = update(self.0, bytes);
    }

    #[inline]
    pub(crate) const fn finalize(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crc::tests::{noise, oracle};

    #[test]
    fn pieces_make_the_whole_by_one_word_of_state() {
        let bytes = noise(41);
        for cut in 0..=bytes.len() {
            let mut crc = Plain::by_tables();
            crc.update(&bytes[..cut]);
            crc.update(&bytes[cut..]);
            assert_eq!(crc.finalize(), oracle(&bytes), "{cut}");
        }
    }
}
