//! Protobuf as JSON, by the mapping of its documentation (`ProtoJSON`): prost-reflect reads
//! messages of which only a descriptor set is known.

mod weight;

use std::io::{self, Write};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value};

use super::Problem;
use super::json::DEPTH_MAX;

/// Largest descriptor set, bytes.
const DESCRIPTORS_BYTES_MAX: usize = 16 << 20;
/// Most bytes of memory for each byte of a message, and in addition: a message that has only
/// another one in a list takes two, and a node of a map and a vector where they are kept.
const MEMORY_FACTOR: usize = 512;
const MEMORY_BYTES: usize = 8 << 10;
/// Few messages take so much. A message that could take more than `WEIGHED_BYTES` has so much, or
/// `WEIGHED_FACTOR` times its bytes if that is more, and is weighed before it is read.
const WEIGHED_BYTES: usize = 64 << 20;
const WEIGHED_FACTOR: usize = 64;

/// Messages of one type.
#[derive(Clone, Debug)]
pub struct Schema {
    message: MessageDescriptor,
    /// The longest name that a byte may stand for: of a field, or of a value of an enum.
    name_bytes_max: usize,
    /// Fields that the descriptor set does not know are left out instead of refused.
    drops_unknown: bool,
}

impl Schema {
    /// Takes the type of that full name, as `shop.Order`, from a descriptor set
    /// (`protoc --include_imports --descriptor_set_out`).
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn new(descriptors: &[u8], message: &str, drops_unknown: bool) -> Result<Self, String> {
        if descriptors.len() > DESCRIPTORS_BYTES_MAX {
            return Err(format!("a descriptor set of at most {DESCRIPTORS_BYTES_MAX} bytes"));
        }
        let pool = DescriptorPool::decode(descriptors)
            .map_err(|error| format!("a descriptor set with its imports: {error}"))?;
        let found = pool.get_message_by_name(message).ok_or_else(|| {
            let names: Vec<_> = pool.all_messages().map(|one| one.full_name().to_owned()).collect();
            format!("one of its messages {}", names.join(", "))
        })?;
        let fields = pool.all_messages().flat_map(|message| {
            message.fields().map(|field| field.json_name().len()).collect::<Vec<_>>()
        });
        let values = pool
            .all_enums()
            .flat_map(|one| one.values().map(|value| value.name().len()).collect::<Vec<_>>());
        let types = pool.all_messages().map(|message| message.full_name().len());
        let name_bytes_max = fields.chain(values).chain(types).max().unwrap_or(0);
        Ok(Self { message: found, name_bytes_max, drops_unknown })
    }

    /// Most bytes that [`to_json`](Self::to_json) makes of so many.
    pub fn most_bytes(&self, bytes: usize) -> usize {
        bytes.saturating_mul(self.name_bytes_max + 32).saturating_add(64)
    }

    /// Most bytes of memory that reading so many takes, without what is made of it.
    pub fn memory_bytes(bytes: usize) -> usize {
        let most = bytes.saturating_mul(MEMORY_FACTOR).saturating_add(MEMORY_BYTES);
        most.min(bytes.saturating_mul(WEIGHED_FACTOR).max(WEIGHED_BYTES))
    }

    /// Writes one message as JSON, in at most `limit` bytes.
    ///
    /// # Errors
    /// The body is no such message, becomes too large, or would take more memory than
    /// [`memory_bytes`](Self::memory_bytes).
    pub fn to_json(&self, body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
        let most = Self::memory_bytes(body.len());
        let takes = body.len().saturating_mul(MEMORY_FACTOR).saturating_add(MEMORY_BYTES);
        let mut room = Room { left: (most < takes).then_some(most), most, bytes: body.len() };
        room.take(1, |left| weight::weigh(&self.message, body, left))?;
        let message = DynamicMessage::decode(self.message.clone(), body).map_err(|e| bad(&e))?;
        self.check(&message, 1, &mut room)?;
        let mut out = Bounded { out: Vec::new(), limit, too_large: false };
        let mut serializer = serde_json::Serializer::new(&mut out);
        let written = serde::Serialize::serialize(&message, &mut serializer);
        match written {
            _ if out.too_large => {
                let detail = format!("as JSON, it has more than {limit} bytes");
                Err(Problem::too_large(detail))
            }
            Err(error) => Err(bad(&error)),
            Ok(()) => Ok(out.out),
        }
    }

