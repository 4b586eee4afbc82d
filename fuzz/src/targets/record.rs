//! `record`: a header that is accepted encodes to the bytes it came from, and what is encoded is
//! accepted at its place and nowhere else. The bytes are those of the second encoder in [`wire`].

use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::payload_crc;

use crate::input::Input;
use crate::paths;
use crate::wire::{self, Head};

fn same(ours: &Head, theirs: &Header) {
    let Head { len, kind, flags, type_tag, seq, timestamp_ns, payload_crc } = *ours;
    assert_eq!(*theirs, Header { len, kind, flags, type_tag, seq, timestamp_ns, payload_crc });
}

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let (epoch, position, repair) = (input.u64(), input.u32(), input.u8());
    let framing = Framing::new(epoch);
    let mut wire = [0; 32];
    wire.fill_with(|| input.u8());
    let computed = wire::head_crc(epoch, position, &wire);
    if repair % 2 == 1 {
        wire[28..].copy_from_slice(&computed.to_le_bytes());
    }

    // Any bytes: accepted exactly if the CRC is right, and then they are what encoding gives.
    let stored = wire::u32_at(&wire, 28);
    match framing.decode(position, &wire) {
        Ok(header) => {
            assert_eq!(stored, computed);
            same(&Head::parse(&wire), &header);
            assert_eq!(framing.encode(position, &header), wire);
        }
        Err(error) => {
            assert_ne!(stored, computed);
            assert_eq!((error.stored, error.computed), (stored, computed));
        }
    }

    // Any header: the same bytes as the second encoder's, and back.
    let ours = Head::parse(&wire);
    let header = Header {
        len: ours.len,
        kind: ours.kind,
        flags: ours.flags,
        type_tag: ours.type_tag,
        seq: ours.seq,
        timestamp_ns: ours.timestamp_ns,
        payload_crc: ours.payload_crc,
    };
    let encoded = framing.encode(position, &header);
    assert_eq!(encoded, ours.encode(epoch, position));
    assert_eq!(framing.decode(position, &encoded), Ok(header));

    // A CRC of 32 bits finds every change of one 32-bit word: another position, one byte flipped.
    let (elsewhere, at, mask) = (input.u32(), input.below(32) as usize, input.u8());
    if elsewhere != position {
        assert!(framing.decode(elsewhere, &encoded).is_err());
    }
    if mask != 0 {
        let mut flipped = encoded;
        flipped[at] ^= mask;
        assert!(framing.decode(position, &flipped).is_err());
    }

    let rest = input.rest();
    assert_eq!(payload_crc(rest), wire::crc(rest));
}
