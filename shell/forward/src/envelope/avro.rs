//! A record by `schema/record.avsc`, in Avro's single-object encoding: the marker C3 01, the
//! fingerprint of the schema (CRC-64-AVRO of its canonical form, little-endian), the datum.

use crate::batch::View;

/// The schema in Avro's Parsing Canonical Form: what the fingerprint is made of.
const CANONICAL: &str = concat!(
    r#"{"name":"aqueduct.v1.Record","type":"record","fields":["#,
    r#"{"name":"epoch","type":{"name":"aqueduct.v1.Epoch","type":"fixed","size":8}},"#,
    r#"{"name":"seq","type":"long"},{"name":"type","type":"int"},"#,
    r#"{"name":"timestamp_ns","type":"long"},"#,
    r#"{"name":"attributes","type":{"type":"array","items":"#,
    r#"{"name":"aqueduct.v1.Attribute","type":"record","fields":["#,
    r#"{"name":"name","type":"string"},{"name":"value","type":"bytes"}]}}},"#,
    r#"{"name":"payload","type":"bytes"}]}"#
);

/// CRC-64-AVRO of the canonical form.
const FINGERPRINT: u64 = fingerprint(CANONICAL.as_bytes());

/// CRC-64-AVRO of bytes. Source: Avro specification, "Schema Fingerprints".
const fn fingerprint(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xC15D_213A_A4D7_A795;
    let (mut crc, mut at) = (EMPTY, 0);
    while at < bytes.len() {
        crc ^= bytes[at] as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg());
            bit += 1;
        }
        at += 1;
    }
    crc
}

/// Appends a record.
pub(super) fn encode(record: &View<'_>, into: &mut Vec<u8>) {
    into.extend_from_slice(&[0xC3, 0x01]);
    into.extend_from_slice(&FINGERPRINT.to_le_bytes());
    into.extend_from_slice(&record.epoch.to_be_bytes());
    long(record.seq, into);
    long(record.type_tag.into(), into);
    long(record.timestamp_ns, into);
    let attributes = record.attributes.clone().count();
    if attributes > 0 {
        long(attributes as u64, into);
        for attribute in record.attributes.clone() {
            bytes(String::from_utf8_lossy(attribute.name).as_bytes(), into);
            bytes(attribute.value, into);
        }
    }
    long(0, into); // the end of the array
    bytes(record.payload, into);
}

/// A number in zigzag and variable length. Avro's are signed: 2^63 and more come out negative.
#[allow(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn long(value: u64, into: &mut Vec<u8>) {
    let mut rest = (value << 1) ^ (value >> 63).wrapping_neg();
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

fn bytes(value: &[u8], into: &mut Vec<u8>) {
    long(value.len() as u64, into);
    into.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_the_specification() {
        // Avro's own table: share/test/data/schema-tests.txt.
        assert_eq!(fingerprint(br#""null""#), 7_195_948_357_588_979_594);
    }

    #[test]
    fn the_canonical_form_is_that_of_the_schema_that_is_shipped() {
        let shipped: serde_json::Value =
            serde_json::from_str(include_str!("../../schema/record.avsc")).expect("JSON");
        assert_eq!(canonical(&shipped, "aqueduct.v1"), CANONICAL);
    }

    /// Parsing Canonical Form, as far as this schema needs it: full names, no documentation, the
    /// order of keys, no white space.
    fn canonical(schema: &serde_json::Value, namespace: &str) -> String {
        let Some(object) = schema.as_object() else { return schema.to_string() };
        let mut parts = Vec::new();
        for key in ["name", "type", "fields", "items", "size"] {
            let Some(value) = object.get(key) else { continue };
            let is_named = object.get("fields").is_some() || object.get("size").is_some();
            let text = match value {
                serde_json::Value::Array(all) => {
                    let all: Vec<_> = all.iter().map(|it| canonical(it, namespace)).collect();
                    format!("[{}]", all.join(","))
                }
                serde_json::Value::String(name) if key == "name" && is_named => {
                    format!("\"{namespace}.{name}\"")
                }
                other => canonical(other, namespace),
            };
            parts.push(format!("\"{key}\":{text}"));
        }
        format!("{{{}}}", parts.join(","))
    }
}
