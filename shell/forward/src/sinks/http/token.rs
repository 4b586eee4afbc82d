//! The bearer token of a connection.

use std::path::Path;

use hyper::header::HeaderValue;

use crate::sink::Failure;

/// Reads the value of `authorization` from the first line of a file, if there is one. It may be
/// written anew while this process runs.
pub(in crate::sinks) fn read(path: Option<&Path>) -> Result<Option<HeaderValue>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::retry(format!("the token file {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let token = text.lines().next().unwrap_or_default().trim();
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| failed(&"its first line is no token"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
