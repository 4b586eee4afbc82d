//! A bound for bodies as they arrive.

use crate::middleware::Unit;

/// Refuses bodies larger than this, before they are decompressed.
#[derive(Debug)]
pub struct BodyLimit {
    /// Most bytes.
    pub max_bytes: usize,
}

impl Unit for BodyLimit {
    fn name(&self) -> &'static str {
        "body_limit"
    }

    fn most_bytes(&self) -> Option<usize> {
        Some(self.max_bytes)
    }
}
