//! A record as one JSON object without line breaks.
//!
//! `payload` is there if payloads are JSON, otherwise `text` if it is UTF-8, otherwise `base64`.
//! Attributes are an object; a name that comes twice has an array of its values.

use std::io::Write;

use serde_json::{Map, Value};

use crate::batch::View;

/// Appends a record.
pub(super) fn encode(
    record: &View<'_>,
    is_json_payload: bool,
    into: &mut Vec<u8>,
) -> Result<(), String> {
    // Writing to a vector does not fail.
    let _ = write!(
        into,
        r#"{{"epoch":"{:016x}","seq":{},"type":{},"timestamp_ns":{}"#,
        record.epoch, record.seq, record.type_tag, record.timestamp_ns
    );
    attributes(record, into);
    if is_json_payload {
        // serde_json does not look at this in what is ignored.
        let text = std::str::from_utf8(record.payload)
            .map_err(|error| format!("the payload is not JSON: {error}"))?;
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| format!("the payload is not JSON: {error}"))?;
        into.extend_from_slice(br#","payload":"#);
        // A line break of valid JSON is white space between its tokens.
        into.extend(record.payload.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    } else if let Ok(text) = std::str::from_utf8(record.payload) {
        into.extend_from_slice(br#","text":"#);
        string(text, into);
    } else {
        let _ = write!(into, r#","base64":"{}""#, base64(record.payload));
    }
    into.push(b'}');
    Ok(())
}

fn attributes(record: &View<'_>, into: &mut Vec<u8>) {
    let mut object = Map::new();
    for attribute in record.attributes.clone() {
        let name = String::from_utf8_lossy(attribute.name).into_owned();
        let value = Value::String(String::from_utf8_lossy(attribute.value).into_owned());
        match object.get_mut(&name) {
            None => _ = object.insert(name, value),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    if !object.is_empty() {
        let _ = write!(into, r#","attributes":{}"#, Value::Object(object));
    }
}

fn string(text: &str, into: &mut Vec<u8>) {
    // Neither a string nor a vector makes it fail.
    let _ = serde_json::to_writer(into, text);
}

/// Returns base64 with padding, RFC 4648 §4.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            if digit <= group.len() {
                text.push(char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
