//! Conversations with a codec: whole, cut as the input says, and byte by byte.

use aqueduct::codec::trial::{End, Kept, Trial, converse};
use aqueduct::codec::{Codec, Event};

use crate::input::Input;

/// What a whole conversation came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub answers: Vec<u8>,
    pub end: End,
    pub records: Vec<Kept>,
    /// Of each record, as a block.
    pub attributes: Vec<Vec<u8>>,
    pub events: Vec<Event>,
}

/// How the bytes come: lengths of the pieces, and how often the ring is full before it takes a
/// record.
pub struct Way {
    cuts: Vec<usize>,
    fulls: u32,
}

impl Way {
    /// Takes the way from the front of an input.
    pub fn take(input: &mut Input<'_>) -> Self {
        let fulls = input.below(3);
        let pieces = input.below(16);
        let cuts = (0..pieces).map(|_| 1 + usize::from(input.u8() & 63)).collect();
        Self { cuts, fulls }
    }
}

/// Has the same conversation in three ways, which must come to the same, and returns that.
///
/// # Panics
/// If they do not.
pub fn hear<C: Codec>(make: impl Fn() -> C, bytes: &[u8], way: &Way) -> Heard {
    let have = |cuts: &[usize], fulls| {
        let mut sink = Trial { fulls, ..Trial::new() };
        let (answers, end) = converse(&mut make(), &mut sink, bytes, cuts);
        let Trial { records, attributes, events, .. } = sink;
        Heard { answers, end, records, attributes, events }
    };
    let whole = have(&[], way.fulls);
    assert_eq!(have(&way.cuts, way.fulls), whole);
    assert_eq!(have(&vec![1; bytes.len()], way.fulls), whole);
    whole
}
