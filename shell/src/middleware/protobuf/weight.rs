//! What reading a message takes of memory, found out by a walk through its bytes that allocates
//! nothing, before it is read.
//!
//! Knows what prost-reflect keeps of a message. A test holds the sums against an allocator.

use prost_reflect::{Kind, MapKey, MessageDescriptor, Value};

/// A value of a field, bytes.
const VALUE: usize = size_of::<Value>();
/// A node of the tree that has the fields of a message: eleven of them, and what makes it a tree.
const NODE: usize = 11 * (VALUE + 16) + 128;
/// Fields that one node has room for.
const NODE_FIELDS: usize = 11;
/// A field more, where nodes are full by a third at least.
const FIELD: usize = NODE / 3;
/// A value in a list, while the list grows twofold.
const ELEMENT: usize = 3 * VALUE;
/// A list that has begun.
const LIST: usize = 4 * VALUE;
/// An entry of a map, while the map grows.
const ENTRY: usize = 4 * (VALUE + size_of::<MapKey>() + 1);
/// A map that has begun.
const MAP: usize = 4 * ENTRY;
/// A field that the descriptors do not know, while their list grows.
const UNKNOWN: usize = 3 * 64;
/// What a text or bytes take beside twice their length.
const TEXT: usize = 64;
/// Most levels that are looked at. The reader refuses more than a hundred.
const LEVELS_MAX: usize = 256;

/// Returns most bytes that reading this message takes; more than `most` if it is more. Of a message
/// that is broken it is the part that is read before that is found. What is in a
/// `google.protobuf.Any` is bytes, as it is to the reader: it is weighed when these are read.
pub(super) fn weigh(of: &MessageDescriptor, body: &[u8], most: usize) -> usize {
    let mut walk = Walk { bytes: 0, most };
    let mut rest = body;
    // Where it stops, the reader does.
    let _ = walk.fields(Some(of), &mut rest, At { level: 1, end: None, is_special: false });
    walk.bytes
}

/// Where a walk is.
#[derive(Clone, Copy)]
struct At {
    level: usize,
    /// The number of the group that ends here.
    end: Option<u64>,
    /// In a message of `google.protobuf`, of which a second copy is made to write it as JSON.
    is_special: bool,
}

impl At {
    fn below(self) -> Self {
        Self { level: self.level + 1, end: None, ..self }
    }
}

struct Walk {
    bytes: usize,
    most: usize,
}

/// A field that the descriptors know.
struct Known {
    kind: Kind,
    is_list: bool,
    is_map: bool,
}

