//! Attributes: named values that travel with a record, as one block after its payload.
//!
//! Pure over private bytes; form and names are those of `core/ABI.md` §3.1. Trusts nothing that it
//! reads.
//!
//! ```
//! use aqueduct_core::attributes::name;
//! use aqueduct_core::{Attribute, AttributeBlock, AttributeError, AttributeWriter, Attributes};
//!
//! let mut room = [0; 48]; // the block is written here, and this is the bound
//! let mut writer = AttributeWriter::new(&mut room);
//! writer.add(name::CONTENT_TYPE, b"text/plain")?;
//! writer.add_parts(&[name::USER_PREFIX, "colour"], b"red")?;
//! let error = writer.add(name::PATH, b"/v1/orders");
//! assert_eq!(error, Err(AttributeError::Room { needed: 64, limit: 48 }));
//! let block = writer.finish();
//! assert!(!block.is_empty());
//!
//! // Kept for many records, or as it came with one.
//! let bytes = block.as_bytes().to_vec();
//! assert_eq!(AttributeBlock::from_bytes(&bytes), Some(block));
//! let attributes = Attributes::of(&bytes);
//! assert!(attributes.are_whole());
//! assert_eq!(attributes.get("user:colour"), Some(&b"red"[..]));
//! for Attribute { name, value } in attributes {
//!     println!("{}: {} bytes", String::from_utf8_lossy(name), value.len());
//! }
//! # Ok::<(), AttributeError>(())
//! ```

use core::fmt;

use crate::layout::{ATTRIBUTES_MAX_BYTES, ATTRIBUTES_UNIT_BYTES};

/// The names that have a meaning of their own. What an HTTP client or an MQTT client named itself
/// never begins with a colon, so it cannot be taken for what the listener says.
pub mod name {
    /// Path of the request, as it was sent.
    pub const PATH: &str = ":path";
    /// Address of the peer.
    pub const PEER: &str = ":peer";
    /// Topic of an MQTT message.
    pub const TOPIC: &str = ":topic";
    /// Media type of the payload; the HTTP header and the property of MQTT 5.
    pub const CONTENT_TYPE: &str = "content-type";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Begins the name of an MQTT user property.
    pub const USER_PREFIX: &str = "user:";
}

/// Bytes of a block before its first entry: the bytes in use, and the number of entries.
const HEAD_BYTES: usize = 4;
/// Bytes of an entry before its name: the name's length, and the value's.
const ENTRY_BYTES: usize = 3;

/// A named value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attribute<'b> {
    /// At least one byte; mostly ASCII.
    pub name: &'b [u8],
    /// Any bytes.
    pub value: &'b [u8],
}

/// Why an attribute does not fit a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AttributeError {
    /// A name has 1 to 255 bytes.
    Name {
        /// Bytes of this one.
        bytes: usize,
    },
    /// The block would be too long.
    Room {
        /// Bytes that it would have.
        needed: usize,
        /// Bytes that it may have: the buffer's, in whole units, and at most
        /// [`ATTRIBUTES_MAX_BYTES`].
        limit: usize,
    },
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { bytes } => {
                write!(f, "the name of an attribute has {bytes} bytes; 1 to 255 are allowed")
            }
            Self::Room { needed, limit } => {
                write!(f, "attributes of {needed} bytes; there is room for {limit}")
            }
        }
    }
}

impl core::error::Error for AttributeError {}

/// A block that is ready for a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttributeBlock<'b> {
    /// INVARIANT: a whole number of units, at most 255; if any, a head and the entries it counts.
    bytes: &'b [u8],
}

impl<'b> AttributeBlock<'b> {
    /// No attributes.
    pub const NONE: Self = Self { bytes: &[] };

    /// Writes a block of these names and values into the start of `into`.
    ///
    /// # Errors
    /// [`AttributeError`]; nothing is cut.
    pub fn write<'n>(
        attributes: impl IntoIterator<Item = (&'n str, &'n [u8])>,
        into: &'b mut [u8],
    ) -> Result<Self, AttributeError> {
        let mut writer = AttributeWriter::new(into);
        for (name, value) in attributes {
            writer.add(name, value)?;
        }
        Ok(writer.finish())
    }

    /// Takes up a block that was written before, for example one kept for many records. `None` if
    /// it is not what `core/ABI.md` §3.1 describes: whole units, entries as many and as long as it
    /// says, names of UTF-8, zeros after the last of them.
    #[must_use]
    pub fn from_bytes(bytes: &'b [u8]) -> Option<Self> {
        let mut walk = Attributes::of(bytes);
        let fits = bytes.len() <= ATTRIBUTES_MAX_BYTES
            && bytes.len().is_multiple_of(ATTRIBUTES_UNIT_BYTES)
            && walk.are_whole()
            && walk.all(|attribute| core::str::from_utf8(attribute.name).is_ok());
        let used = bytes.first_chunk().map_or(0, |&used| usize::from(u16::from_le_bytes(used)));
        (fits && bytes.iter().skip(used).all(|&byte| byte == 0)).then_some(Self { bytes })
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Returns whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns its attributes.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'b> {
        Attributes::of(self.bytes)
    }

    /// Returns its length in units.
    #[allow(clippy::cast_possible_truncation, reason = "at most 255 (invariant)")]
    pub(crate) const fn units(&self) -> u8 {
        (self.bytes.len() / ATTRIBUTES_UNIT_BYTES) as u8
    }
}

