//! What an envelope costs: the size of a record in each form, or one direction many times over, for
//! a program that counts instructions. `benches/envelopes` makes its table of it.
//!
//! Run: `cargo run --release -p aqueduct-forward --example envelopes -- size json order`
//! Expect: the number of bytes

use std::hint::black_box;

use aqueduct_client::Attributes;
use aqueduct_core::AttributeBlock;
use aqueduct_forward::batch::{Batch, View};
use aqueduct_forward::envelope::{Envelope, Form};
use prost::Message;

/// What a receiver wants of a record, owned.
#[derive(Debug, Default, PartialEq)]
struct Received {
    epoch: u64,
    seq: u64,
    type_tag: u16,
    timestamp_ns: u64,
    attributes: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [what, form, shape, ref times @ ..] = words[..] else {
        panic!("size|encode|decode, json|protobuf|avro|raw, reading|order|frame, times");
    };
    let times: u64 = times.first().map_or(1, |times| times.parse().expect("a number"));
    let batch = record(shape);
    let record = batch.records().get(0);
    let encoded = encode(form, &record);
    assert_eq!(decode(form, &encoded), received(form, &record), "{form} comes back");
    match what {
        "size" => println!("{}", encoded.len()),
        "encode" => {
            let mut into = Vec::with_capacity(2 * encoded.len());
            for _ in 0..times {
                into.clear();
                encode_into(form, black_box(&record), &mut into);
                black_box(&into);
            }
        }
        "decode" => (0..times).for_each(|_| _ = black_box(decode(form, black_box(&encoded)))),
        other => panic!("what is {other}?"),
    }
}

/// A record of one of three shapes: a reading over MQTT, an order over HTTP, a binary frame.
fn record(shape: &str) -> Batch {
    let mut room = [0; 1024];
    let trace = &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..];
    let (payload, attributes): (Vec<u8>, &[(&str, &[u8])]) = match shape {
        "reading" => {
            (br#"{"value": 21.5, "unit": "C"}"#.to_vec(), &[(":topic", b"hall/3/temperature")])
        }
        "order" => (
            br#"{"order": "5f0c3a9b-e2d1", "customer": {"id": 40211, "name": "Ada Lovelace",
"country": "GB"}, "currency": "EUR", "lines": [{"article": "4006381333931", "quantity": 12,
"price": 1.95}, {"article": "9780131103627", "quantity": 1, "price": 48.5}, {"article":
"5901234123457", "quantity": 3, "price": 7.2}], "ship": "express", "paid": true}"#
                .to_vec(),
            &[
                (":path", b"/v1/rings/orders/records"),
                (":peer", b"192.0.2.17:50412"),
                ("content-type", b"application/json"),
                ("traceparent", trace),
            ],
        ),
        "frame" => ((0..1500_u32).map(|n| ((n * n) >> 3).to_le_bytes()[0]).collect(), &[]),
        other => panic!("what is a {other}?"),
    };
    let block = AttributeBlock::write(attributes.iter().copied(), &mut room).expect("they fit");
    let mut batch = Batch::default();
    batch.clear(0x5f0c_3a9b_e2d1_4477);
    batch.push(123_456_789, 7, 1_764_400_000_123_456_789, &payload, block.as_bytes());
    batch
}

/// A record as it should come back; raw has no numbers.
fn received(form: &str, record: &View<'_>) -> Received {
    let attributes = owned(record.attributes.clone());
    let payload = record.payload.to_vec();
    if form == "raw" {
        return Received { attributes, payload, ..Received::default() };
    }
    Received {
        epoch: record.epoch,
        seq: record.seq,
        type_tag: record.type_tag,
        timestamp_ns: record.timestamp_ns,
        attributes,
        payload,
    }
}

fn owned(attributes: Attributes<'_>) -> Vec<(String, Vec<u8>)> {
    let own = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    attributes.map(|it| (own(it.name), it.value.to_vec())).collect()
}

fn encode(form: &str, record: &View<'_>) -> Vec<u8> {
    let mut into = Vec::new();
    encode_into(form, record, &mut into);
    into
}

