//! RESP2 replies, which are also RESP3, and its map.

use crate::codec::text::{decimal_len, push_decimal};

/// `+OK`
pub(super) fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// `-ERR …`: the parts are joined. What would break the line is replaced.
pub(super) fn error(out: &mut Vec<u8>, parts: &[&str]) {
    out.push(b'-');
    let bytes = parts.iter().flat_map(|part| part.bytes());
    out.extend(bytes.map(|byte| if byte < b' ' || byte == 0x7f { b'?' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// `:7`
pub(super) fn integer(out: &mut Vec<u8>, number: u64) {
    out.push(b':');
    push_decimal(out, number);
    out.extend_from_slice(b"\r\n");
}

/// `$2 hi`
pub(super) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    push_decimal(out, bytes.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// `*2`, before its elements.
pub(super) fn array(out: &mut Vec<u8>, elements: u64) {
    out.push(b'*');
    push_decimal(out, elements);
    out.extend_from_slice(b"\r\n");
}

/// `%2`, before its keys, each with its value: RESP3 only.
pub(super) fn map(out: &mut Vec<u8>, entries: u64) {
    out.push(b'%');
    push_decimal(out, entries);
    out.extend_from_slice(b"\r\n");
}

/// An id of a stream entry as a bulk string: `epoch-seq`, both decimal.
pub(super) fn id(out: &mut Vec<u8>, epoch: u64, seq: u64) {
    out.push(b'$');
    push_decimal(out, decimal_len(epoch) + 1 + decimal_len(seq));
    out.extend_from_slice(b"\r\n");
    push_decimal(out, epoch);
    out.push(b'-');
    push_decimal(out, seq);
    out.extend_from_slice(b"\r\n");
}