/// Writes a block into a borrowed buffer, one attribute after the other.
#[derive(Debug)]
pub struct AttributeWriter<'b> {
    into: &'b mut [u8],
    /// INVARIANT: with the padding up to a unit, at most `limit()`; 0 or more than the head.
    used: usize,
    count: u16,
}

impl<'b> AttributeWriter<'b> {
    /// Begins an empty block; `into` bounds its length.
    #[must_use]
    pub const fn new(into: &'b mut [u8]) -> Self {
        Self { into, used: 0, count: 0 }
    }

    fn limit(&self) -> usize {
        self.into.len().min(ATTRIBUTES_MAX_BYTES) / ATTRIBUTES_UNIT_BYTES * ATTRIBUTES_UNIT_BYTES
    }

    /// Adds an attribute. A name may occur more than once.
    ///
    /// # Errors
    /// [`AttributeError`]; the attribute was not added then, nor a part of it.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), AttributeError> {
        self.add_parts(&[name], value)
    }

    /// Does what [`add`](Self::add) does with a name in several parts.
    ///
    /// # Errors
    /// As there.
    pub fn add_parts(&mut self, name: &[&str], value: &[u8]) -> Result<(), AttributeError> {
        let bytes = name.iter().map(|part| part.len()).sum();
        let short = u8::try_from(bytes).ok().filter(|&bytes| bytes > 0);
        let name_len = short.ok_or(AttributeError::Name { bytes })?;
        let used = self.used.max(HEAD_BYTES);
        let limit = self.limit();
        let needed = used.saturating_add(ENTRY_BYTES + bytes).saturating_add(value.len());
        let room = AttributeError::Room { needed, limit };
        let value_len = u16::try_from(value.len()).map_err(|_| room)?;
        let rest = self.into.get_mut(used..limit).unwrap_or_default();
        let Some(mut rest) = rest.get_mut(..needed - used) else { return Err(room) };
        let [low, high] = value_len.to_le_bytes();
        let head = [name_len, low, high];
        let parts = name.iter().map(|part| part.as_bytes());
        for part in [&head[..]].into_iter().chain(parts).chain([value]) {
            // They fit exactly, as was just found out.
            let Some((to, after)) = rest.split_at_mut_checked(part.len()) else { break };
            to.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            rest = after;
        }
        self.used = needed;
        // An entry has four bytes at least, so there are never so many.
        self.count = self.count.wrapping_add(1);
        Ok(())
    }

    /// Completes the block. One without attributes has no bytes.
    #[must_use]
    pub fn finish(self) -> AttributeBlock<'b> {
        let Self { into, used, count } = self;
        let whole = used.next_multiple_of(ATTRIBUTES_UNIT_BYTES);
        let bytes = into.get_mut(..whole).unwrap_or_default();
        if let Some((head, entries)) = bytes.split_first_chunk_mut::<HEAD_BYTES>() {
            let [a, b] = u16::try_from(used).unwrap_or(u16::MAX).to_le_bytes();
            let [c, d] = count.to_le_bytes();
            *head = [a, b, c, d];
            entries.iter_mut().skip(used - HEAD_BYTES).for_each(|byte| *byte = 0);
        }
        AttributeBlock { bytes }
    }
}

/// Walks the attributes of a block, whatever its bytes are: it ends at the first entry that is not
/// whole.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'b> {
    /// From the next entry on.
    rest: &'b [u8],
    /// Entries that should still come.
    left: u16,
    damaged: bool,
}

impl<'b> Attributes<'b> {
    /// Walks these bytes, as they come from a record. No bytes: no attributes.
    #[must_use]
    pub fn of(block: &'b [u8]) -> Self {
        if block.is_empty() {
            return Self::default();
        }
        let Some((&[a, b, c, d], _)) = block.split_first_chunk::<HEAD_BYTES>() else {
            return Self { damaged: true, ..Self::default() };
        };
        match block.get(HEAD_BYTES..usize::from(u16::from_le_bytes([a, b]))) {
            Some(rest) => Self { rest, left: u16::from_le_bytes([c, d]), damaged: false },
            None => Self { damaged: true, ..Self::default() },
        }
    }

