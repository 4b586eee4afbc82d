//! Values out of payloads by JSON pointer (RFC 6901). Pure over bytes.

use serde_json::Value;

/// Reads a payload as one JSON value.
///
/// # Errors
/// It is none: where and why.
pub fn parse(payload: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(payload).map_err(|error| format!("the payload is not JSON: {error}"))
}

/// Returns what a pointer names, as text: strings without quotes, other values as JSON. `None` if
/// there is nothing, or null.
pub fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Says whether this is a pointer: empty, or it begins with a slash.
pub fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_gives_text_of_every_kind() {
        let value = parse(br#"{"id": "a7", "at": {"n": [1, 2.5]}, "no": null, "on": true}"#);
        let value = value.expect("JSON");
        assert_eq!(text(&value, "/id").as_deref(), Some("a7"));
        assert_eq!(text(&value, "/at/n/1").as_deref(), Some("2.5"));
        assert_eq!(text(&value, "/on").as_deref(), Some("true"));
        assert_eq!(text(&value, "/at").as_deref(), Some(r#"{"n":[1,2.5]}"#));
        assert_eq!((text(&value, "/no"), text(&value, "/none")), (None, None));
        assert!(parse(b"{").is_err_and(|error| error.contains("column")));
    }
}
