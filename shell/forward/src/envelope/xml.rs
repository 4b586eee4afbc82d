//! A record as one XML document: the members of a JSON object as elements, for systems that read
//! nothing else. (epoch, seq), type and timestamp are attributes of the root.
//!
//! An array is an element for each of its items; null is an empty element.

use std::io::Write;

use serde_json::Value;

use crate::batch::View;

/// Appends a record. Its payload must be a JSON object whose keys are names of XML.
pub(super) fn encode(record: &View<'_>, root: &str, into: &mut Vec<u8>) -> Result<(), String> {
    let value: Value = serde_json::from_slice(record.payload)
        .map_err(|error| format!("the payload is not JSON: {error}"))?;
    let Value::Object(members) = value else {
        return Err("the payload is no JSON object, which XML needs".to_owned());
    };
    // Writing to a vector does not fail.
    let _ = write!(
        into,
        r#"<{root} epoch="{:016x}" seq="{}" type="{}" timestamp-ns="{}">"#,
        record.epoch, record.seq, record.type_tag, record.timestamp_ns
    );
    for (name, value) in &members {
        element(name, value, into)?;
    }
    let _ = write!(into, "</{root}>");
    Ok(())
}

/// Appends a value as an element, or as several.
fn element(name: &str, value: &Value, into: &mut Vec<u8>) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!("`{}` is no name of XML", name.escape_debug()));
    }
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| match item {
            Value::Array(_) => Err(format!("an array in the array `{name}` has no form in XML")),
            item => element(name, item, into),
        });
    }
    let _ = write!(into, "<{name}>");
    match value {
        Value::Null | Value::Array(_) => {}
        Value::String(string) => text(string, into)?,
        Value::Bool(_) | Value::Number(_) => _ = write!(into, "{value}"),
        Value::Object(members) => {
            for (name, value) in members {
                element(name, value, into)?;
            }
        }
    }
    let _ = write!(into, "</{name}>");
    Ok(())
}

/// Whether this may name an element: a letter or `_`, then also digits, `-` and `.`; ASCII, and
/// without the colon, which would name a namespace.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    bytes.next().is_some_and(is_first)
        && bytes.all(|byte| is_first(byte) || byte.is_ascii_digit() || b"-.".contains(&byte))
        && !name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("xml"))
}

/// Appends text. What XML 1.0 has no form for is an error.
fn text(string: &str, into: &mut Vec<u8>) -> Result<(), String> {
    for character in string.chars() {
        match character {
            '&' => into.extend_from_slice(b"&amp;"),
            '<' => into.extend_from_slice(b"&lt;"),
            '>' => into.extend_from_slice(b"&gt;"),
            // A parser would make LF of it.
            '\r' => into.extend_from_slice(b"&#13;"),
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => {
                into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => return Err(format!("U+{:04X} has no form in XML", u32::from(other))),
        }
    }
    Ok(())
}