    /// Returns the value of the first attribute of this name that was not walked past.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'b [u8]> {
        let found = self.clone().find(|attribute| attribute.name == name.as_bytes());
        found.map(|attribute| attribute.value)
    }

    /// Returns whether the entries that are left are as many and as long as the block says.
    #[must_use]
    pub fn are_whole(&self) -> bool {
        let mut walk = self.clone();
        while walk.next().is_some() {}
        !walk.damaged && walk.rest.is_empty()
    }

    fn entry(&self) -> Option<(Attribute<'b>, &'b [u8])> {
        let (&[name_len, low, high], rest) = self.rest.split_first_chunk::<ENTRY_BYTES>()?;
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        (!name.is_empty()).then_some((Attribute { name, value }, rest))
    }
}

impl<'b> Iterator for Attributes<'b> {
    type Item = Attribute<'b>;

    fn next(&mut self) -> Option<Attribute<'b>> {
        if self.left == 0 {
            return None;
        }
        let Some((attribute, rest)) = self.entry() else {
            *self = Self { damaged: true, ..Self::default() };
            return None;
        };
        (self.rest, self.left) = (rest, self.left - 1);
        Some(attribute)
    }
}

impl core::iter::FusedIterator for Attributes<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_the_worked_example_of_the_abi() {
        let mut room = [0xEE; 64];
        let attributes = [(name::PATH, &b"/v1"[..]), ("a", b"")];
        let block = AttributeBlock::write(attributes, &mut room).unwrap();
        assert_eq!(
            block.as_bytes(),
            b"\x13\0\x02\0\x05\x03\0:path/v1\x01\0\0a\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
        assert_eq!(block.units(), 2);
        assert_eq!(block.attributes().get(":path"), Some(&b"/v1"[..]));
        assert_eq!(block.attributes().get("a"), Some(&b""[..]));
        assert_eq!(block.attributes().get("b"), None);
    }

    #[test]
    fn nothing_is_added_that_does_not_fit_and_the_error_says_how_much_it_is() {
        let mut room = [0; 47];
        let mut writer = AttributeWriter::new(&mut room);
        assert_eq!(writer.add("", b"x"), Err(AttributeError::Name { bytes: 0 }));
        let long = core::str::from_utf8(&[b'n'; 256]).unwrap();
        assert_eq!(writer.add(long, b""), Err(AttributeError::Name { bytes: 256 }));
        let error = AttributeError::Room { needed: 33, limit: 32 };
        assert_eq!(writer.add("name", &[1; 22]), Err(error));
        assert_eq!(writer.add("name", &[1; 21]), Ok(()));
        assert_eq!(writer.add("m", b""), Err(AttributeError::Room { needed: 36, limit: 32 }));
        assert_eq!(writer.finish().attributes().count(), 1);
    }

    #[test]
    fn a_block_is_taken_up_only_if_it_is_what_a_writer_makes() {
        let mut room = [0; 32];
        let attributes = [(name::PATH, &b"/v1"[..]), ("\u{e4}", b"\xFF")];
        let block = AttributeBlock::write(attributes, &mut room).unwrap().as_bytes();
        let block: [u8; 32] = block.try_into().unwrap();
        assert!(AttributeBlock::from_bytes(&block).is_some());
        assert_eq!(AttributeBlock::from_bytes(&[]), Some(AttributeBlock::NONE));
        for (at, value, what) in [
            (0, 20, "an entry is not in what is used"),
            (0, 0, "nothing is used, not even the head"),
            (2, 1, "an entry is not counted"),
            (2, 3, "an entry is missing"),
            (4, 0, "a name is empty"),
            (18, 0xFF, "a name is not UTF-8"),
            (31, 1, "a byte past the entries is not zero"),
        ] {
            let mut damaged = block;
            damaged[at] = value;
            assert_eq!(AttributeBlock::from_bytes(&damaged), None, "{what}");
        }
        assert_eq!(AttributeBlock::from_bytes(&block[..31]), None, "not whole units");
    }

    #[test]
    fn no_attributes_are_no_bytes_and_no_room_takes_none() {
        assert_eq!(AttributeWriter::new(&mut [0; 64]).finish(), AttributeBlock::NONE);
        for bytes in 0..16 {
            let mut room = [0; 16];
            let mut writer = AttributeWriter::new(&mut room[..bytes]);
            assert!(writer.add("n", b"").is_err());
            assert!(writer.finish().is_empty());
        }
    }

    #[test]
    fn a_value_longer_than_any_block_is_refused() {
        extern crate std;
        let mut room = [0; 8192];
        let mut writer = AttributeWriter::new(&mut room);
        let value = std::vec![7; 70_000];
        let error = |needed| AttributeError::Room { needed, limit: 4080 };
        assert_eq!(writer.add("n", &value), Err(error(70_008)));
        assert_eq!(writer.add("n", &value[..4073]), Err(error(4081)));
        assert_eq!(writer.add("n", &value[..4072]), Ok(()));
        assert_eq!(writer.finish().units(), 255);
    }
}
