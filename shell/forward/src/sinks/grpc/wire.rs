//! Messages of `aqueduct.v1.Publisher` (`shell/proto`), and the frames of gRPC around them. Pure.

use crate::batch::View;
use crate::compress::Compression;
use crate::envelope::protobuf::{LENGTH, VARINT, bytes_field, key, varint};

/// What a listener answers to a stream of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Records that are in its ring.
    pub(super) records: u64,
    /// How many of them were there already.
    pub(super) known: u64,
}

/// Appends the frame of a record; returns whether it is compressed.
pub(super) fn frame(
    (record, payload): (&View<'_>, &[u8]),
    (ring, attributes): (&str, &[u8]),
    compression: Compression,
    into: &mut Vec<u8>,
) -> bool {
    let mut message = Vec::with_capacity(payload.len() + attributes.len() + 64);
    bytes_field(1, ring.as_bytes(), &mut message);
    if record.type_tag > 0 {
        key(2, VARINT, &mut message);
        varint(record.type_tag.into(), &mut message);
    }
    bytes_field(3, payload, &mut message);
    bytes_field(4, record.name().as_bytes(), &mut message);
    bytes_field(5, attributes, &mut message);
    let (bytes, encoding) = compression.apply(&message);
    into.push(u8::from(encoding.is_some()));
    // A record is smaller than a ring.
    into.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend_from_slice(&bytes);
    encoding.is_some()
}

/// Reads the answer in its frame; `None` if it is none.
pub(super) fn taken(frame: &[u8]) -> Option<Taken> {
    let (&[flag, a, b, c, d], message) = frame.split_first_chunk()?;
    let mut message = message.get(..u32::from_be_bytes([a, b, c, d]) as usize)?;
    if flag != 0 {
        return None;
    }
    let mut taken = Taken::default();
    while !message.is_empty() {
        let head = number(&mut message)?;
        let value = match u8::try_from(head & 7) {
            Ok(VARINT) => number(&mut message)?,
            Ok(wire) => {
                let bytes = match wire {
                    1 => 8,
                    LENGTH => usize::try_from(number(&mut message)?).ok()?,
                    5 => 4,
                    _ => return None,
                };
                message = message.get(bytes..)?;
                continue;
            }
            Err(_) => return None,
        };
        match head >> 3 {
            1 => taken.records = value,
            5 => taken.known = value,
            _ => {}
        }
    }
    Some(taken)
}

/// Takes a number of variable length.
fn number(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::batch::Batch;
    use crate::compress::Codec;

    /// As prost makes it of the .proto file.
    #[derive(Clone, PartialEq, Message)]
    struct PublishRequest {
        #[prost(string, tag = "1")]
        ring: String,
        #[prost(uint32, tag = "2")]
        r#type: u32,
        #[prost(bytes = "vec", tag = "3")]
        payload: Vec<u8>,
        #[prost(string, tag = "4")]
        idempotency_key: String,
        #[prost(bytes = "vec", tag = "5")]
        attributes: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PublishStreamResponse {
        #[prost(uint64, tag = "1")]
        taken: u64,
        #[prost(uint64, optional, tag = "2")]
        first_seq: Option<u64>,
        #[prost(uint64, optional, tag = "3")]
        last_seq: Option<u64>,
        #[prost(fixed64, tag = "4")]
        epoch: u64,
        #[prost(uint64, tag = "5")]
        replayed: u64,
    }

    #[test]
    fn a_frame_is_what_prost_reads_compressed_above_the_threshold() {
        let mut batch = Batch::default();
        batch.clear(0xab);
        let long = b"again ".repeat(100);
        batch.push(5, 700, 0, &long, b"");
        let record = batch.records().get(0);
        for (above_bytes, is_compressed) in [(600, true), (1000, false)] {
            let compression = Compression { codec: Codec::Snappy, above_bytes };
            let is_compressed = is_compressed && Codec::Snappy.is_built();
            let mut bytes = Vec::new();
            let was = frame((&record, &long), ("orders", b"block"), compression, &mut bytes);
            assert_eq!((was, bytes[0]), (is_compressed, u8::from(is_compressed)));
            let length = u32::from_be_bytes(bytes[1..5].try_into().expect("four")) as usize;
            assert_eq!(bytes.len(), 5 + length);
            let message = &bytes[5..];
            #[cfg(feature = "snappy")]
            let expanded = snap::raw::Decoder::new().decompress_vec(message);
            #[cfg(not(feature = "snappy"))]
            let expanded: Result<Vec<u8>, ()> = Err(());
            let message = if is_compressed { expanded.expect("snappy") } else { message.to_vec() };
            let message = PublishRequest::decode(&message[..]).expect("a message");
            let expected = PublishRequest {
                ring: "orders".to_owned(),
                r#type: 700,
                payload: long.clone(),
                idempotency_key: "00000000000000ab-5".to_owned(),
                attributes: b"block".to_vec(),
            };
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn an_answer_is_read_as_prost_writes_it_and_anything_else_is_none() {
        let answer = PublishStreamResponse {
            taken: 1000,
            first_seq: Some(1 << 40),
            last_seq: Some(u64::MAX),
            epoch: 7,
            replayed: 300,
        };
        let message = answer.encode_to_vec();
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        let frame = [&[0][..], &length, &message].concat();
        assert_eq!(taken(&frame), Some(Taken { records: 1000, known: 300 }));
        assert_eq!(taken(&[0, 0, 0, 0, 0]), Some(Taken::default()));
        for end in 0..frame.len() {
            assert_eq!(taken(&frame[..end]), None, "{end}");
        }
        assert_eq!(taken(&[0, 0, 0, 0, 1, 0x0b]), None, "a group");
    }
}
