//! A record as `aqueduct.v1.Record`, proto3 (`schema/record.proto`). Fields that are zero or empty
//! are left out, as proto3 does.

use crate::batch::View;

/// Wire types.
pub(crate) const VARINT: u8 = 0;
const FIXED64: u8 = 1;
pub(crate) const LENGTH: u8 = 2;

/// Appends a record.
pub(super) fn encode(record: &View<'_>, into: &mut Vec<u8>) {
    fixed64(1, record.epoch, into);
    varint_field(2, record.seq, into);
    varint_field(3, record.type_tag.into(), into);
    fixed64(4, record.timestamp_ns, into);
    for attribute in record.attributes.clone() {
        // The bytes of a name are text in all that this project writes; others are made so.
        let name = String::from_utf8_lossy(attribute.name);
        let inner = field_bytes(name.len()) + field_bytes(attribute.value.len());
        key(5, LENGTH, into);
        varint(inner as u64, into);
        bytes_field(1, name.as_bytes(), into);
        bytes_field(2, attribute.value, into);
    }
    bytes_field(6, record.payload, into);
}

/// Appends an encoded record as an element of `aqueduct.v1.Records`.
pub fn element(encoded: &[u8], into: &mut Vec<u8>) {
    key(1, LENGTH, into);
    varint(encoded.len() as u64, into);
    into.extend_from_slice(encoded);
}

/// Bytes of a field with a length, of a number below 16.
fn field_bytes(len: usize) -> usize {
    if len == 0 { 0 } else { 1 + varint_bytes(len as u64) + len }
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends the head of a field, of a number below 16.
pub(crate) fn key(number: u8, wire: u8, into: &mut Vec<u8>) {
    into.push(number << 3 | wire);
}

/// Appends a number of variable length.
#[allow(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(crate) fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn varint_field(number: u8, value: u64, into: &mut Vec<u8>) {
    if value != 0 {
        key(number, VARINT, into);
        varint(value, into);
    }
}

fn fixed64(number: u8, value: u64, into: &mut Vec<u8>) {
    if value != 0 {
        key(number, FIXED64, into);
        into.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends a field of bytes, unless it is empty.
pub(crate) fn bytes_field(number: u8, value: &[u8], into: &mut Vec<u8>) {
    if !value.is_empty() {
        key(number, LENGTH, into);
        varint(value.len() as u64, into);
        into.extend_from_slice(value);
    }
}