    /// Looks for what the descriptor set does not know, and how deep messages are nested: those in
    /// a `google.protobuf.Any` are read when JSON is written, each anew.
    fn check(
        &self,
        message: &DynamicMessage,
        depth: usize,
        room: &mut Room,
    ) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(bad(&"messages are nested too deeply"));
        }
        if !self.drops_unknown
            && let Some(unknown) = message.unknown_fields().next()
        {
            let (number, name) = (unknown.number(), message.descriptor());
            let name = name.full_name();
            return Err(bad(&format_args!("{name} has the unknown field {number}")));
        }
        if message.descriptor().full_name() == "google.protobuf.Any" {
            let value = |name: &str| message.get_field_by_name(name);
            if let (Some(url), Some(inner)) = (value("type_url"), value("value"))
                && let (Some(url), Some(inner)) = (url.as_str(), inner.as_bytes())
                && let Some((_, name)) = url.rsplit_once('/')
                && let Some(of) = self.message.parent_pool().get_message_by_name(name)
            {
                // It is read for this check, and when it is written, where a copy is made of it.
                room.take(3, |left| weight::weigh(&of, inner, left).saturating_add(inner.len()))?;
                let inner = DynamicMessage::decode(of, inner.clone()).map_err(|e| bad(&e))?;
                self.check(&inner, depth + 1, room)?;
            }
        }
        let values = message.fields().map(|(_, value)| value);
        values.chain(message.extensions().map(|(_, value)| value)).try_for_each(|value| match value
        {
            Value::Message(inner) => self.check(inner, depth + 1, room),
            Value::List(values) => self.check_all(values.iter(), depth, room),
            Value::Map(values) => self.check_all(values.values(), depth, room),
            _ => Ok(()),
        })
    }

    fn check_all<'v>(
        &self,
        mut values: impl Iterator<Item = &'v Value>,
        depth: usize,
        room: &mut Room,
    ) -> Result<(), Problem> {
        values.try_for_each(|value| match value {
            Value::Message(inner) => self.check(inner, depth + 1, room),
            _ => Ok(()),
        })
    }
}

fn bad(why: &dyn std::fmt::Display) -> Problem {
    Problem::malformed(format!("the body is not a message that can be taken: {why}"))
}

/// The memory that reading a message may take.
struct Room {
    /// What is left of it; `None` for a message that is too short to take more.
    left: Option<usize>,
    most: usize,
    /// Those of the message.
    bytes: usize,
}

impl Room {
    /// Takes what is weighed, so many times. `weigh` is told what is left.
    fn take(&mut self, times: usize, weigh: impl FnOnce(usize) -> usize) -> Result<(), Problem> {
        let Some(left) = self.left else { return Ok(()) };
        self.left = left.checked_sub(weigh(left).saturating_mul(times));
        if self.left.is_some() {
            return Ok(());
        }
        Err(Problem::too_large(format!(
            "reading this message may take more than {} bytes of memory, the most for one of {} \
             bytes",
            self.most, self.bytes
        )))
    }
}

