#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

pub mod layout;

pub mod handshake;

#[allow(unsafe_code, reason = "the one door to shared memory; each block has its proof")]
pub mod region;

pub mod crc;
pub mod record;

pub mod config;
pub mod error;

mod boundaries;
pub mod gate;
pub mod grant;
pub mod producer;
mod subscriptions;

mod walk;

pub mod observer;
pub mod reader;

pub mod recovery;
pub mod typed;

#[cfg(target_has_atomic = "32")]
pub mod shared;

pub use config::{Meta, RingConfig, Start};
pub use error::{AttachError, ClaimError, CreateError, ReadError, SubscribeError};
pub use gate::{SubscriptionId, Violation, Wake};
pub use grant::Grant;
pub use observer::Observer;
pub use producer::Producer;
pub use reader::{Lag, Next, Reader, Record, Seek, Sleep, WaitMode};
pub use region::{Memory, MemoryMut, ReadRegion, Region, Segment, TrustedRegion};
#[cfg(target_has_atomic = "32")]
pub use shared::SharedProducer;
