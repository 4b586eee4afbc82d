//! Every form against a decoder that others wrote.

use prost::Message;

use super::{Envelope, Form, base64, element};
use crate::batch::Batch;
use aqueduct_client::Attributes;

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(fixed64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(uint32, tag = "3")]
    r#type: u32,
    #[prost(fixed64, tag = "4")]
    timestamp_ns: u64,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
    #[prost(bytes = "vec", tag = "6")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Records {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

/// An attribute block, by its form in `core/ABI.md` §3.1.
fn block(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for (name, value) in entries {
        bytes.push(u8::try_from(name.len()).expect("short"));
        bytes.extend_from_slice(&u16::try_from(value.len()).expect("short").to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value);
    }
    let used = u16::try_from(bytes.len()).expect("short").to_le_bytes();
    bytes[..2].copy_from_slice(&used);
    bytes[2..4].copy_from_slice(&u16::try_from(entries.len()).expect("few").to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    assert!(Attributes::of(&bytes).count() == entries.len());
    bytes
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    batch.clear(0x5f0c_3a9b_e2d1_4477);
    batch.push(0, 0, 0, b"", b"");
    let attributes = block(&[("a", b"1"), (":path", b"/x?y=\"z\""), ("a", b"2")]);
    batch.push(300, 65_535, 1_700_000_000_000_000_000, b"{\"n\": 1,\n \"s\": \"x\"}", &attributes);
    batch.push(u64::MAX, 7, u64::MAX, &[0xff, 0, 0x80], b"");
    batch
}

fn encoded(envelope: &Envelope) -> Vec<Vec<u8>> {
    let batch = batch();
    let encode = |record| {
        let mut bytes = Vec::new();
        envelope.encode(&record, &mut bytes).expect("it has this form");
        bytes
    };
    batch.records().iter().map(encode).collect()
}

#[test]
fn protobuf_is_what_prost_reads_and_writes() {
    let mut body = Vec::new();
    let ours =
        encoded(&Envelope { form: Form::Protobuf, is_json_payload: false, ..Envelope::default() });
    for record in &ours {
        element(record, &mut body);
    }
    let all = Records::decode(&body[..]).expect("Protobuf");
    assert_eq!(all.records.len(), 3);
    for (record, theirs) in batch().records().iter().zip(&all.records) {
        assert_eq!((theirs.epoch, theirs.seq), (record.epoch, record.seq));
        assert_eq!(theirs.r#type, u32::from(record.type_tag));
        assert_eq!(theirs.timestamp_ns, record.timestamp_ns);
        assert_eq!(theirs.payload, record.payload);
        let attributes: Vec<_> = record.attributes.clone().collect();
        assert_eq!(theirs.attributes.len(), attributes.len());
        for (theirs, ours) in theirs.attributes.iter().zip(&attributes) {
            assert_eq!((theirs.name.as_bytes(), &theirs.value[..]), (ours.name, ours.value));
        }
    }
    assert_eq!(all.encode_to_vec(), body, "proto3's canonical bytes");
}

#[test]
fn json_is_one_object_on_one_line() {
    let ours =
        encoded(&Envelope { form: Form::Json, is_json_payload: false, ..Envelope::default() });
    let expected = [
        r#"{"epoch":"5f0c3a9be2d14477","seq":0,"type":0,"timestamp_ns":0,"text":""}"#.to_owned(),
        [
            r#"{"epoch":"5f0c3a9be2d14477","seq":300,"type":65535,"#,
            r#""timestamp_ns":1700000000000000000,"#,
            r#""attributes":{":path":"/x?y=\"z\"","a":["1","2"]},"#,
            r#""text":"{\"n\": 1,\n \"s\": \"x\"}"}"#,
        ]
        .concat(),
        format!(
            r#"{{"epoch":"5f0c3a9be2d14477","seq":{0},"type":7,"timestamp_ns":{0},"base64":"/wCA"}}"#,
            u64::MAX
        ),
    ];
    for (ours, expected) in ours.iter().zip(&expected) {
        assert_eq!(std::str::from_utf8(ours).expect("UTF-8"), expected);
        assert!(serde_json::from_slice::<serde_json::Value>(ours).is_ok());
    }
}

#[test]
fn a_payload_of_json_is_embedded_and_another_one_refused() {
    let envelope = Envelope { form: Form::Json, is_json_payload: true, ..Envelope::default() };
    let batch = batch();
    let mut line = Vec::new();
    envelope.encode(&batch.records().get(1), &mut line).expect("its payload is JSON");
    let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    assert_eq!(value["payload"]["s"], "x");
    assert!(!line.contains(&b'\n'), "for NDJSON");
    for at in [0, 2] {
        let error = envelope.encode(&batch.records().get(at), &mut Vec::new());
        assert!(error.is_err_and(|error| error.contains("not JSON")), "record {at}");
    }
    let mut latin1 = Batch::default();
    latin1.clear(1);
    latin1.push(0, 0, 0, b"{\"s\": \"caf\xe9\"}", b"");
    let error = envelope.encode(&latin1.records().get(0), &mut Vec::new());
    assert!(error.is_err_and(|error| error.contains("not JSON")), "JSON is UTF-8");
}

#[test]
fn avro_is_marker_fingerprint_and_datum() {
    let ours =
        encoded(&Envelope { form: Form::Avro, is_json_payload: false, ..Envelope::default() });
    let head = &ours[0][..10];
    assert_eq!(head[..2], [0xC3, 0x01]);
    assert!(ours.iter().all(|record| record.starts_with(head)), "one schema");
    assert_eq!(ours[0][10..], *b"\x5f\x0c\x3a\x9b\xe2\xd1\x44\x77\0\0\0\0\0");
    // 300 is 600 in zigzag: d8 04; 65535 is 131070: fe ff 07.
    assert_eq!(ours[1][18..23], [0xd8, 0x04, 0xfe, 0xff, 0x07]);
    assert!(ours[2].ends_with(&[0, 6, 0xff, 0, 0x80]), "no attributes, three bytes");
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
    assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
}

#[test]
fn xml_has_an_element_for_each_member() {
    let envelope = Envelope { form: Form::Xml, root: "order".into(), ..Envelope::default() };
    let mut batch = Batch::default();
    batch.clear(1);
    let good = r#"{"id": 7, "name": "a<b>&\"c\r\u00e9", "lines": [{"n": 1}, {"n": 2.5}, null],
                   "paid": true, "none": null, "empty": {}}"#;
    for payload in
        [good, "7", "{\"a b\": 1}", "{\"a\": [[1]]}", "{\"a\": \"\\u0001\"}", "{", "{\"xMl\": 1}"]
    {
        batch.push(5, 2, 9, payload.as_bytes(), b"");
    }
    let mut xml = Vec::new();
    envelope.encode(&batch.records().get(0), &mut xml).expect("an object");
    assert_eq!(
        std::str::from_utf8(&xml).expect("UTF-8"),
        "<order epoch=\"0000000000000001\" seq=\"5\" type=\"2\" timestamp-ns=\"9\"><empty></empty>\
         <id>7</id><lines><n>1</n></lines><lines><n>2.5</n></lines><lines></lines>\
         <name>a&lt;b&gt;&amp;\"c&#13;\u{e9}</name><none></none><paid>true</paid></order>"
    );
    for at in 1..batch.len() {
        assert!(envelope.encode(&batch.records().get(at), &mut Vec::new()).is_err(), "{at}");
    }
}

/// Fields of a message of the schema that is shipped, by their numbers: type and name.
fn fields_of(message: &str) -> std::collections::BTreeMap<u64, (String, String)> {
    let schema = include_str!("../../schema/record.proto");
    let (_, rest) = schema.split_once(&format!("message {message} {{")).expect("it is there");
    let (body, _) = rest.split_once('}').expect("it ends");
    let is_field = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let field = |line: &str| {
        let (left, number) = line.trim_end_matches(';').split_once(" = ").expect("a field");
        let (kind, name) = left.rsplit_once(' ').expect("a type and a name");
        (number.parse().expect("a number"), (kind.to_owned(), name.to_owned()))
    };
    body.lines().map(str::trim).filter(is_field).map(field).collect()
}

/// Reads a message by what the schema says of it: `name=value` of each field, those of a message
/// inside in brackets.
fn by_schema(message: &str, mut bytes: &[u8]) -> Vec<String> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        prost::encoding::decode_varint(bytes).expect("a number")
    }
    let fields = fields_of(message);
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let (kind, name) = fields.get(&(key >> 3)).expect("the schema has this field");
        let value = match (kind.as_str(), key & 7) {
            ("uint32" | "uint64", 0) => varint(&mut bytes).to_string(),
            ("fixed64", 1) => {
                let (number, rest) = bytes.split_first_chunk().expect("eight bytes");
                bytes = rest;
                u64::from_le_bytes(*number).to_string()
            }
            (kind, 2) => {
                let len = usize::try_from(varint(&mut bytes)).expect("short");
                let (value, rest) = bytes.split_at(len);
                bytes = rest;
                match kind.strip_prefix("repeated ") {
                    Some(inside) => format!("[{}]", by_schema(inside, value).join(" ")),
                    None if kind == "string" => String::from_utf8(value.to_vec()).expect("UTF-8"),
                    None => value.escape_ascii().to_string(),
                }
            }
            (kind, wire) => panic!("{name} is {kind} and comes as wire type {wire}"),
        };
        found.push(format!("{name}={value}"));
    }
    found
}

#[test]
fn protobuf_is_what_the_schema_says_that_is_shipped() {
    let encoded = encoded(&Envelope { form: Form::Protobuf, ..Envelope::default() });
    let mut body = Vec::new();
    for one in &encoded {
        element(one, &mut body);
    }
    let all = by_schema("Records", &body);
    let epoch = 0x5f0c_3a9b_e2d1_4477_u64;
    assert_eq!(all[0], format!("records=[epoch={epoch}]"));
    assert_eq!(
        all[1],
        format!(
            "records=[epoch={epoch} seq=300 type=65535 timestamp_ns=1700000000000000000 \
             attributes=[name=a value=1] attributes=[name=:path value=/x?y=\\\"z\\\"] \
             attributes=[name=a value=2] payload={{\\\"n\\\": 1,\\n \\\"s\\\": \\\"x\\\"}}]"
        )
    );
    let (seq, stamp) = (u64::MAX, u64::MAX);
    assert_eq!(
        all[2],
        format!(
            "records=[epoch={epoch} seq={seq} type=7 timestamp_ns={stamp} payload=\\xff\\x00\\x80]"
        )
    );
}
