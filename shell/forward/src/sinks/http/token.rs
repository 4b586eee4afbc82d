//! The bearer token of a request.

use std::path::Path;

use hyper::header::HeaderValue;

use crate::sink::Failure;

/// Reads the value of `authorization` from the first line of a file, if there is one. It is written
/// anew while this process runs, so each request reads it: connections outlive tokens.
pub(in crate::sinks) fn read(path: Option<&Path>) -> Result<Option<HeaderValue>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::retry(format!("the token file {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let token = text.lines().next().unwrap_or_default().trim();
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let value = value.ok().filter(|_| !token.is_empty());
    let mut value = value.ok_or_else(|| failed(&"its first line is no token"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