fn encode_into(form: &str, record: &View<'_>, into: &mut Vec<u8>) {
    let form = match form {
        "json" => Form::Json,
        "protobuf" => Form::Protobuf,
        "avro" => Form::Avro,
        // As they are in the ring: the payload, and the block after it.
        _ => {
            let block: Vec<_> = record.attributes.clone().collect();
            into.extend_from_slice(
                &u32::try_from(record.payload.len()).expect("small").to_le_bytes(),
            );
            into.extend_from_slice(record.payload);
            let mut room = [0; 1024];
            let entries =
                block.iter().map(|it| (std::str::from_utf8(it.name).expect("text"), it.value));
            let block = AttributeBlock::write(entries, &mut room).expect("they fit");
            into.extend_from_slice(block.as_bytes());
            return;
        }
    };
    Envelope { form, ..Envelope::default() }.encode(record, into).expect("it has this form");
}

fn decode(form: &str, bytes: &[u8]) -> Received {
    match form {
        "json" => decode_json(bytes),
        "protobuf" => decode_protobuf(bytes),
        "avro" => decode_avro(bytes),
        _ => {
            let (len, rest) = bytes.split_first_chunk().expect("a length");
            let (payload, block) = rest.split_at(u32::from_le_bytes(*len) as usize);
            let attributes = owned(Attributes::of(block));
            Received { attributes, payload: payload.to_vec(), ..Received::default() }
        }
    }
}

fn decode_json(bytes: &[u8]) -> Received {
    let value: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    let number = |name: &str| value[name].as_u64().expect("a number");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let attributes = value["attributes"].as_object().into_iter().flatten();
    Received {
        epoch: u64::from_str_radix(&text(&value["epoch"]), 16).expect("hexadecimal"),
        seq: number("seq"),
        type_tag: u16::try_from(number("type")).expect("16 bits"),
        timestamp_ns: number("timestamp_ns"),
        attributes: attributes.map(|(name, it)| (name.clone(), text(it).into_bytes())).collect(),
        payload: match value["base64"].as_str() {
            Some(text) => from_base64(text),
            None => text(&value["text"]).into_bytes(),
        },
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let word = group.iter().fold(0, |word, &byte| word << 6 | u32::from(digit(byte)));
        bytes.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    bytes.truncate(bytes.len() - text.bytes().rev().take_while(|&byte| byte == b'=').count());
    bytes
}

#[derive(Clone, PartialEq, Message)]
struct ProtoAttribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoRecord {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(uint32, tag = "3")]
    r#type: u32,
    #[prost(fixed64, tag = "4")]
    timestamp_ns: u64,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<ProtoAttribute>,
    #[prost(bytes = "vec", tag = "6")]
    payload: Vec<u8>,
}

fn decode_protobuf(bytes: &[u8]) -> Received {
    let record = ProtoRecord::decode(bytes).expect("Protobuf");
    Received {
        epoch: record.epoch,
        seq: record.seq,
        type_tag: u16::try_from(record.r#type).expect("16 bits"),
        timestamp_ns: record.timestamp_ns,
        attributes: record.attributes.into_iter().map(|it| (it.name, it.value)).collect(),
        payload: record.payload,
    }
}

fn decode_avro(bytes: &[u8]) -> Received {
    fn long(rest: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (&byte, more) = rest.split_first().expect("more");
            *rest = more;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return (value >> 1) ^ (value & 1).wrapping_neg();
            }
        }
    }
    fn bytes_of<'b>(rest: &mut &'b [u8]) -> &'b [u8] {
        let len = usize::try_from(long(rest)).expect("small");
        let (bytes, more) = rest.split_at(len);
        *rest = more;
        bytes
    }
    let (epoch, mut rest) = bytes[10..].split_first_chunk().expect("an epoch");
    let rest = &mut rest;
    let mut received = Received {
        epoch: u64::from_be_bytes(*epoch),
        seq: long(rest),
        type_tag: u16::try_from(long(rest)).expect("16 bits"),
        timestamp_ns: long(rest),
        ..Received::default()
    };
    loop {
        let count = long(rest);
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let name = std::str::from_utf8(bytes_of(rest)).expect("text").to_owned();
            received.attributes.push((name, bytes_of(rest).to_vec()));
        }
    }
    received.payload = bytes_of(rest).to_vec();
    received
}
