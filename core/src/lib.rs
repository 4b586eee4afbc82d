#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

// The bytes: where everything is.
pub mod geometry;
pub mod layout;

pub mod handshake;

// Memory, and the checksums of what is in it.
pub mod crc;
#[allow(unsafe_code, reason = "the one door to shared memory; each block has its proof")]
pub mod memory;

pub mod record;

pub mod error;

// The readers' side.
pub mod read;
pub mod recovery;

// The producer's side.
pub mod producer;
pub mod typed;

#[cfg(target_has_atomic = "32")]
pub mod shared;

pub use error::{
    AttachError, ClaimError, CreateError, GrantOverflow, ReadError, SeekError, SubscribeError,
};
pub use memory::{Memory, MemoryMut, ReadRegion, Region, Segment, TrustedRegion};
pub use producer::{Grant, Producer, RingConfig, Start, SubscriptionId, Violation, Wake};
pub use read::{Lag, Next, Observer, Reader, Seek, Sleep, WaitMode};
pub use record::{Meta, Record};
#[cfg(target_has_atomic = "32")]
pub use shared::SharedProducer;
