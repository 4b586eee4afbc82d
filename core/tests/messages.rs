//! What the errors say to a person.

mod common;

use aqueduct_core::geometry::GeometryError;
use aqueduct_core::layout::NameError;
use aqueduct_core::recovery::RecoverError;
use aqueduct_core::typed::ViewError;
use aqueduct_core::{
    AttachError, ClaimError, CreateError, GrantOverflow, JoinError, ReadError, SeekError, Start,
    SubscribeError, SubscriptionId, Violation,
};
use common::{Ring, create};

fn a_subscription() -> SubscriptionId {
    create(&Ring::new(), 16, 0).subscribe(Start::Latest).expect("the table is empty")
}

#[test]
fn every_message_says_what_and_carries_its_numbers() {
    let name = NameError { bytes: 71, limit: 64 };
    let geometry = GeometryError::Capacity { granules: 3 };
    let out_of_range = ReadError::TailOutOfRange { position: 0x10, tail: 0x99 };
    let violation =
        Violation { subscription: a_subscription(), stored: 0x44, last_seen: 0x11, tail: 0x22 };
    for (message, parts) in [
        (name.to_string(), ["71", "64"]),
        (geometry.to_string(), ["3 granules", "power of two"]),
        (GeometryError::Magic { found: *b"notaring" }.to_string(), ["not a ring", "6e"]),
        (GeometryError::Version { found: 9 }.to_string(), ["9", "1"]),
        (
            GeometryError::Crc { stored: 0xab, computed: 0xcd }.to_string(),
            ["0x000000ab", "0x000000cd"],
        ),
        (GeometryError::ZeroEpoch.to_string(), ["epoch", "0"]),
        (GeometryError::MaxPayload { bytes: 77, limit: 66 }.to_string(), ["77", "66"]),
        (GeometryError::DataOffset { bytes: 12 }.to_string(), ["12", "64"]),
        (GeometryError::SegmentTooSmall { bytes: 5, needed: 6 }.to_string(), ["5", "6"]),
        (CreateError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
        (CreateError::Name(name).to_string(), ["71", "64"]),
        (SubscribeError::TableFull { limit: 16 }.to_string(), ["16", "in use"]),
        (SubscribeError::Unknown.to_string(), ["no such", "subscription"]),
        (
            SubscribeError::Position { position: 1, oldest: 2, tail: 3 }.to_string(),
            ["0x1", "[0x2, 0x3]"],
        ),
        (SubscribeError::CursorSegmentTooSmall { bytes: 12 }.to_string(), ["12", "256"]),
        (SubscribeError::Name(name).to_string(), ["71", "64"]),
        (CreateError::Exists { epoch: 0xab }.to_string(), ["0xab", "not closed"]),
        (ClaimError::TooLarge { bytes: 9, limit: 8 }.to_string(), ["9", "8"]),
        (ClaimError::Full { needed: 4, free: 2 }.to_string(), ["4 granules", "2 free"]),
        (ClaimError::Busy { in_flight: 64 }.to_string(), ["busy", "64"]),
        (ClaimError::Closed.to_string(), ["the ring", "closed"]),
        (GrantOverflow { bytes: 9, remaining: 8 }.to_string(), ["9", "8"]),
        (AttachError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
        (AttachError::CursorSegmentTooSmall { bytes: 12 }.to_string(), ["12", "256"]),
        (AttachError::CursorSegmentIdentity.to_string(), ["cursor segment", "1"]),
        (AttachError::Epoch { ring: 0xa, cursor_segment: 0xb }.to_string(), ["0xa", "0xb"]),
        (AttachError::TailOutOfRange(out_of_range).to_string(), ["0x10", "0x99"]),
        (ReadError::BufferTooSmall { needed: 9, given: 8 }.to_string(), ["9", "8"]),
        (
            ReadError::Payload { seq: 7, position: 0x20, stored: 1, computed: 2 }.to_string(),
            ["record 7", "0x00000002"],
        ),
        (ReadError::Gap { expected: 4, found: 6 }.to_string(), ["4 expected", "6 found"]),
        (ReadError::Overrun { expected: Some(4), found: Some(6) }.to_string(), ["4 expected", "6"]),
        (ReadError::Overrun { expected: None, found: None }.to_string(), ["overrun", "faster"]),
        (SeekError::Epoch { ring: 0xa, stored: 0xb }.to_string(), ["0xa", "0xb"]),
        (SeekError::Read(out_of_range).to_string(), ["0x10", "0x99"]),
        (JoinError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
        (JoinError::Read(out_of_range).to_string(), ["0x10", "0x99"]),
        (violation.to_string(), ["0x44", "[0x11, 0x22]"]),
        (ViewError::Type { expected: 7, found: 9 }.to_string(), ["type 7", "type 9"]),
        (ViewError::Size { expected: 8, found: 5 }.to_string(), ["8", "5 bytes"]),
        (ViewError::Alignment { expected: 16 }.to_string(), ["aligned", "16"]),
        (RecoverError::Geometry(geometry).to_string(), ["3 granules", "power of two"]),
        (RecoverError::Tail { checkpoint: 1, tail: 0x77 }.to_string(), ["0x1", "0x77"]),
        (RecoverError::UnknownSeq.to_string(), ["next record", "not known"]),
    ] {
        assert!(
            parts.iter().all(|part| message.contains(part)),
            "{message:?} lacks one of {parts:?}"
        );
    }
    let header = ReadError::Header {
        position: 0x20,
        resumed_at: 0x24,
        stored: 1,
        computed: 2,
        lost: Some(3),
    };
    assert!(header.to_string().ends_with("resumed at 0x24, 3 records lost"), "{header}");
}
