#![doc = include_str!("../README.md")]
#![no_std]

pub mod layout;
pub mod region;

pub mod record;

pub mod error;
pub mod gate;
pub mod producer;
pub mod reader;

pub use gate::{SubscriptionId, Violation, Wake};
pub use producer::{ClaimError, Grant, Meta, Producer, RingConfig, Start};
pub use reader::{Next, ReadError, Reader, Record, Sleep, WaitMode};
pub use region::{Memory, MemoryMut, ReadRegion, Region, Segment, TrustedRegion};
