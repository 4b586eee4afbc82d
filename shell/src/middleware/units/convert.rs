//! Bodies that become another format.
#![cfg_attr(
    not(any(feature = "xml", feature = "cbor", feature = "messagepack", feature = "protobuf")),
    allow(
        unused_variables,
        unreachable_code,
        clippy::match_single_binding,
        clippy::single_match_else,
        reason = "without any of them no conversion can be made"
    )
)]

use crate::middleware::{Problem, Unit};

#[cfg(any(feature = "cbor", feature = "messagepack"))]
use crate::middleware::binary;
#[cfg(feature = "cbor")]
use crate::middleware::cbor;
#[cfg(feature = "messagepack")]
use crate::middleware::messagepack;
#[cfg(feature = "protobuf")]
use crate::middleware::protobuf::Schema;
#[cfg(feature = "xml")]
use crate::middleware::xml;

/// What is read of Protobuf is kept as values, which takes as long as reading so many times the
/// bytes.
#[cfg(feature = "protobuf")]
const READING_FACTOR: usize = 256;

/// From what to what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Conversion {
    /// JSON to XML.
    #[cfg(feature = "xml")]
    JsonToXml,
    /// XML to JSON.
    #[cfg(feature = "xml")]
    XmlToJson,
    /// JSON to CBOR.
    #[cfg(feature = "cbor")]
    JsonToCbor,
    /// CBOR to JSON.
    #[cfg(feature = "cbor")]
    CborToJson,
    /// JSON to `MessagePack`.
    #[cfg(feature = "messagepack")]
    JsonToMessagePack,
    /// `MessagePack` to JSON.
    #[cfg(feature = "messagepack")]
    MessagePackToJson,
    /// Protobuf, of this type, to JSON.
    #[cfg(feature = "protobuf")]
    ProtobufToJson(Schema),
}

impl Conversion {
    /// Names in the configuration, from and to, of all that there are, and the cargo feature that
    /// each needs.
    pub const ALL: [(&'static str, &'static str, &'static str); 7] = [
        ("json", "xml", "xml"),
        ("xml", "json", "xml"),
        ("json", "cbor", "cbor"),
        ("cbor", "json", "cbor"),
        ("json", "messagepack", "messagepack"),
        ("messagepack", "json", "messagepack"),
        ("protobuf", "json", "protobuf"),
    ];

    /// The conversion of these names, if this program has it and it needs nothing else.
    pub fn new(from: &str, to: &str) -> Option<Self> {
        match (from, to) {
            #[cfg(feature = "xml")]
            ("json", "xml") => Some(Self::JsonToXml),
            #[cfg(feature = "xml")]
            ("xml", "json") => Some(Self::XmlToJson),
            #[cfg(feature = "cbor")]
            ("json", "cbor") => Some(Self::JsonToCbor),
            #[cfg(feature = "cbor")]
            ("cbor", "json") => Some(Self::CborToJson),
            #[cfg(feature = "messagepack")]
            ("json", "messagepack") => Some(Self::JsonToMessagePack),
            #[cfg(feature = "messagepack")]
            ("messagepack", "json") => Some(Self::MessagePackToJson),
            _ => None,
        }
    }
}

/// Makes another format of a body.
#[derive(Debug)]
pub struct Convert(
    /// From what to what.
    pub Conversion,
);

impl Unit for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn changes_bodies(&self) -> bool {
        true
    }

    fn reads(&self, bytes: usize, _limit: usize) -> usize {
        match &self.0 {
            #[cfg(feature = "protobuf")]
            Conversion::ProtobufToJson(_) => bytes.saturating_mul(READING_FACTOR),
            // Once to count, once to write.
            #[cfg(feature = "cbor")]
            Conversion::JsonToCbor => bytes.saturating_mul(2),
            #[cfg(feature = "messagepack")]
            Conversion::JsonToMessagePack => bytes.saturating_mul(2),
            #[allow(unreachable_patterns, reason = "by features")]
            _ => bytes,
        }
    }

    fn writes(&self, bytes: usize) -> usize {
        match self.0 {
            #[cfg(feature = "xml")]
            Conversion::JsonToXml => xml::most_bytes(bytes),
            // A tab, a quote and a backslash become two bytes, and all else no more than it was.
            #[cfg(feature = "xml")]
            Conversion::XmlToJson => bytes.saturating_mul(2),
            #[cfg(feature = "cbor")]
            Conversion::JsonToCbor => binary::most_bytes_of_json(bytes),
            #[cfg(feature = "cbor")]
            Conversion::CborToJson => binary::most_bytes_of_binary(bytes),
            #[cfg(feature = "messagepack")]
            Conversion::JsonToMessagePack => binary::most_bytes_of_json(bytes),
            #[cfg(feature = "messagepack")]
            Conversion::MessagePackToJson => binary::most_bytes_of_binary(bytes),
            #[cfg(feature = "protobuf")]
            Conversion::ProtobufToJson(ref schema) => schema.most_bytes(bytes),
        }
    }

