#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

// The checksum as the processor's common instructions compute it.
mod plain_crc;

// The bytes: what is where, and what follows from it.
pub mod layout;

pub mod geometry;

pub mod attributes;

pub mod handshake;

// The door to shared memory, and the checksums of what comes through it.
#[allow(unsafe_code, reason = "the one door to shared memory; each block has its proof")]
pub mod memory;

mod crc;

// Records: alone, and in memory.
mod record;

mod transfer;

// The readers' side.
pub mod read;
pub mod recovery;

// The producer's side.
#[cfg_attr(
    not(any(target_has_atomic = "32", feature = "portable-atomic")),
    allow(dead_code, reason = "some of it is for `shared`, which is not there")
)]
pub mod producer;
pub mod typed;

#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
pub mod shared;

// What the crates of the ecosystem ask of grants and records.
#[cfg(feature = "embedded-io")]
mod io;

#[cfg(feature = "postcard")]
pub mod postcard;

// Both sides, inside one program.
pub mod ring;

#[cfg(feature = "async")]
pub mod waiters;

#[doc = include_str!("../MICROCONTROLLERS.md")]
pub mod microcontrollers {}

/// What this project's own proofs and measurements reach. Not part of the interface: it may change
/// at any time.
#[doc(hidden)]
pub mod internals {
    pub use crate::crc::{Crc, Path};
    pub use crate::record::{Framing, Header};
    #[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
    pub mod claims {
        pub use crate::shared::claims::{Ahead, Claim, Claims, Free, Held, POSITION, Token};
    }
    pub use crate::transfer::{
        read_header, read_record, read_with_crc, write_header, write_record, write_with_crc,
    };
}

pub use attributes::{Attribute, AttributeBlock, AttributeError, AttributeWriter, Attributes};
#[cfg(feature = "alloc")]
pub use memory::HeapSegment;
pub use memory::{Memory, MemoryMut, ReadRegion, Region, Segment, TrustedRegion};
pub use producer::{
    ClaimError, CreateError, Grant, GrantOverflow, Producer, RingConfig, Start, SubscribeError,
    SubscriptionId, SubscriptionStatus, Violation, Wake,
};
pub use read::{
    AttachError, JoinError, Lag, Next, Observer, ReadError, Reader, ReaderStats, Seek, SeekError,
    Sleep, WaitMode,
};
pub use record::{HeaderCrc, Meta, Record, payload_crc};
#[cfg(feature = "alloc")]
pub use ring::HeapRing;
pub use ring::Ring;
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
pub use shared::SharedProducer;