impl Walk {
    /// Adds bytes; `None` if it is too much already.
    fn add(&mut self, bytes: usize) -> Option<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        (self.bytes <= self.most).then_some(())
    }

    /// Walks through the fields of a message, or of a group that is not known.
    fn fields(&mut self, of: Option<&MessageDescriptor>, rest: &mut &[u8], at: At) -> Option<()> {
        if at.level > LEVELS_MAX {
            return None;
        }
        let name = of.map_or("", |of| of.full_name());
        let is_first_special = !at.is_special && name.starts_with("google.protobuf.");
        let at = At { is_special: at.is_special || is_first_special, ..at };
        let before = self.bytes;
        let walked = self.each_field(of, rest, at);
        if is_first_special {
            self.add((self.bytes - before).saturating_mul(2))?;
        }
        walked
    }

    fn each_field(
        &mut self,
        of: Option<&MessageDescriptor>,
        rest: &mut &[u8],
        at: At,
    ) -> Option<()> {
        let is_entry = of.is_some_and(MessageDescriptor::is_map_entry);
        let (mut last, mut different) = (0, 0);
        while !rest.is_empty() {
            let key = varint(rest)?;
            let (number, wire) = (key >> 3, key & 7);
            if wire == 4 {
                return (at.end == Some(number)).then_some(());
            }
            let is_new = number != last;
            if is_new && of.is_some() && !is_entry {
                different += 1;
                self.add(match different {
                    1 => NODE,
                    ..=NODE_FIELDS => 0,
                    // It becomes two, with one above them.
                    more if more == NODE_FIELDS + 1 => 2 * NODE,
                    _ => FIELD,
                })?;
            }
            last = number;
            let known = of.and_then(|of| known(of, u32::try_from(number).ok()?));
            if wire == 2 {
                let length = usize::try_from(varint(rest)?).ok()?;
                let (part, after) = rest.split_at_checked(length)?;
                *rest = after;
                self.part(known.as_ref(), part, is_new, at)?;
                continue;
            }
            match &known {
                None => self.add(UNKNOWN)?,
                Some(known) if known.is_list => {
                    self.add(ELEMENT + if is_new { LIST } else { 0 })?;
                }
                Some(_) => {}
            }
            match wire {
                0 => drop(varint(rest)?),
                1 => *rest = rest.get(8..)?,
                5 => *rest = rest.get(4..)?,
                3 => {
                    let of = known.and_then(Known::message);
                    let below = At { end: Some(number), ..at.below() };
                    self.fields(of.as_ref(), rest, below)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Adds a field that has a length.
    fn part(&mut self, known: Option<&Known>, part: &[u8], is_new: bool, at: At) -> Option<()> {
        let text = part.len().saturating_mul(2).saturating_add(TEXT);
        let Some(known) = known else { return self.add(UNKNOWN + text) };
        let begun = if is_new { LIST } else { 0 };
        match &known.kind {
            Kind::Message(of) => {
                if known.is_map {
                    self.add(ENTRY + if is_new { MAP } else { 0 })?;
                } else if known.is_list {
                    self.add(ELEMENT + begun)?;
                }
                self.fields(Some(of), &mut &*part, at.below())
            }
            Kind::String | Kind::Bytes => {
                self.add(text + if known.is_list { ELEMENT + begun } else { 0 })
            }
            kind if known.is_list => {
                let count = match kind {
                    Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => part.len() / 8,
                    Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => part.len() / 4,
                    _ => part.iter().filter(|byte| **byte < 0x80).count(),
                };
                self.add(count.saturating_mul(ELEMENT) + begun)
            }
            _ => Some(()),
        }
    }
}

impl Known {
    fn message(self) -> Option<MessageDescriptor> {
        match self.kind {
            Kind::Message(of) => Some(of),
            _ => None,
        }
    }
}

fn known(of: &MessageDescriptor, number: u32) -> Option<Known> {
    if let Some(field) = of.get_field(number) {
        let (is_list, is_map) = (field.is_list(), field.is_map());
        return Some(Known { kind: field.kind(), is_list, is_map });
    }
    let field = of.get_extension(number)?;
    Some(Known { kind: field.kind(), is_list: field.is_list(), is_map: field.is_map() })
}

/// Reads a number of seven bits a byte, at most ten of them.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in 0..10 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MessageOptions,
    };

    use super::*;

    fn message(name: &str, fields: &[(i32, Label, Type, &str)]) -> DescriptorProto {
        let fields = fields.iter().map(|(number, label, of, name)| FieldDescriptorProto {
            name: Some(format!("f{number}")),
            number: Some(*number),
            label: Some((*label).into()),
            r#type: Some((*of).into()),
            type_name: Some((*name).to_owned()).filter(|name| !name.is_empty()),
            ..FieldDescriptorProto::default()
        });
        DescriptorProto {
            name: Some(name.to_owned()),
            field: fields.collect(),
            ..DescriptorProto::default()
        }
    }

    /// `message M { optional int64 f1 = 1; optional int32 f2 = 2; optional string f3 = 3; optional
    /// bytes f4 = 4; repeated double f5 = 5; repeated float f6 = 6; repeated int32 f7 = 7; repeated
    /// string f8 = 8; map<int32, string> f9 = 9; optional M f10 = 10; repeated M f11 = 11; optional
    /// group G f12 = 12 { optional string f3 = 3; } optional google.protobuf.S f13 = 13; repeated
    /// group G f14 = 14; repeated fixed64 f15 = 15; }`, and `message S { optional S f1 = 1;
    /// optional string f3 = 3; }`
    fn described() -> MessageDescriptor {
        use Label::{Optional, Repeated};
        let special =
            [(1, Optional, Type::Message, ".google.protobuf.S"), (3, Optional, Type::String, "")];
        let mut entry =
            message("F9Entry", &[(1, Optional, Type::Int32, ""), (2, Optional, Type::String, "")]);
        for (field, name) in entry.field.iter_mut().zip(["key", "value"]) {
            field.name = Some(name.to_owned());
        }
        entry.options = Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
        let group = message("G", &[(3, Optional, Type::String, "")]);
        let mut all = message(
            "M",
            &[
                (1, Optional, Type::Int64, ""),
                (2, Optional, Type::Int32, ""),
                (3, Optional, Type::String, ""),
                (4, Optional, Type::Bytes, ""),
                (5, Repeated, Type::Double, ""),
                (6, Repeated, Type::Float, ""),
                (7, Repeated, Type::Int32, ""),
                (8, Repeated, Type::String, ""),
                (9, Repeated, Type::Message, ".m.M.F9Entry"),
                (10, Optional, Type::Message, ".m.M"),
                (11, Repeated, Type::Message, ".m.M"),
                (12, Optional, Type::Group, ".m.M.G"),
                (13, Optional, Type::Message, ".google.protobuf.S"),
                (14, Repeated, Type::Group, ".m.M.G"),
                (15, Repeated, Type::Fixed64, ""),
            ],
        );
        all.nested_type = vec![entry, group];
        let file = |name: &str, package: &str, message, imports: &[&str]| FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(package.to_owned()),
            dependency: imports.iter().map(|&name| name.to_owned()).collect(),
            message_type: vec![message],
            syntax: Some("proto2".to_owned()),
            ..FileDescriptorProto::default()
        };
        let file = vec![
            file("s.proto", "google.protobuf", message("S", &special), &[]),
            file("m.proto", "m", all, &["s.proto"]),
        ];
        let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file });
        pool.expect("well formed").get_message_by_name("m.M").expect("there")
    }

    /// A field with a length before its bytes.
    fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
        let (mut out, mut length) = (vec![number << 3 | 2], bytes.len());
        while length > 0x7f {
            out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).expect("seven bits"));
        [&out, bytes].concat()
    }

    fn text(bytes: usize) -> usize {
        2 * bytes + TEXT
    }

    #[test]
    fn each_kind_of_field_weighs_what_is_kept_of_it() {
        let of = described();
        let numbers =
            |count: usize| b"\x08\x01\x10\x01".repeat(count.div_ceil(2))[..2 * count].to_vec();
        let g = [&[12 << 3 | 3][..], &part(3, b"abc"), &[12 << 3 | 4]].concat();
        let listed_g = [&[14 << 3 | 3][..], &part(3, b"abc"), &[14 << 3 | 4]].concat();
        let entry = part(9, &[&b"\x08\x01"[..], &part(2, b"ab")].concat());
        let inner = [b"\x08\x01".to_vec(), part(3, b"ab")].concat();
        let special = part(13, &part(1, &part(3, b"ab")));
        for (what, body, weight) in [
            ("nothing", vec![], 0),
            ("a number", numbers(1), NODE),
            ("a number of many bytes", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(), NODE),
            ("a number twice", b"\x08\x01\x08\x01".to_vec(), NODE),
            ("as many as a node has", numbers(11), NODE),
            ("one more, which splits it", numbers(12), 3 * NODE),
            ("two more", numbers(14), 3 * NODE + 2 * FIELD),
            ("a text", part(3, b"hello"), NODE + text(5)),
            ("bytes", part(4, b"hello"), NODE + text(5)),
            ("a number with a length", part(1, b"hello"), NODE),
            ("packed doubles", part(5, &[0; 17]), NODE + LIST + 2 * ELEMENT),
            ("packed fixed64", part(15, &[0; 16]), NODE + LIST + 2 * ELEMENT),
            ("packed floats", part(6, &[0; 16]), NODE + LIST + 4 * ELEMENT),
            ("packed numbers", part(7, b"\x01\x80\x01\x7f"), NODE + LIST + 3 * ELEMENT),
            (
                "packed numbers twice",
                [part(7, &[1]), part(7, &[2, 3])].concat(),
                NODE + LIST + 3 * ELEMENT,
            ),
            ("numbers one by one", b"\x38\x01".repeat(3), NODE + LIST + 3 * ELEMENT),
            (
                "doubles one by one",
                [&[0x29][..], &[0; 8]].concat().repeat(2),
                NODE + LIST + 2 * ELEMENT,
            ),
            (
                "floats one by one",
                [&[0x35][..], &[0; 4]].concat().repeat(2),
                NODE + LIST + 2 * ELEMENT,
            ),
            ("texts", part(8, b"abc").repeat(2), NODE + LIST + 2 * (ELEMENT + text(3))),
            ("a map", entry.repeat(2), NODE + MAP + 2 * (ENTRY + text(2))),
            ("a message", part(10, &inner), 2 * NODE + text(2)),
            ("messages", part(11, &inner).repeat(2), NODE + LIST + 2 * (ELEMENT + NODE + text(2))),
            ("a group", g.clone(), 2 * NODE + text(3)),
            ("groups", listed_g.repeat(2), NODE + LIST + 2 * (ELEMENT + NODE + text(3))),
            ("a message that is copied, once", special, NODE + 3 * (2 * NODE + text(2))),
            ("an unknown number", b"\xa0\x01\x01".to_vec(), NODE + UNKNOWN),
            ("unknown bytes", b"\xa2\x01\x03abc".to_vec(), NODE + UNKNOWN + text(3)),
            ("an unknown fixed32", b"\xa5\x01abcd".to_vec(), NODE + UNKNOWN),
            ("an unknown fixed64", b"\xa1\x01abcdefgh".to_vec(), NODE + UNKNOWN),
            (
                "an unknown group",
                [&b"\xa3\x01"[..], b"\x08\x01", &part(3, b"ab"), b"\xa4\x01\x08\x01"].concat(),
                // What comes after it is another field.
                NODE + 3 * UNKNOWN + text(2),
            ),
        ] {
            assert_eq!(weigh(&of, &body, usize::MAX), weight, "{what}");
        }
    }

    #[test]
    fn a_walk_ends_where_the_reader_does() {
        let of = described();
        let after = part(3, b"it is not read");
        for (what, broken) in [
            ("no number", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec()),
            ("no such wire type", b"\x0f".to_vec()),
            ("the end of no group", vec![12 << 3 | 4]),
            ("the end of another group", vec![12 << 3 | 3, 14 << 3 | 4]),
        ] {
            let broken = [b"\x08\x01".to_vec(), broken].concat();
            let (alone, more) = (weigh(&of, &broken, usize::MAX), [broken, after.clone()].concat());
            assert_eq!(weigh(&of, &more, usize::MAX), alone, "{what}");
        }
        for short in [&b"\x1a\x05abc"[..], b"\xa5\x01abc", b"\xa1\x01abcdefg", b"\x08"] {
            assert!(weigh(&of, short, usize::MAX) <= NODE + UNKNOWN, "{short:?}");
        }
        // As many levels as are looked at, and no more.
        let nested =
            |levels: usize| (1..levels).fold(b"\x08\x01".to_vec(), |inner, _| part(10, &inner));
        assert_eq!(weigh(&of, &nested(LEVELS_MAX), usize::MAX), LEVELS_MAX * NODE);
        assert_eq!(weigh(&of, &nested(LEVELS_MAX + 1), usize::MAX), LEVELS_MAX * NODE);
        let groups = [[12 << 3 | 3_u8].repeat(LEVELS_MAX + 9), part(3, b"ab")].concat();
        assert!(weigh(&of, &groups, usize::MAX) < LEVELS_MAX * (NODE + UNKNOWN + 1));
        // What is too much already is not walked through.
        let many = part(11, b"\x08\x01").repeat(1000);
        let most = 10 * NODE;
        let weight = weigh(&of, &many, most);
        assert!(weight > most && weight <= most + NODE + LIST + ELEMENT, "{weight}");
        assert_eq!(weigh(&of, b"\x08\x01", NODE), NODE);
    }
}
