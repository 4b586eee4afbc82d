//! The records of the tests: each one unique, printable, and known completely from its identity, so
//! that whoever receives it can check every byte without having seen it posted.

use std::sync::LazyLock;

/// The text that payloads are cut out of is this long, and so is the longest payload.
const FILLER_BYTES: usize = 64 * 1024;

/// Which record it is: the `number`-th of `client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    /// Counted from 0.
    pub(crate) client: u32,
    /// Counted from 0.
    pub(crate) number: u32,
}

/// The sizes of a test's records.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Most records are shorter than this, bytes.
    pub(crate) usual_bytes: usize,
    /// None is longer, bytes; some are exactly this long.
    pub(crate) max_bytes: usize,
    /// So many of 16 records have the largest size.
    pub largest_of_16: u64,
}

impl Sizes {
    /// Writes the payload of `id` over `out`: `client number `, then printable filler.
    pub(crate) fn write(self, id: Id, out: &mut Vec<u8>) {
        let hash = hash(id);
        let length = if hash % 16 < self.largest_of_16 {
            self.max_bytes
        } else {
            remainder(hash >> 4, self.usual_bytes)
        };
        out.clear();
        out.extend_from_slice(format!("{} {} ", id.client, id.number).as_bytes());
        let filler = length.saturating_sub(out.len());
        let start = remainder(hash >> 24, FILLER_BYTES);
        out.extend_from_slice(&FILLER[start..start + filler]);
    }

    /// The record that `payload` and `type_tag` are, if they are one, byte for byte. `scratch`
    /// saves an allocation.
    pub(crate) fn recognise(
        self,
        type_tag: u16,
        payload: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Option<Id> {
        let mut words = payload
            .splitn(3, |&byte| byte == b' ')
            .map(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let id = Id { client: words.next()??, number: words.next()?? };
        self.write(id, scratch);
        (scratch == payload && type_tag == tag(id).unwrap_or(0)).then_some(id)
    }
}

/// The type that `id` is posted with; some go without, which means 0.
pub(crate) fn tag(id: Id) -> Option<u16> {
    let bytes = hash(id).to_le_bytes();
    let tag = u16::from_le_bytes([bytes[6], bytes[7]]);
    (!tag.is_multiple_of(5)).then_some(tag)
}

static FILLER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let letter = |index: u64| b' ' + u8::try_from(mix(index) % 95).unwrap_or(0);
    (0..2 * FILLER_BYTES as u64).map(letter).collect()
});

fn hash(id: Id) -> u64 {
    mix(u64::from(id.client) << 32 | u64::from(id.number))
}

/// Spreads every bit of `value` over all bits. Source: `SplitMix64`.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn remainder(value: u64, modulus: usize) -> usize {
    usize::try_from(value % modulus as u64).unwrap_or(0)
}
