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
