//! Turns an input's bytes into decisions, front to back; an input that has ended goes on as zeros.

use arbitrary::Unstructured;

/// The rest of an input.
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// The same decisions once more, for a second party.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self::new(self.0.peek_bytes(self.0.len()).unwrap_or_default())
    }

    /// The next `n` bytes, or all that are left.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        self.0.bytes(n.min(self.0.len())).unwrap_or_default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub fn u32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub fn u64(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// One byte's worth of choice below `n`, which is at most 256.
    pub fn below(&mut self, n: u32) -> u32 {
        u32::from(self.u8()) % n.max(1)
    }

    /// As `below`, for an index.
    pub fn index(&mut self, n: usize) -> usize {
        usize::from(self.u16()) % n.max(1)
    }

    /// A small step forward or back, as something to add to a wrapping word.
    pub fn step(&mut self) -> u32 {
        i32::from(self.u8().cast_signed()).cast_unsigned()
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}
