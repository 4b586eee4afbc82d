//! Test records. Source and number determine every byte, so that a reader knows what must arrive.

use aqueduct_core::{Meta, Record};

/// Largest payload, bytes.
pub const MAX_BYTES: usize = 120;

/// Who made a record; its `type_tag`.
pub type Source = u16;

/// Scrambles the bits of a word (the finalizer of MurmurHash3, Appleby).
const fn scramble(mut word: u32) -> u32 {
    word = (word ^ (word >> 16)).wrapping_mul(0x85EB_CA6B);
    word = (word ^ (word >> 13)).wrapping_mul(0xC2B2_AE35);
    word ^ (word >> 16)
}

fn seed(source: Source, number: u32) -> u32 {
    scramble(number ^ (u32::from(source) << 24))
}

/// Header fields of the record with this number among those of its source.
pub fn meta(source: Source, number: u32) -> Meta {
    Meta {
        type_tag: source,
        timestamp_ns: u64::from(seed(source, number)) << 32 | u64::from(number),
    }
}

/// Payload bytes of that record, 0 to [`MAX_BYTES`].
pub fn len(source: Source, number: u32) -> usize {
    seed(source, number) as usize % (MAX_BYTES + 1)
}

/// Makes the payload of that record at the start of `buf`.
pub fn fill(source: Source, number: u32, buf: &mut [u8; MAX_BYTES]) -> &mut [u8] {
    let (payload, mut word) = (&mut buf[..len(source, number)], seed(source, number));
    for chunk in payload.chunks_mut(4) {
        word = scramble(word.wrapping_add(0x9E37_79B9));
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    payload
}

/// Panics unless this is that record, complete and unchanged.
pub fn check(record: &Record, payload: &[u8], source: Source, number: u32) {
    let mut expected = [0; MAX_BYTES];
    let found = Meta { type_tag: record.type_tag, timestamp_ns: record.timestamp_ns };
    assert_eq!(found, meta(source, number), "header of record {}", record.seq);
    assert_eq!(record.len, payload.len());
    assert!(
        payload == fill(source, number, &mut expected),
        "content of record {}: {source}/{number}",
        record.seq
    );
}
