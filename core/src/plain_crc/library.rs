//! By the library crc32fast.

/// A CRC under way.
#[derive(Clone, Debug)]
pub(crate) struct Plain(crc32fast::Hasher);

impl Plain {
    /// Of no bytes yet, by the best that the library has.
    pub(crate) fn new() -> Self {
        Self(crc32fast::Hasher::new())
    }

    /// Of no bytes yet, by the library's tables.
    pub(crate) fn by_tables() -> Self {
        Self(crc32fast::Hasher::internal_new_baseline(0, 0))
    }

    #[inline]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[inline]
    pub(crate) fn finalize(self) -> u32 {
        self.0.finalize()
    }
}