/// Memory with a bound.
struct Bounded {
    out: Vec<u8>,
    limit: usize,
    too_large: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.len() + bytes.len() > self.limit {
            self.too_large = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost::Message;
    use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
    use prost_reflect::prost_types::{
        Any, DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MessageOptions,
    };

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn field(
        name: &str,
        number: i32,
        label: Label,
        of: Type,
        type_name: &str,
    ) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(label.into()),
            r#type: Some(of.into()),
            type_name: Some(type_name.to_owned()).filter(|name| !name.is_empty()),
            ..FieldDescriptorProto::default()
        }
    }

    /// `message Order { int64 id = 1; repeated Order parts = 2; string note_text = 3;
    /// google.protobuf.Any more = 4; repeated bool flags = 5; double price = 6; map<string, Order>
    /// named = 7; }`
    fn descriptors() -> Vec<u8> {
        let entry = DescriptorProto {
            name: Some("NamedEntry".to_owned()),
            field: vec![
                field("key", 1, Label::Optional, Type::String, ""),
                field("value", 2, Label::Optional, Type::Message, ".shop.Order"),
            ],
            options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
            ..DescriptorProto::default()
        };
        let order = DescriptorProto {
            name: Some("Order".to_owned()),
            field: vec![
                field("id", 1, Label::Optional, Type::Int64, ""),
                field("parts", 2, Label::Repeated, Type::Message, ".shop.Order"),
                field("note_text", 3, Label::Optional, Type::String, ""),
                field("more", 4, Label::Optional, Type::Message, ".google.protobuf.Any"),
                field("flags", 5, Label::Repeated, Type::Bool, ""),
                field("price", 6, Label::Optional, Type::Double, ""),
                field("named", 7, Label::Repeated, Type::Message, ".shop.Order.NamedEntry"),
            ],
            nested_type: vec![entry],
            ..DescriptorProto::default()
        };
        let any = DescriptorProto {
            name: Some("Any".to_owned()),
            field: vec![
                field("type_url", 1, Label::Optional, Type::String, ""),
                field("value", 2, Label::Optional, Type::Bytes, ""),
            ],
            ..DescriptorProto::default()
        };
        let file = |name: &str, package: &str, message, imports: &[&str]| FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(package.to_owned()),
            dependency: imports.iter().map(|&name| name.to_owned()).collect(),
            message_type: vec![message],
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        };
        let any_file = "google/protobuf/any.proto";
        let file = vec![
            file(any_file, "google.protobuf", any, &[]),
            file("shop.proto", "shop", order, &[any_file]),
        ];
        FileDescriptorSet { file }.encode_to_vec()
    }

    fn schema(drops_unknown: bool) -> Schema {
        Schema::new(&descriptors(), "shop.Order", drops_unknown).unwrap()
    }

    fn to_json(body: &[u8]) -> Result<String, Problem> {
        schema(false).to_json(body, LIMIT).map(|json| String::from_utf8(json).unwrap())
    }

    /// A field with a length before its bytes.
    fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length > 0x7f {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn a_message_becomes_its_canonical_json() {
        let inner = [b"\x08\x07".as_slice(), &part(3, "é\"".as_bytes())].concat();
        let body = [b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f".as_slice(), &part(2, &inner)];
        let expected = r#"{"id":"9223372036854775807","parts":[{"id":"7","noteText":"é\""}]}"#;
        assert_eq!(to_json(&body.concat()).as_deref(), Ok(expected));
        assert_eq!(to_json(b"").as_deref(), Ok("{}"));
        assert_eq!(to_json(&part(5, b"\x01\0")).as_deref(), Ok(r#"{"flags":[true,false]}"#));
        let not_finite = [b"\x31".as_slice(), &f64::INFINITY.to_le_bytes()].concat();
        assert_eq!(to_json(&not_finite).as_deref(), Ok(r#"{"price":"Infinity"}"#));
        let any = Any { type_url: "t/shop.Order".to_owned(), value: b"\x08\x01".to_vec() };
        let expected = r#"{"more":{"@type":"t/shop.Order","id":"1"}}"#;
        assert_eq!(to_json(&part(4, &any.encode_to_vec())).as_deref(), Ok(expected));
    }

    #[test]
    fn what_the_descriptors_do_not_know_is_refused_unless_it_is_to_be_left_out() {
        let named = part(7, &[part(1, b"a"), part(2, b"\x48\x02")].concat());
        for body in [b"\x08\x01\x48\x02".to_vec(), part(2, b"\x48\x02"), named] {
            let problem = to_json(&body).unwrap_err();
            assert!(problem.detail.contains("shop.Order has the unknown field 9"), "{problem:?}");
            assert!(schema(true).to_json(&body, LIMIT).is_ok());
        }
        for (descriptors, message) in
            [(descriptors(), "shop.Other"), (b"\x0a\xff".to_vec(), "shop.Order")]
        {
            assert!(Schema::new(&descriptors, message, false).is_err());
        }
    }

    #[test]
    fn what_would_take_much_memory_is_refused_and_what_is_common_is_not() {
        let order = [&b"\x08\x07"[..], &part(3, b"a text of some twenty letters")].concat();
        let common = part(2, &order).repeat((1 << 20) / (order.len() + 2));
        assert!(schema(false).to_json(&common, 1 << 24).is_ok());
        // Each of these has four bytes, and becomes a node of a tree.
        let dense = |count| part(2, b"\x08\x01").repeat(count);
        assert!(schema(false).to_json(&dense(30_000), 1 << 24).is_ok());
        let problem = schema(false).to_json(&dense(250_000), 1 << 24).unwrap_err();
        assert_eq!(problem.status, 413);
        assert!(problem.detail.contains("for one of 1000000 bytes"), "{problem:?}");
        // The same within others, within a list of messages and in an `Any`.
        let value = part(2, &dense(250_000));
        assert_eq!(schema(false).to_json(&value, 1 << 24).unwrap_err().status, 413);
        let any = Any { type_url: "t/shop.Order".to_owned(), value: dense(250_000) };
        let any = part(4, &any.encode_to_vec());
        assert_eq!(schema(false).to_json(&any, 1 << 24).unwrap_err().status, 413);
        // Pieces of one `Any` are merged before it is read, and what is broken hides nothing.
        let url = part(1, b"t/shop.Order");
        let pieces = [part(4, &url), part(4, &part(2, &dense(250_000)))].concat();
        assert_eq!(schema(false).to_json(&pieces, 1 << 24).unwrap_err().status, 413);
        let broken = part(4, &[url, part(2, b"\xff")].concat());
        let after = [broken, dense(250_000)].concat();
        assert_eq!(schema(false).to_json(&after, 1 << 24).unwrap_err().status, 413);
        // What is broken is so whatever its weight.
        let broken = [dense(40_000), vec![0xff; 16]].concat();
        assert_eq!(schema(false).to_json(&broken, 1 << 24).unwrap_err().status, 400);
    }

    #[test]
    fn messages_are_as_deep_and_as_large_as_they_may_be() {
        type Wrap<'a> = &'a dyn Fn(Vec<u8>) -> Vec<u8>;

        let any =
            |value: Vec<u8>| Any { type_url: "t/shop.Order".to_owned(), value }.encode_to_vec();
        // Of levels, each `Any` is one and what is in it another one; so is what a list has.
        let in_any = |inner: Vec<u8>| part(4, &any(inner));
        let in_list = |inner: Vec<u8>| part(2, &in_any(inner));
        let in_map = |inner: Vec<u8>| part(7, &part(2, &in_any(inner)));
        let wraps: [(Wrap<'_>, usize); 3] = [(&in_any, 2), (&in_list, 3), (&in_map, 3)];
        for (wrap, levels) in wraps {
            let nested = |times: usize| (0..times).fold(Vec::new(), |inner, _| wrap(inner));
            let deepest = (DEPTH_MAX - 1) / levels;
            assert!(to_json(&nested(deepest)).is_ok(), "{levels}");
            let problem = to_json(&nested(deepest + 1)).unwrap_err();
            assert!(problem.detail.contains("nested too deeply"), "{problem:?}");
        }
        let json = r#"{"id":"7"}"#;
        let sized = |limit| schema(false).to_json(b"\x08\x07", limit);
        assert_eq!(sized(json.len()).as_deref(), Ok(json.as_bytes()));
        assert_eq!(sized(json.len() - 1).map_err(|problem| problem.status), Err(413));
    }

    #[test]
    fn hostile_messages_are_refused() {
        let nested = |number: u8, times: usize, wrap: &dyn Fn(Vec<u8>) -> Vec<u8>| {
            (0..times).fold(Vec::new(), |inner, _| part(number, &wrap(inner)))
        };
        let any =
            |of: &str, value: Vec<u8>| Any { type_url: format!("t/{of}"), value }.encode_to_vec();
        let deep_any = (0..20_000).fold(Vec::new(), |inner, _| any("google.protobuf.Any", inner));
        for body in [
            // Cut off, no such wire type, no UTF-8, a length that is not there, an endless number.
            b"\x08".to_vec(),
            b"\x0f".to_vec(),
            part(3, b"\xff"),
            b"\x12\xff\xff\xff\xff\x0f".to_vec(),
            b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(),
            vec![0xff; 64],
            nested(2, 200, &|inner| inner),
            nested(2, 20_000, &|inner| inner),
            nested(4, 150, &|inner| any("shop.Order", inner)),
            part(4, &deep_any),
            part(4, &any("shop.Other", Vec::new())),
        ] {
            let problem = to_json(&body).unwrap_err();
            // What is large may be too heavy before it is anything else.
            let is_weighed = body.len() > 128 << 10;
            let front = &body[..body.len().min(40)];
            assert!(problem.status == 400 || is_weighed && problem.status == 413, "{front:x?}");
        }
        let grows = part(5, &[1; 1000]);
        assert_eq!(schema(false).to_json(&grows, 1000).unwrap_err().status, 413);
        let json = to_json(&grows).unwrap();
        assert!(json.len() <= schema(false).most_bytes(grows.len()));
    }
}