    fn memory(&self, bytes: usize, limit: usize) -> usize {
        let made = self.writes(bytes);
        // What grows twofold takes thrice as much while it grows.
        let out = made.min(limit).saturating_mul(3);
        let working = match self.0 {
            #[cfg(feature = "xml")]
            Conversion::JsonToXml => xml::memory_of_json(bytes),
            #[cfg(feature = "xml")]
            Conversion::XmlToJson => xml::memory_of_xml(bytes, made.min(limit)),
            #[cfg(feature = "cbor")]
            Conversion::JsonToCbor => binary::memory_of_json(bytes),
            #[cfg(feature = "cbor")]
            Conversion::CborToJson => binary::memory_of_binary(bytes),
            #[cfg(feature = "messagepack")]
            Conversion::JsonToMessagePack => binary::memory_of_json(bytes),
            #[cfg(feature = "messagepack")]
            Conversion::MessagePackToJson => binary::memory_of_binary(bytes),
            #[cfg(feature = "protobuf")]
            Conversion::ProtobufToJson(_) => Schema::memory_bytes(bytes),
        };
        bytes.saturating_add(out).saturating_add(working)
    }

    fn body(&self, body: Vec<u8>, limit: usize, _: &[String]) -> Result<Vec<u8>, Problem> {
        match self.0 {
            #[cfg(feature = "xml")]
            Conversion::JsonToXml => xml::from_json(&body, limit),
            #[cfg(feature = "xml")]
            Conversion::XmlToJson => xml::to_json(&body, limit),
            #[cfg(feature = "cbor")]
            Conversion::JsonToCbor => cbor::from_json(&body, limit),
            #[cfg(feature = "cbor")]
            Conversion::CborToJson => cbor::to_json(&body, limit),
            #[cfg(feature = "messagepack")]
            Conversion::JsonToMessagePack => messagepack::from_json(&body, limit),
            #[cfg(feature = "messagepack")]
            Conversion::MessagePackToJson => messagepack::to_json(&body, limit),
            #[cfg(feature = "protobuf")]
            Conversion::ProtobufToJson(ref schema) => schema.to_json(&body, limit),
        }
    }
}

#[cfg(all(test, feature = "xml", feature = "cbor", feature = "messagepack"))]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"a":[1,"x"]}"#;

    fn unit(from: &str, to: &str) -> Convert {
        Convert(Conversion::new(from, to).expect("this program has it"))
    }

    #[test]
    fn each_format_comes_back_as_the_json_that_it_was_made_of() {
        for format in ["xml", "cbor", "messagepack"] {
            let (out, back) = (unit("json", format), unit(format, "json"));
            let made = out.body(JSON.to_vec(), 1 << 10, &[]).expect("good");
            assert_ne!(made, JSON, "{format}");
            let again = back.body(made, 1 << 10, &[]).expect("good");
            let text = String::from_utf8(again).expect("text");
            assert_eq!(text.as_bytes(), JSON, "{format}");
            assert!(out.changes_bodies() && back.changes_bodies());
            assert_eq!((out.name(), back.name()), ("convert", "convert"));
        }
        assert!(Conversion::new("xml", "cbor").is_none());
    }

    #[test]
    fn no_body_becomes_more_than_was_said() {
        let worst: [&[u8]; 5] = [JSON, b"[]", br#""\"""#, b"[1,2,3,4,5,6,7,8,9]", b"[[[[[[]]]]]]"];
        for format in ["xml", "cbor", "messagepack"] {
            let (out, back) = (unit("json", format), unit(format, "json"));
            for json in worst {
                let Ok(made) = out.body(json.to_vec(), 1 << 10, &[]) else { continue };
                let most = out.writes(json.len());
                assert!((made.len()..1 << 10).contains(&most), "{format}: {most}");
                let length = made.len();
                let again = back.body(made, 1 << 10, &[]).expect("it was made here");
                let most = back.writes(length);
                assert!((again.len()..1 << 10).contains(&most), "{format}: {most}");
            }
        }
        assert_eq!(unit("xml", "json").writes(7), 14);
    }

    #[test]
    fn what_is_counted_before_it_is_written_is_read_twice() {
        for (from, to, bytes) in [
            ("json", "cbor", 14),
            ("json", "messagepack", 14),
            ("cbor", "json", 7),
            ("json", "xml", 7),
        ] {
            assert_eq!(unit(from, to).reads(7, 1), bytes, "{from} to {to}");
        }
    }
}
