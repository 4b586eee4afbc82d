//! Bodies that must be JSON.

use crate::middleware::json::{self, BadJson};
use crate::middleware::{Problem, Unit};

/// Lets bodies pass that are one JSON value, without the space between its parts if asked to.
#[derive(Debug)]
pub struct ValidJson {
    /// Leaves out what is not needed.
    pub minify: bool,
}

impl From<BadJson> for Problem {
    fn from(BadJson { why }: BadJson) -> Self {
        Self::malformed(format!("the body is not JSON that can be taken: {why}"))
    }
}

impl Unit for ValidJson {
    fn name(&self) -> &'static str {
        "json"
    }

    fn changes_bodies(&self) -> bool {
        true
    }

    fn memory(&self, bytes: usize, _limit: usize) -> usize {
        bytes.saturating_mul(2).saturating_add(json::reading_bytes(bytes))
    }

    fn body(&self, body: Vec<u8>, _limit: usize, _: &[String]) -> Result<Vec<u8>, Problem> {
        if self.minify {
            return Ok(json::minify(&body)?);
        }
        json::check(&body)?;
        Ok(body)
    }
}
